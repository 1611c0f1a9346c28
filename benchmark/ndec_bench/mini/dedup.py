"""The check that no query is an undeclared copy of a reference, and nothing of the test part is in another part.

Copies are known by construction: each scene number and each cell of a photograph serves one purpose. This pass looks
for what construction cannot see, such as one photograph under two names. Two signatures of the whole picture name
suspects; local block matching, which needs the same fine detail in both, decides. Photographs are also matched by
blocks each with each, because a signature of the whole misses a shared part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.mini.likeness import Signature, mirrored, shared_parts, small_grey, turned
from ndec_bench.mini.sources import Studio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ndec_bench.edits.raster import Pixels
    from ndec_bench.mini.items import Item
    from ndec_bench.mini.making import PictureRecord

    Rows = NDArray[np.int16]

TONE_LIMIT, SLOPE_LIMIT = 970_000, 440
BLOCK = 2048

# Name, what it does to tone signatures, what it does to pixels.
TURNS: dict[str, tuple[Callable[[Rows], Rows], Callable[[Pixels], Pixels]]] = {
    "upright": (lambda tones: tones, lambda pixels: pixels),
    "mirrored": (mirrored, lambda pixels: pixels[:, ::-1]),
    "turned by 90": (lambda tones: turned(tones, 1), lambda pixels: np.rot90(pixels, 1)),
    "turned by 180": (lambda tones: turned(tones, 2), lambda pixels: np.rot90(pixels, 2)),
    "turned by 270": (lambda tones: turned(tones, 3), lambda pixels: np.rot90(pixels, 3)),
}


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


def compared(first: Rows, second: Rows, limit: int, skip: set[tuple[int, int]]) -> Comparison:
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
    check = _Check([item for item in items if made[item.key].tone], made, ids)
    for name in TURNS:
        check.tones(name, check.everything, check.references, "all originals against references")
    check.slopes(check.everything, check.references, "all originals against references")
    for name in ("upright", "mirrored"):
        check.tones(name, check.apart, check.queries, "training and background against queries")
    check.slopes(check.apart, check.queries, "training and background against queries")
    check.photographs()
    copies = check.verified()
    return {
        "limits": {"luma correlation": TONE_LIMIT / 1e6, "difference hash": SLOPE_LIMIT / 480},
        "comparisons": check.rows,
        "declared_pairs_left_out": len(check.declared),
        "suspects": len(check.suspects),
        "undeclared_copies": copies,
    }


class _Check:
    """One run of the duplicate check, collecting rows of the report and suspects."""

    def __init__(self, originals: list[Item], made: dict[str, PictureRecord], ids: dict[str, str]) -> None:
        self.items, self.made = originals, made
        self.names = [ids[item.key] for item in originals]
        prints = [Signature.unpacked(made[item.key].tone) for item in originals]
        self.tone = np.array([p.tone for p in prints])
        self.slope = np.array([p.slope for p in prints]).astype(np.int16)
        place = {item.key: n for n, item in enumerate(originals)}
        pairs = [(place[item.key], place[item.partner]) for item in originals if item.partner in place]
        self.declared = {pair for i, j in pairs for pair in ((i, j), (j, i))}
        # Look-alikes of one reference resemble one another for the same reason.
        family: dict[int, list[int]] = {}
        for i, j in pairs:
            family.setdefault(j, []).append(i)
        self.declared |= {(a, b) for members in family.values() for a in members for b in members if a != b}
        self.everything = list(range(len(originals)))
        self.references = self._of("references")
        self.queries = self._of("queries")
        self.apart = self._of("train") + self._of("background")
        self.rows: list[dict[str, object]] = []
        self.suspects: set[tuple[int, int, str]] = set()

    def _of(self, folder: str) -> list[int]:
        return [n for n, item in enumerate(self.items) if item.folder == folder]

    def tones(self, turn: str, first: list[int], second: list[int], what: str) -> None:
        """Compare luma, the second picture turned."""
        self._compare(f"luma correlation 16 x 16, {turn}", turn, self.tone[first], TURNS[turn][0](self.tone[second]),
                      (first, second), (TONE_LIMIT, 1_000_000), what)  # fmt: skip

    def slopes(self, first: list[int], second: list[int], what: str) -> None:
        """Compare difference hashes."""
        self._compare("difference hash 480 bits", "upright", self.slope[first], self.slope[second],
                      (first, second), (SLOPE_LIMIT, 480), what)  # fmt: skip

    def _compare(
        self, method: str, turn: str, left: Rows, right: Rows, places: tuple[list[int], list[int]],
        scale: tuple[int, int], what: str,
    ) -> None:  # fmt: skip
        first, second = places
        if not first or not second:
            return
        row, column = ({n: i for i, n in enumerate(side)} for side in places)
        skip = {(row[i], column[j]) for i, j in self.declared if i in row and j in column}
        skip |= {(row[n], column[n]) for n in first if n in column}
        found = compared(left, right, scale[0], skip)
        names = [self.names[first[found.closest[0]]], self.names[second[found.closest[1]]]]
        self.rows.append({
            "method": method, "what": what, "pairs": found.pairs, "closest": names,
            "similarity": round(found.value / scale[1], 6), "suspects": len(found.suspects),
        })  # fmt: skip
        self.suspects |= {(first[i], second[j], turn) for i, j in found.suspects}

    def photographs(self) -> None:
        """Match photographs by blocks, each with each."""
        places = [n for n, item in enumerate(self.items) if self.made[item.key].grey]
        greys = [self.made[self.items[n].key].grey_pixels() for n in places]
        pairs = [(places[i], places[j]) for i, j, _ in shared_parts(greys)]
        undeclared = [pair for pair in pairs if pair not in self.declared]
        self.rows.append({
            "method": "local block matching", "what": "photographs, each with each",
            "pairs": len(places) * (len(places) - 1) // 2, "suspects": len(undeclared),
            "declared_pairs_found": len(pairs) - len(undeclared),
        })  # fmt: skip
        self.suspects |= {(i, j, "upright") for i, j in undeclared}

    def verified(self) -> list[list[str]]:
        """Return the suspects that share fine detail, as pairs of ids, sorted."""
        studio = Studio()
        copies: set[tuple[str, str]] = set()
        for i, j, turn in sorted(self.suspects):
            first, second = (studio.picture(self.items[n].source) for n in (i, j))
            if shared_parts([small_grey(first), small_grey(np.ascontiguousarray(TURNS[turn][1](second)))]):
                low, high = sorted((self.names[i], self.names[j]))
                copies.add((low, high))
        return [list(pair) for pair in sorted(copies)]
