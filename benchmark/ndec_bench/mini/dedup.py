"""The check that no query is an undeclared copy of a reference, and nothing of the test part is in another part.

Copies are known by construction: each scene number and each cell of a photograph serves one purpose. This pass looks
for what construction cannot see, such as one photograph under two names. Two signatures of the whole picture name
suspects; local block matching, which needs the same fine detail in both, decides. Photographs are also matched by
blocks each with each, because a signature of the whole misses a shared part.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.mini.likeness import TURNS, shared_parts, slopes, small_grey, turned
from ndec_bench.mini.sources import picture

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ndec_bench.mini.items import Item
    from ndec_bench.mini.likeness import Tones
    from ndec_bench.mini.making import PictureRecord

TONE_LIMIT, SLOPE_LIMIT = 970_000, 440
BLOCK = 2048
PARTS = (
    ("all originals against references", None, ("references",), tuple(TURNS)),
    ("training and background against queries", ("train", "background"), ("queries",), ("upright", "mirrored")),
)
"""What is compared: in words, the folders of both sides (None: all), and the turns of the second side."""


@dataclass(frozen=True)
class Comparison:
    """What comparing every row with every column found.

    Attributes
    ----------
    closest
        Row and column of the most alike pair.
    value
        Its similarity: correlation in millionths, or agreeing signs less disagreeing ones of 480.
    pairs
        Pairs compared.
    suspects
        Pairs at or above the limit, sorted.
    """

    closest: tuple[int, int]
    value: int
    pairs: int
    suspects: tuple[tuple[int, int], ...]


def compared(first: Tones, second: Tones, limit: int, skip: set[tuple[int, int]]) -> Comparison:
    """Return how alike the rows of two signature tables are by inner product, the pairs of ``skip`` left out.

    Exact: whole numbers whose sums stay below 2**24 in float32.
    """
    best, place, suspects = -(1 << 30), (0, 0), []
    right = second.astype(np.float32).T
    for start in range(0, len(first), BLOCK):
        product = first[start : start + BLOCK].astype(np.float32) @ right
        for i, j in skip:
            if start <= i < start + BLOCK:
                product[i - start, j] = -np.inf
        at = int(product.argmax())
        row, column = divmod(at, product.shape[1])
        highest = product[row, column]
        if highest > best:
            best, place = int(highest), (start + row, column)
        if highest >= limit:
            rows, columns = np.nonzero(product >= limit)
            suspects += [(start + int(i), int(j)) for i, j in zip(rows, columns, strict=True)]
    return Comparison(place, best, len(first) * len(second) - len(skip), tuple(sorted(suspects)))


def duplicate_report(items: Sequence[Item], made: dict[str, PictureRecord], ids: dict[str, str]) -> dict[str, object]:
    """Return the report for ``split.json``: methods, limits, pairs compared, closest pairs, undeclared copies found.

    Every original is compared with every reference, and every picture of the training and background parts with every
    query's original. Declared look-alikes are left out: they are known to be other pictures.
    """
    originals = [item for item in items if made[item.key].tone]
    names = [ids[item.key] for item in originals]
    declared = _declared(originals)
    rows, suspects = _parts_compared(originals, names, made, declared)
    photos = [n for n, item in enumerate(originals) if made[item.key].grey]
    pairs = [(photos[i], photos[j]) for i, j in shared_parts([made[originals[n].key].grey_pixels() for n in photos])]
    undeclared = [pair for pair in pairs if pair not in declared]
    rows.append({
        "method": "local block matching", "what": "photographs, each with each",
        "pairs": len(photos) * (len(photos) - 1) // 2, "suspects": len(undeclared),
        "declared_pairs_found": len(pairs) - len(undeclared),
    })  # fmt: skip
    suspects |= {(i, j, "upright") for i, j in undeclared}
    copies = [sorted((names[i], names[j])) for i, j, turn in suspects if _share(originals[i], originals[j], turn)]
    return {
        "limits": {"luma correlation": TONE_LIMIT / 1e6, "difference hash": SLOPE_LIMIT / 480},
        "comparisons": rows,
        "declared_pairs_left_out": len(declared),
        "suspects": len(suspects),
        "undeclared_copies": [list(pair) for pair in sorted(set(map(tuple, copies)))],
    }


def _parts_compared(
    originals: Sequence[Item], names: Sequence[str], made: dict[str, PictureRecord], declared: set[tuple[int, int]]
) -> tuple[list[dict[str, object]], set[tuple[int, int, str]]]:
    """Return the rows of the report about `PARTS`, and the suspects: places of both originals, turn of the second."""
    tones = np.array([made[item.key].signature() for item in originals])
    rows: list[dict[str, object]] = []
    suspects: set[tuple[int, int, str]] = set()
    for what, some, others, turns in PARTS:
        first, second = _places(originals, some), _places(originals, others)
        if not first or not second:
            continue
        row, column = ({n: i for i, n in enumerate(side)} for side in (first, second))
        skip = {(row[i], column[j]) for i, j in declared if i in row and j in column}
        skip |= {(row[n], column[n]) for n in first if n in column}
        for way in ways(tones[first], tones[second], turns):
            found = compared(way.first, way.second, way.limit, skip)
            rows.append({
                "method": way.method, "what": what, "pairs": found.pairs,
                "closest": [names[first[found.closest[0]]], names[second[found.closest[1]]]],
                "similarity": round(found.value / way.scale, 6), "suspects": len(found.suspects),
            })  # fmt: skip
            suspects |= {(first[i], second[j], way.turn) for i, j in found.suspects}
    return rows, suspects


@dataclass(frozen=True)
class Way:
    """One way to compare pictures: its name and turn, both tables, the limit for suspects, the product of equals."""

    method: str
    turn: str
    first: Tones
    second: Tones
    limit: int
    scale: int


def ways(first: Tones, second: Tones, turns: Iterable[str]) -> Iterator[Way]:
    """Yield the ways to compare pictures by their signatures: the luma in each turn, then the difference hash."""
    for turn in turns:
        method = f"luma correlation 16 x 16, {turn}"
        yield Way(method, turn, first, turned(second, turn), TONE_LIMIT, 1_000_000)
    yield Way("difference hash 480 bits", "upright", slopes(first), slopes(second), SLOPE_LIMIT, 480)


def _places(originals: Sequence[Item], folders: tuple[str, ...] | None) -> list[int]:
    return [n for n, item in enumerate(originals) if folders is None or item.folder in folders]


def _declared(originals: Sequence[Item]) -> set[tuple[int, int]]:
    """Return the pairs of places, both ways round, of pictures that are known to be look-alikes."""
    place = {item.key: n for n, item in enumerate(originals)}
    # Look-alikes of one reference resemble one another for the same reason as they resemble it.
    families: dict[int, list[int]] = {}
    for n, item in enumerate(originals):
        if item.partner in place:
            families.setdefault(place[item.partner], [place[item.partner]]).append(n)
    return {pair for members in families.values() for pair in permutations(members, 2)}


def _share(first: Item, second: Item, turn: str) -> bool:
    """Return whether two originals share fine detail, the second one turned."""
    turned_back = TURNS[turn](picture(second.source).transpose(2, 0, 1)).transpose(1, 2, 0)
    return bool(shared_parts([small_grey(picture(first.source)), small_grey(np.ascontiguousarray(turned_back))]))
