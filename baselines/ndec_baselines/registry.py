"""Baselines by name: those in this package, and those that other packages add by entry point.

A name is ``SYSTEM`` or ``SYSTEM:VARIANT``; records carry it with a hyphen, and that form is taken too. Cards are read
without importing a model library; loading imports what the baseline needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

from ndec_baselines.base import Registration
from ndec_baselines.cards import model_cards
from ndec_baselines.weights import find_weights, local_weights
from ndec_bench.errors import NdecBenchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ndec_baselines.base import Baseline, Matcher, ModelCard

ENTRY_POINT_GROUP = "ndec_bench.baselines"

BASELINES: dict[str, str] = {
    "asl": "ndec_baselines.asl.baseline:BASELINES",
    "bot": "ndec_baselines.methods.bot:BASELINES",
    "cnncl": "ndec_baselines.methods.cnncl:BASELINES",
    "copynce": "ndec_baselines.methods.copynce:BASELINES",
    "d2lv": "ndec_baselines.d2lv:BASELINES",
    "dinov2": "ndec_baselines.methods.dinov2:BASELINES",
    "efnet": "ndec_baselines.methods.efnet:BASELINES",
    "esvitp": "ndec_baselines.esvitp:BASELINES",
    "gist": "ndec_baselines.methods.gist:BASELINES",
    "mobilenetv2": "ndec_baselines.methods.mobilenetv2:BASELINES",
    "multigrain": "ndec_baselines.methods.multigrain:BASELINES",
    "pdq": "ndec_baselines.methods.pdq:BASELINES",
    "phash": "ndec_baselines.methods.phash:BASELINES",
    "rdcd": "ndec_baselines.methods.rdcd:BASELINES",
    "scattering": "ndec_baselines.methods.scattering:BASELINES",
    "sift": "ndec_baselines.esvitp:BASELINES",
    "sscd": "ndec_baselines.methods.sscd:BASELINES",
    "thumbnail": "ndec_baselines.methods.thumbnail:BASELINES",
}
"""System to ``module:attribute``, the form entry points have too. The attribute is a `Registration`, or a mapping of
names to them where one module has several."""

ALIASES: dict[str, str] = {
    "dinov2": "dinov2-b",
    "rdcd": "rdcd-256",
    "sscd": "sscd-disc-mixup",
}
"""System to the variant that its paper reports, where none has the system's own name."""


@dataclass(frozen=True)
class Listed:
    """One row of the list of baselines.

    Attributes
    ----------
    name
        Name to load it by.
    card
        What it says about itself; None if it cannot be imported.
    missing
        Why it cannot run here, with the remedy; empty if it can.
    """

    name: str
    card: ModelCard | None
    missing: str = ""

    @property
    def available(self) -> bool:
        """Return whether the baseline can run here."""
        return not self.missing


def names() -> list[str]:
    """Return the names of all baselines, those of other packages included, sorted."""
    others = {point.name for point in entry_points(group=ENTRY_POINT_GROUP)}
    return sorted(model_cards().keys() | (BASELINES.keys() - ALIASES.keys()) | others)


def card(name: str) -> ModelCard:
    """Return the card of the baseline ``name``. Raises UsageError if it is unknown or offered twice."""
    name, target = _found(name)
    return model_cards()[name] if name in model_cards() else _imported(name, target).card


def registration(name: str) -> Registration:
    """Return what the baseline ``name`` is registered as. Raises UsageError as `card`, or if a package is missing."""
    _require(card(name))
    return _imported(*_found(name))


def load(
    name: str,
    weights: Path | None = None,
    device: str = "cpu",
    *,
    weights_sha256: str | None = None,
    precision: str = "float32",
) -> Baseline:
    """Return the baseline ``name``, loaded and ready to describe.

    Parameters
    ----------
    weights
        File of trained numbers, or folder of them; None for baselines without, and where a download or an installed
        package left the files.
    device
        ``cpu``, ``cuda``, or ``auto`` (cuda where there is one).
    weights_sha256
        Digest (hex) of a file of your own, in place of the published one.
    precision
        ``float32``, or ``float16`` or ``bfloat16`` for mixed precision, which changes the descriptors and is recorded.

    Raises
    ------
    UsageError
        If the name is unknown or taken twice, a package is missing, weights are given to a baseline without, the
        device is not there, or the system scores pairs and has no descriptors (`load_matcher`).
    DataError
        If the weights are missing or not the published file.
    """
    if card(name).track == "matching":
        raise UsageError(
            f"{name} scores pairs of images and makes no descriptors", hint=f'"ndec-bench run {name}" does it all'
        )
    loaded = cast("Baseline", _load(name, weights, device, weights_sha256))
    if precision == "float32":
        return loaded
    in_precision: Callable[[str], Baseline] | None = getattr(loaded, "with_precision", None)
    if in_precision is None:
        raise UsageError(f"baseline {name} knows no other precision than float32", hint="leave --precision out")
    return in_precision(precision)


def load_matcher(
    name: str, weights: Path | None = None, device: str = "cpu", *, weights_sha256: str | None = None
) -> Matcher:
    """Return the matching-track system ``name``, loaded; parameters and errors as `load`."""
    if card(name).track != "matching":
        raise UsageError(f"{name} makes descriptors, no pairs", hint="load it as a baseline")
    return cast("Matcher", _load(name, weights, device, weights_sha256))


def _load(name: str, weights: Path | None, device: str, weights_sha256: str | None) -> Baseline | Matcher:
    found = registration(name)
    return found.loader(local_weights(found.card, weights, weights_sha256), device)


def listed() -> list[Listed]:
    """Return every baseline with its card and whether it can run here, sorted by name; a broken one says why."""
    return [_listed(name) for name in names()]


def _listed(name: str) -> Listed:
    wanted = None
    try:
        wanted = card(name)
        _require(wanted)
        if wanted.weights is not None:
            find_weights(wanted.name, wanted.weights)
    except NdecBenchError as error:
        return Listed(name, wanted, str(error))
    return Listed(name, wanted)


def _require(wanted: ModelCard) -> None:
    missing = [package for package in wanted.requires if find_spec(package) is None]
    if missing:
        raise UsageError(
            f"baseline {wanted.name} needs {', '.join(missing)}, not installed here",
            hint=f"pip install {wanted.install}",
        )


def _found(name: str) -> tuple[str, str]:
    """Return the full name of the baseline ``name`` and the one ``module:attribute`` that offers it."""
    given, name = name, name.replace(":", "-", 1)
    name = ALIASES.get(name, name)
    systems = [s for s in BASELINES if name == s or (name.startswith(f"{s}-") and name in model_cards())]
    targets = {BASELINES[system] for system in systems}
    targets |= {point.value for point in entry_points(group=ENTRY_POINT_GROUP, name=name)}
    if not targets:
        close = get_close_matches(name, names(), n=3) or sorted(BASELINES)
        raise UsageError(
            f"baseline {given[:80]!r} is unknown",
            hint=f'like it: {", ".join(close)}; "ndec-bench baselines" lists all',
        )
    if len(targets) > 1:
        raise UsageError(
            f"baseline {name!r} is offered by {' and by '.join(sorted(targets))}",
            hint="uninstall one of the packages, or rename its entry point",
        )
    return name, targets.pop()


def _imported(name: str, target: str) -> Registration:
    module, _, attribute = target.partition(":")
    try:
        registration = getattr(import_module(module), attribute)
        if isinstance(registration, Mapping):
            registration = registration[name]
    except Exception as error:
        # Someone else's module may raise anything; the other baselines must still be listed and run.
        raise UsageError(
            f"baseline {name!r}: {target} cannot be imported ({type(error).__name__}: {error})",
            hint="repair or uninstall the package that offers it",
        ) from error
    if not isinstance(registration, Registration):
        raise UsageError(
            f"baseline {name!r}: {target} is {type(registration).__name__}, expected ndec_baselines.Registration",
            hint="repair or uninstall the package that offers it",
        )
    if registration.card.name != name:
        raise UsageError(
            f"baseline {name!r}: {target} calls itself {registration.card.name!r}",
            hint="give the entry point and the card one name",
        )
    return registration
