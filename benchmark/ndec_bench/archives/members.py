"""What an archive holds: one frozen record of parallel arrays, sorted by name."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from ndec_bench.archives import safe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Kind = Literal["zip", "tar"]

MAX_HEAD = 2**20
"""Longer headers of one member are refused; most are 512 bytes."""
STORED = 0
DEFLATED = 8
"""The two ways in which bytes lie in an archive, by their number in the zip format."""


@dataclass(frozen=True, eq=False)
class Members:
    """The files in an archive, sorted by name (code points), each name once; folders are left out.

    Attributes
    ----------
    kind
        ``zip`` or ``tar``.
    names
        Paths inside the archive, with slashes, without ``.`` components.
    offsets
        Where each member begins with its header, in bytes from the start of the archive; int64.
    heads
        Bytes of header before the data; 0 in a zip, where only the header itself tells; int64.
    stored, sizes
        Bytes in the archive and once unpacked; int64.
    methods
        `STORED` or `DEFLATED`; uint8.
    crcs
        CRC-32 of the unpacked bytes, uint32; None in a tar, which has none.
    whole
        False if the archive is cut short; only the members that are whole are listed.
    """

    kind: Kind
    names: Sequence[str]
    offsets: NDArray[np.int64]
    heads: NDArray[np.int64]
    stored: NDArray[np.int64]
    sizes: NDArray[np.int64]
    methods: NDArray[np.uint8]
    crcs: NDArray[np.uint32] | None = None
    whole: bool = True

    def __len__(self) -> int:
        return len(self.names)

    def find(self, name: str) -> int | None:
        """Return the row of the member called ``name``; None if there is none."""
        row = bisect_left(self.names, name)
        return row if row < len(self.names) and self.names[row] == name else None

    def images(self) -> list[int]:
        """Return the rows of the members that are images by their names."""
        return [row for row, image in enumerate(map(safe.is_image, self.names)) if image]

    def in_stream_order(self) -> NDArray[np.int64]:
        """Return the rows in the order in which the members lie in the archive."""
        return np.argsort(self.offsets, kind="stable")

    @cached_property
    def following(self) -> NDArray[np.int64]:
        """Return by row where the next member begins; a huge number for the last one."""
        order = self.in_stream_order()
        following = np.empty_like(self.offsets)
        following[order] = np.append(self.offsets[order][1:], np.iinfo(np.int64).max)[: len(order)]
        return following


class Listing:
    """Members as an archive's headers tell them, one by one, checked; `members` makes the record."""

    def __init__(self, archive: str) -> None:
        self._archive = archive
        self._rows: list[tuple[str, int, int, int, int, int, int]] = []

    def add(
        self, name: str, offset: int, *, size: int, stored: int, head: int = 0, method: int = STORED, crc: int = 0
    ) -> None:
        """Take in one member. Raises DataError if its header is too long, it is too large an image, or one too many."""
        if head > MAX_HEAD:
            raise safe.refusal(self._archive, name, f"a header of {head:,} bytes")
        if safe.is_image(name):
            safe.check_size(self._archive, name, size, stored)
        self._rows.append((name, offset, head, stored, size, method, crc))
        safe.check_count(self._archive, len(self._rows))

    def members(self, kind: Kind, *, whole: bool = True) -> Members:
        """Return the record. Raises DataError if a name stands for two members."""
        rows = sorted(self._rows)
        names = [row[0] for row in rows]
        for first, second in pairwise(names):
            if first == second:
                raise safe.refusal(self._archive, first, "appears twice in the archive")
        offsets, heads, stored, sizes, methods, crcs = (
            np.array([row[column] for row in rows], dtype=np.int64) for column in range(1, 7)
        )
        return Members(
            kind=kind,
            names=names,
            offsets=offsets,
            heads=heads,
            stored=stored,
            sizes=sizes,
            methods=methods.astype(np.uint8),
            crcs=crcs.astype(np.uint32) if kind == "zip" else None,
            whole=whole,
        )
