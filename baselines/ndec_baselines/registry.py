"""Baselines by name: those in this package, and those that other packages add by entry point.

Listing names and cards imports no model library; loading imports what the baseline needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ndec_baselines.base import Card, Registration
from ndec_baselines.weights import find_weights
from ndec_bench.errors import NdecBenchError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_baselines.base import Baseline

ENTRY_POINT_GROUP = "ndec_bench.baselines"

BASELINES: dict[str, str] = {
    "mobilenetv2": "ndec_baselines.mobilenetv2:BASELINE",
    "phash": "ndec_baselines.phash:BASELINE",
    "scattering": "ndec_baselines.scattering:BASELINE",
    "thumbnail": "ndec_baselines.thumbnail:BASELINE",
}
"""Name to ``module:attribute`` of a `Registration`, the form entry points have too."""


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


def load(name: str, weights: Path | None = None, device: str = "cpu") -> Baseline:
    """Return the baseline ``name``, loaded and ready to describe.

    Parameters
    ----------
    weights
        File of trained numbers; None for baselines without, and where the card's package holds the file.
    device
        ``cpu``, ``cuda``, or ``auto`` (cuda where there is one).

    Raises
    ------
    UsageError
        If the name is unknown or taken twice, a package is missing, weights are given to a baseline without, or the
        device is not there.
    DataError
        If the weights are missing or not the published file.
    """
    registration = _registration(name)
    _require(registration.card)
    if weights is not None and registration.card.weights is None:
        raise UsageError(f"baseline {name} takes no weights", hint="leave --weights out")
    return registration.loader(weights, device)


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
    targets = [BASELINES[name]] if name in BASELINES else []
    targets += [point.value for point in entry_points(group=ENTRY_POINT_GROUP, name=name)]
    if not targets:
        raise UsageError(f"baseline {name!r} is unknown", hint=f"known: {', '.join(names())}")
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
