"""The baselines of this package as data: their model cards, read from ``cards.toml``, joined with what loads them."""

from __future__ import annotations

import tomllib
from functools import cache, partial, reduce
from importlib.resources import files
from itertools import product
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from ndec_baselines.base import METRICS, ModelCard, Registration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ndec_baselines.base import Baseline, ChooseBox, Matcher

    Facts = dict[str, Any]
    Load = Callable[[ModelCard, Any, str], Baseline | Matcher]

_CARD = TypeAdapter(ModelCard)


@cache
def model_cards() -> Mapping[str, ModelCard]:
    """Return name to card of every baseline in this package, variants of a system next to each other."""
    tables = tomllib.loads(files("ndec_baselines").joinpath("cards.toml").read_text(encoding="utf-8"))
    shared = tables.pop("shared")
    learned = {"weights": shared.pop("weights")}
    found = {}
    for key, table in tables.items():
        facts = _merged(shared, _with_parents(tables, table))
        facts = _merged(learned, facts) if "weights" in facts else facts
        for variant in _variants({"name": key, **facts}):
            card = _CARD.validate_python(_record(variant))
            found[card.name] = card
    return found


def registrations(system: str, load: Load, *, choose_box: ChooseBox | None = None) -> dict[str, Registration]:
    """Return name to registration of ``system`` and its variants.

    Parameters
    ----------
    load
        Takes the card, its weights (`LocalWeights`, None where the card names none) and the device.
    """
    return {
        name: Registration(card, partial(load, card), choose_box)
        for name, card in model_cards().items()
        if name == system or name.startswith(f"{system}-")
    }


def _with_parents(tables: Mapping[str, Facts], table: Facts) -> Facts:
    own = {name: value for name, value in table.items() if name != "like"}
    return _merged(_with_parents(tables, tables[table["like"]]), own) if "like" in table else own


def _variants(facts: Facts) -> Iterator[Facts]:
    """Yield the facts of each card of a table, `fill` and all."""
    rows = facts.pop("variants", [{}])
    lists = rows if isinstance(rows[0], list) else [rows]
    for combined in product(*lists):
        yield reduce(_merged, combined, facts)


def _merged(base: Facts, own: Facts) -> Facts:
    """Return ``base`` with the entries of ``own``; tables in both are merged, lists replaced."""
    both = {
        name: _merged(base[name], value) if isinstance(value, dict) and name in base else value
        for name, value in own.items()
    }
    return {**base, **both}


def _record(facts: Facts) -> Facts:
    """Return the fields of a card, their texts filled in."""
    known = {**facts, **facts.pop("fill")}
    record: Facts = _filled(facts, known)
    if "weights" in record:
        weights = record["weights"]
        source = weights.pop("source", "")
        weights["files"] = [
            {"name": file, "source": source} if isinstance(file, str) else file for file in weights["files"]
        ]
    record["expected"] = [
        {**{name: value for name, value in row.items() if name not in METRICS}, "metric": metric, "value": row[metric]}
        for row in record.pop("published", [])
        for metric in METRICS
        if metric in row
    ]
    return record


def _filled(value: Any, known: Mapping[str, object]) -> Any:  # noqa: ANN401 -- whatever TOML holds
    if isinstance(value, str):
        while "{" in value:  # what is filled in may have braces of its own
            value = value.format_map(known)
        return value
    if isinstance(value, list):
        return [_filled(one, known) for one in value]
    return {name: _filled(one, known) for name, one in value.items()} if isinstance(value, dict) else value
