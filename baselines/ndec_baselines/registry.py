"""Baselines by name: those in this package, and those that other packages add by entry point.

Listing names and cards imports no model library; loading imports what the baseline needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING, cast

from ndec_baselines.base import Card, Registration
from ndec_baselines.weights import find_weights, local_weights
from ndec_bench.errors import NdecBenchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ndec_baselines.base import Baseline, Matcher

ENTRY_POINT_GROUP = "ndec_bench.baselines"

BASELINES: dict[str, str] = {
    "asl": "ndec_baselines.asl.baseline:BASELINES",
    "asl-small": "ndec_baselines.asl.baseline:BASELINES",
    "bot": "ndec_baselines.methods.bot:BASELINES",
    "bot-200": "ndec_baselines.methods.bot:BASELINES",
    "bot-256": "ndec_baselines.methods.bot:BASELINES",
    "bot-320": "ndec_baselines.methods.bot:BASELINES",
    "bot-400": "ndec_baselines.methods.bot:BASELINES",
    "cnncl": "ndec_baselines.methods.cnncl:BASELINES",
    "cnncl-selfsup": "ndec_baselines.methods.cnncl:BASELINES",
    "copynce": "ndec_baselines.methods.copynce:BASELINE",
    "d2lv": "ndec_baselines.d2lv:BASELINES",
    "d2lv-baseline-cc": "ndec_baselines.d2lv:BASELINES",
    **{
        f"d2lv-{variant}-{backbone}{side}": "ndec_baselines.d2lv:BASELINES"
        for variant in (
            *(f"{name}-cc" for name in ("baseline", "blur", "color", "dark", "face", "opa", "u")),
            *(f"{name}-bw" for name in ("baseline", "blur", "color", "face")),
        )
        for backbone in ("50", "152", "ibn")
        for side in ("", "-200", "-320")
    },
    "dinov2-b": "ndec_baselines.methods.dinov2:BASELINES",
    "dinov2-s": "ndec_baselines.methods.dinov2:BASELINES",
    "efnet": "ndec_baselines.methods.efnet:BASELINES",
    "efnet-1": "ndec_baselines.methods.efnet:BASELINES",
    "efnet-2": "ndec_baselines.methods.efnet:BASELINES",
    "efnet-3": "ndec_baselines.methods.efnet:BASELINES",
    "efnet-4": "ndec_baselines.methods.efnet:BASELINES",
    "efnet-5": "ndec_baselines.methods.efnet:BASELINES",
    "efnet-6": "ndec_baselines.methods.efnet:BASELINES",
    "efnet-7": "ndec_baselines.methods.efnet:BASELINES",
    "efnet-8": "ndec_baselines.methods.efnet:BASELINES",
    "esvitp": "ndec_baselines.esvitp:BASELINES",
    "esvitp-sift": "ndec_baselines.esvitp:BASELINES",
    "gist": "ndec_baselines.methods.gist:BASELINE",
    "mobilenetv2": "ndec_baselines.methods.mobilenetv2:BASELINE",
    "multigrain": "ndec_baselines.methods.multigrain:BASELINE",
    "pdq": "ndec_baselines.methods.pdq:BASELINES",
    "pdq-8": "ndec_baselines.methods.pdq:BASELINES",
    "phash": "ndec_baselines.methods.phash:BASELINE",
    "rdcd-128": "ndec_baselines.methods.rdcd:BASELINES",
    "rdcd-256": "ndec_baselines.methods.rdcd:BASELINES",
    "rdcd-64": "ndec_baselines.methods.rdcd:BASELINES",
    "scattering": "ndec_baselines.methods.scattering:BASELINE",
    "sift": "ndec_baselines.esvitp:BASELINES",
    "sscd-disc-advanced": "ndec_baselines.methods.sscd:BASELINES",
    "sscd-disc-advanced-320": "ndec_baselines.methods.sscd:BASELINES",
    "sscd-disc-blur": "ndec_baselines.methods.sscd:BASELINES",
    "sscd-disc-blur-320": "ndec_baselines.methods.sscd:BASELINES",
    "sscd-disc-large": "ndec_baselines.methods.sscd:BASELINES",
    "sscd-disc-large-320": "ndec_baselines.methods.sscd:BASELINES",
    "sscd-disc-mixup": "ndec_baselines.methods.sscd:BASELINES",
    "sscd-disc-mixup-320": "ndec_baselines.methods.sscd:BASELINES",
    "sscd-imagenet-advanced": "ndec_baselines.methods.sscd:BASELINES",
    "sscd-imagenet-advanced-320": "ndec_baselines.methods.sscd:BASELINES",
    "sscd-imagenet-blur": "ndec_baselines.methods.sscd:BASELINES",
    "sscd-imagenet-blur-320": "ndec_baselines.methods.sscd:BASELINES",
    "sscd-imagenet-mixup": "ndec_baselines.methods.sscd:BASELINES",
    "sscd-imagenet-mixup-320": "ndec_baselines.methods.sscd:BASELINES",
    "thumbnail": "ndec_baselines.methods.thumbnail:BASELINE",
}
"""Name to ``module:attribute``, the form entry points have too. The attribute is a `Registration`, or a mapping of
names to them where one module has several."""

ALIASES: dict[str, str] = {
    "dinov2": "dinov2-b",
    "rdcd": "rdcd-256",
    "sscd": "sscd-disc-mixup",
}
"""Short name of a system to the baseline that its paper reports."""


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
    card: Card | None
    missing: str = ""

    @property
    def available(self) -> bool:
        """Return whether the baseline can run here."""
        return not self.missing


def names() -> list[str]:
    """Return the names of all baselines, those of other packages included, sorted."""
    return sorted(BASELINES.keys() | {point.name for point in entry_points(group=ENTRY_POINT_GROUP)})


def card(name: str) -> Card:
    """Return the card of the baseline ``name``, without importing its model libraries. Raises UsageError."""
    return _registration(name).card


def registration(name: str) -> Registration:
    """Return what the baseline ``name`` is registered as, without importing its model libraries. Raises UsageError."""
    return _registration(name)


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
    registration = _registration(name)
    _require(registration.card)
    return registration.loader(local_weights(registration.card, weights, weights_sha256), device)


def listed() -> list[Listed]:
    """Return every baseline with its card and whether it can run here, sorted by name; a broken one says why."""
    return [_listed(name) for name in names()]


def _listed(name: str) -> Listed:
    try:
        registration = _registration(name)
        _require(registration.card)
        if registration.card.weights is not None:
            find_weights(registration.card.name, registration.card.weights)
    except NdecBenchError as error:
        return Listed(name, _card_or_none(name), str(error))
    return Listed(name, registration.card)


def _card_or_none(name: str) -> Card | None:
    try:
        return card(name)
    except NdecBenchError:
        return None


def _registration(name: str) -> Registration:
    name = ALIASES.get(name, name)
    targets = [BASELINES[name]] if name in BASELINES else []
    targets += [point.value for point in entry_points(group=ENTRY_POINT_GROUP, name=name)]
    if not targets:
        close = get_close_matches(name, names(), n=3) or names()
        raise UsageError(
            f"baseline {name[:80]!r} is unknown", hint=f'like it: {", ".join(close)}; "ndec-bench baselines" lists all'
        )
    if len(set(targets)) > 1:
        raise UsageError(
            f"baseline {name!r} is offered by {' and by '.join(sorted(set(targets)))}",
            hint="uninstall one of the packages, or rename its entry point",
        )
    return _import(name, targets[0])


def _import(name: str, target: str) -> Registration:
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


def _require(wanted: Card) -> None:
    missing = [package for package in wanted.requires if find_spec(package) is None]
    if missing:
        raise UsageError(
            f"baseline {wanted.name} needs {', '.join(missing)}, not installed here",
            hint=f"pip install {wanted.install}",
        )
