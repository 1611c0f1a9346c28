"""Described rows on disk: blocks are kept as parts (`ndec_bench.resume`) in ``FILE.h5.partial``, and read as one.

A part holds the rows of consecutive images, ``part-START-STOP.npz``: `Facts` as JSON, ``vectors`` and, where there are
any, ``norms``. It is closed after two seconds, or after 1/2000 of the time that all rows took so far, or at 16 MiB. So
a kill costs no more than that, and a million images make some thousand parts, whether they take an hour or a month.
"""

from __future__ import annotations

import hashlib
import json
import time
from bisect import bisect_right
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ndec_baselines.describing.row_blocks import Broken
from ndec_bench.descriptors.vectors import survey
from ndec_bench.errors import DataError, SubmissionError, UsageError
from ndec_bench.progress import silent
from ndec_bench.resume import digest, parts_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_baselines.describing.row_blocks import Block
    from ndec_bench.data.images import ImageSource
    from ndec_bench.progress import Progress
    from ndec_bench.resume import Parts

SECONDS_PER_PART = 2.0
SHARE_PER_PART = 1 / 2000
BYTES_PER_PART = 1 << 24
_REASON = 300
_SAMPLES = 16


@dataclass(frozen=True)
class Facts:
    """What a part says about its rows.

    Attributes
    ----------
    start, stop
        Its images, as places in the list of ids, ``stop`` not included.
    rows
        How many of them have a row.
    broken
        The others, with what was wrong.
    norms
        Whether there is a norm to each row.
    sample
        The first image with a row, whose file is the part's input; None without rows.
    seconds
        Time spent on it.
    run
        Number of the run that made it, from 1.
    """

    start: int
    stop: int
    rows: int
    broken: tuple[Broken, ...]
    norms: bool
    sample: str | None
    seconds: float
    run: int


class FinishedRows:
    """The rows that are finished; made by `finished_rows`.

    Attributes
    ----------
    parts
        Where they lie.
    ids
        All images of the run, in order.
    dimension
        Of a vector.
    """

    def __init__(self, parts: Parts, source: ImageSource, ids: Sequence[str], dimension: int) -> None:
        self.parts, self.ids, self.dimension = parts, ids, dimension
        self._source = source
        self._facts = {name: _read_facts(parts.path(name)) for name in parts}
        self._run = self.runs + 1
        self._waiting: list[Block] = []
        self._earlier = self.seconds
        self.begin_at(0)

    @property
    def facts(self) -> list[Facts]:
        """Return what the parts say, in the order of the ids."""
        return [self._facts[name] for name in sorted(self._facts)]

    @property
    def images(self) -> int:
        """Return how many images are finished, with a row or broken."""
        return sum(facts.stop - facts.start for facts in self._facts.values())

    @property
    def rows(self) -> int:
        """Return how many of them have a row."""
        return sum(facts.rows for facts in self._facts.values())

    @property
    def broken(self) -> tuple[Broken, ...]:
        """Return those that have none."""
        return tuple(broken for facts in self.facts for broken in facts.broken)

    @property
    def seconds(self) -> float:
        """Return the time spent on them, over all runs."""
        return sum(facts.seconds for facts in self._facts.values())

    @property
    def runs(self) -> int:
        """Return how many runs, this one included, it took to finish them."""
        return max((facts.run for facts in self._facts.values()), default=0)

    def gaps(self) -> list[tuple[int, int]]:
        """Return the runs of images (start, stop) that are not finished."""
        ends = [0, *(facts.stop for facts in self.facts)]
        starts = [*(facts.start for facts in self.facts), len(self.ids)]
        return [(start, stop) for start, stop in zip(ends, starts, strict=True) if start < stop]

    def begin_at(self, start: int) -> None:
        """Expect the block that begins with the image at ``start``; its time counts from now on."""
        self._next, self._since = start, time.perf_counter()

    def append(self, block: Block) -> None:
        """Take in the next block; it is written at once, or soon, with others. Raises DataError if it cannot be."""
        self._waiting.append(block)
        held = sum(block.vectors.nbytes for block in self._waiting)
        due = max(SECONDS_PER_PART, self._earlier * SHARE_PER_PART)
        if held >= BYTES_PER_PART or time.perf_counter() - self._since >= due:
            self.commit()

    def commit(self) -> None:
        """Write what was taken in as a part. Raises DataError if the disk is full or fails."""
        blocks, self._waiting = self._waiting, []
        if not blocks:
            return
        now = time.perf_counter()
        described = [block for block in blocks if block.ids]
        kinds = {block.norms is not None for block in described}
        kinds.update(islice((facts.norms for facts in self._facts.values() if facts.rows), 1))
        if len(kinds) > 1:
            raise SubmissionError(
                "the baseline gives norms for some images and none for others",
                hint="report it to whoever made the baseline",
            )
        norms = [block.norms for block in described if block.norms is not None]
        vectors = [block.vectors for block in described] or [np.empty((0, self.dimension), np.float32)]
        facts = Facts(
            start=self._next,
            stop=self._next + sum(block.images for block in blocks),
            rows=sum(map(len, vectors)),
            broken=tuple(Broken(one.image_id, one.reason[:_REASON]) for block in blocks for one in block.broken),
            norms=bool(norms),
            sample=described[0].ids[0] if described else None,
            seconds=now - self._since,
            run=self._run,
        )
        name = f"{facts.start:09d}-{facts.stop:09d}.npz"
        arrays: dict[str, Any] = {"vectors": np.concatenate(vectors)}
        if norms:
            arrays["norms"] = np.concatenate(norms)
        with self.parts.adding(name, self._input_of(facts)) as path, path.open("wb") as file:
            np.savez(file, facts=np.array(json.dumps(asdict(facts))), **arrays)
        self._facts[name] = facts
        self._next, self._since = facts.stop, now
        self._earlier += facts.seconds

    def drop_repaired(self, still_broken: Callable[[str], bool]) -> None:
        """Drop the parts with a broken image that is not broken any more."""
        for name in list(self.parts):
            if not all(still_broken(broken.image_id) for broken in self._facts[name].broken):
                self.parts.drop(name)
                del self._facts[name]

    def check_samples(self) -> None:
        """Raise UsageError if one of some images, spread over the parts, has another file than when it was described.

        Parts are made again where their files are damaged, but rows of other images would go unnoticed.
        """
        names = [name for name in self.parts if self.parts.inputs(name)]
        places = {round(place) for place in np.linspace(0, len(names) - 1, _SAMPLES)} if names else set()
        for name in (names[place] for place in sorted(places)):
            if self._input_of(self._facts[name]) != self.parts.inputs(name):
                raise UsageError(
                    f"{self.parts.folder} holds {self.images:,} finished images of another run: "
                    f"the file of image {self._facts[name].sample} is not what it was then",
                    hint="give the images of that run, or remove that folder to begin again",
                )

    def vectors(self, progress: Progress = silent) -> RowVectors:
        """Return all rows as vectors to be read block by block. Raises SubmissionError if they cannot be descriptors.

        ``progress("checking vectors", done, total)`` is called in rows.
        """
        left_out = {broken.image_id for broken in self.broken}
        ids = tuple(image_id for image_id in self.ids if image_id not in left_out)
        return RowVectors(self.parts, [facts.rows for facts in self.facts], ids, self.dimension, progress)

    def norms(self) -> NDArray[np.float32] | None:
        """Return (rows,) float32, one norm per row; None if there are none."""
        names = [name for name in self.parts if self._facts[name].norms]
        return np.concatenate([_read(self.parts.path(name), "norms") for name in names]) if names else None

    def _input_of(self, facts: Facts) -> str:
        """Return the digest of the sample's file; empty where there is none, or it cannot be read."""
        try:
            return hashlib.sha256(self._source.read_bytes(facts.sample)).hexdigest() if facts.sample else ""
        except DataError:
            return ""


class RowVectors:
    """Vectors in the files of parts; see `ndec_bench.descriptors.VectorSource`.

    Raises
    ------
    SubmissionError
        If a value is not finite, a row all zeros, or all rows are equal.
    """

    def __init__(
        self, parts: Parts, rows: Sequence[int], ids: tuple[str, ...], dimension: int, progress: Progress = silent
    ) -> None:
        self.ids, self.dimension = ids, dimension
        self._paths = [parts.path(name) for name in parts]
        self._starts = [0, *accumulate(rows)]
        self._last: tuple[int, NDArray[np.float32]] | None = None

        def read(start: int, stop: int) -> NDArray[np.float32]:
            progress("checking vectors", stop, len(ids))
            return self.read(start, stop)

        self.survey = survey("descriptors", ids, (len(ids), dimension), read)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows ``start`` to ``stop`` (not included) as (rows, d) float32."""
        start, stop, _ = slice(start, stop).indices(len(self))
        blocks = [np.empty((0, self.dimension), dtype=np.float32)]
        part = bisect_right(self._starts, start) - 1
        while start < stop:
            first, end = self._starts[part], min(stop, self._starts[part + 1])
            blocks.append(self._part(part)[start - first : end - first])
            start, part = end, part + 1
        return np.concatenate(blocks)

    def _part(self, part: int) -> NDArray[np.float32]:
        if self._last is None or self._last[0] != part:
            self._last = None  # two parts are never held
            self._last = part, _read(self._paths[part], "vectors")
        return self._last[1]


@contextmanager
def finished_rows(
    out: Path,
    choices: Mapping[str, str],
    source: ImageSource,
    ids: Sequence[str],
    dimension: int,
    *,
    progress: Progress = silent,
) -> Iterator[FinishedRows]:
    """Yield the rows of ``out`` that earlier runs finished, ready for more; whoever enters is alone there.

    What was taken in is on disk when the block ends, however it ends.

    Parameters
    ----------
    choices
        What decides about the rows, by name: only rows of the same choices are taken up.
    source, ids
        The images; all ids, in order.
    dimension
        Of the vectors.
    progress
        Called as ``progress("checking finished parts", done, total)``.

    Raises
    ------
    UsageError
        If finished rows of other choices or of other images are there.
    DataError
        If another process is at work, or the disk fails.
    """
    own = {"dimension": str(dimension), "images": str(len(ids)), "ids_sha256": digest(list(ids))}
    with parts_in(out.with_name(out.name + ".partial"), {**choices, **own}, progress=progress) as parts:
        rows = FinishedRows(parts, source, ids, dimension)
        rows.check_samples()
        try:
            yield rows
        finally:
            rows.commit()


def _read_facts(path: Path) -> Facts:
    facts = json.loads(str(_read(path, "facts")))
    return Facts(**{**facts, "broken": tuple(Broken(**broken) for broken in facts["broken"])})


def _read(path: Path, name: str) -> NDArray[np.float32]:
    with np.load(path, allow_pickle=False) as stored:
        array: NDArray[np.float32] = stored[name]
        return array
