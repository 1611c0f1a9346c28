"""Descriptors that outlive the process that made them: appended to a folder beside the descriptor file.

::

    FILE.h5.partial/
      head.json    every choice that decides about the rows, the digest of the ids
      rows.f32     finished rows, float32 as this machine stores it; the norm, if there is one, follows each row
      blocks.txt   a line per block of rows: images, rows, broken images, seconds, checksums
      finished.h5  the descriptor file, and its report, before they get their names
      lock         held while a process is at work

A process may be killed at any moment, and the machine may lose its power. A block counts once its line is whole, its
own checksum (CRC-32) right and that of its rows too; from the first block that is not sound, everything is cut off and
made again. A run goes on only where the head is the same. Where it is not, finished rows are never thrown away: the
run is refused, and says what differs. A folder without a finished block holds nothing, and is begun anew.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
import zlib
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock, Timeout

from ndec_baselines.describing.row_blocks import Broken
from ndec_bench import atomic
from ndec_bench.descriptors.vectors import survey
from ndec_bench.errors import DataError, SubmissionError, UsageError
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_baselines.describing.row_blocks import Block
    from ndec_bench.descriptors import Survey
    from ndec_bench.progress import Progress

HEAD, ROWS, BLOCKS, LOCK, FINISHED = "head.json", "rows.f32", "blocks.txt", "lock", "finished.h5"
SECONDS_PER_BLOCK = 1.0
"""What a kill can cost, beside the batches under way."""
BYTES_PER_BLOCK = 1 << 24
BYTES_PER_READ = 1 << 24
_REASON = 300
_FLOAT_BYTES = 4
_SAMPLES = 16
_TRIES = 10


@dataclass(frozen=True)
class Line:
    """What is on record of one block of finished rows.

    Attributes
    ----------
    images, rows
        How many images it is of, and how many of them have a row.
    columns
        Numbers per row: those of the vector, and one more where there are norms.
    broken
        The others, with what was wrong.
    seconds
        Time spent on it.
    run
        Number of the run that made it, from 1.
    checksum
        CRC-32 of its rows.
    sample
        An image of the block and the CRC-32 of its file, by which other images of the same name are noticed; or None.
    """

    images: int
    rows: int
    columns: int
    broken: tuple[Broken, ...]
    seconds: float
    run: int
    checksum: int
    sample: tuple[str, int] | None


class FinishedRows:
    """The rows that are finished, on disk; made by `finished_rows`.

    Attributes
    ----------
    folder
        Where they lie.
    ids
        All images of the run, in order.
    lines
        The blocks on record.
    dimension
        Of a vector.
    fingerprint
        Maps an image id to the CRC-32 of its file, or to None where that is unknown.
    note
        What became of an earlier run, for people; empty where there was none.
    """

    def __init__(
        self, folder: Path, ids: Sequence[str], dimension: int, fingerprint: Callable[[str], int | None]
    ) -> None:
        self.folder, self.ids, self.lines, self.note = folder, ids, list[Line](), ""
        self.dimension, self.fingerprint = dimension, fingerprint
        self._waiting: list[Block] = []
        self._held = 0
        self._since = time.perf_counter()
        self._run = 1

    @property
    def images(self) -> int:
        """Return how many images, from the first, are finished."""
        return sum(line.images for line in self.lines)

    @property
    def rows(self) -> int:
        """Return how many of them have a row."""
        return sum(line.rows for line in self.lines)

    @property
    def broken(self) -> tuple[Broken, ...]:
        """Return those that have none."""
        return tuple(broken for line in self.lines for broken in line.broken)

    @property
    def seconds(self) -> float:
        """Return the time spent on them, over all runs."""
        return sum(line.seconds for line in self.lines)

    @property
    def runs(self) -> int:
        """Return how many runs, this one included, it took to finish them."""
        return max((line.run for line in self.lines), default=0)

    @property
    def has_norms(self) -> bool:
        """Return whether a norm stands behind each row."""
        return any(line.columns > self.dimension for line in self.lines)

    def start_clock(self) -> None:
        """Begin a run: the time of the next block counts from now on."""
        self._since, self._run = time.perf_counter(), self.runs + 1

    def append(self, block: Block) -> None:
        """Take in the next block; it is written at once, or soon, with others. Raises DataError if it cannot be."""
        self._waiting.append(block)
        self._held += block.vectors.nbytes
        if self._held >= BYTES_PER_BLOCK or time.perf_counter() - self._since >= SECONDS_PER_BLOCK:
            self.commit()

    def commit(self) -> None:
        """Write what was taken in. Raises DataError if the disk is full or fails."""
        blocks, self._waiting, self._held = self._waiting, [], 0
        if not blocks:
            return
        now = time.perf_counter()
        rows = self._as_rows(blocks)
        line = Line(
            images=sum(block.images for block in blocks),
            rows=len(rows),
            columns=rows.shape[1],
            broken=tuple(Broken(one.image_id, one.reason[:_REASON]) for block in blocks for one in block.broken),
            seconds=now - self._since,
            run=self._run,
            checksum=zlib.crc32(rows.data),
            sample=self._sample(blocks),
        )
        try:
            with (self.folder / ROWS).open("ab") as file:
                file.write(rows.data)
            with (self.folder / BLOCKS).open("ab") as file:
                file.write(_as_text(line))
        except OSError as error:
            raise DataError(
                f"{self.folder}: writing failed ({error.strerror or error})",
                hint="free disk space and run the same command again: it goes on from there",
            ) from error
        self.lines.append(line)
        self._since = now

    def cut(self, count: int) -> None:
        """Keep the first ``count`` blocks on record, and nothing else. Raises DataError if the disk fails."""
        del self.lines[count:]
        size = sum(line.rows * line.columns for line in self.lines) * _FLOAT_BYTES
        try:
            _truncate(self.folder / ROWS, size)
            _truncate(self.folder / BLOCKS, sum(len(_as_text(line)) for line in self.lines))
        except OSError as error:
            raise DataError(
                f"{self.folder}: cannot be written ({error.strerror or error})", hint="check the disk and permissions"
            ) from error

    def vectors(self, progress: Progress = silent) -> RowVectors:
        """Return all rows as vectors to be read block by block. Raises SubmissionError if they are no descriptors.

        ``progress("checking vectors", done, total)`` is called in rows.
        """
        left_out = {broken.image_id for broken in self.broken}
        described = tuple(i for i in self.ids[: self.images] if i not in left_out)
        return RowVectors(self.folder / ROWS, described, self.dimension, columns=self._columns, progress=progress)

    def norms(self) -> NDArray[np.float32] | None:
        """Return (rows,) float32, one norm per row; None if there are none."""
        if not self.has_norms:
            return None
        found = np.empty(self.rows, dtype=np.float32)
        step = max(1, BYTES_PER_READ // (self._columns * _FLOAT_BYTES))
        for start in range(0, self.rows, step):
            found[start : start + step] = _read_rows(self.folder / ROWS, start, step, self._columns)[:, -1]
        return found

    @property
    def _columns(self) -> int:
        return next((line.columns for line in self.lines if line.rows), self.dimension)

    def _as_rows(self, blocks: Sequence[Block]) -> NDArray[np.float32]:
        some = [block for block in blocks if block.ids]
        if not some:
            return np.empty((0, self.dimension), dtype=np.float32)
        before = next((line.columns > self.dimension for line in self.lines if line.rows), some[0].norms is not None)
        if any((block.norms is not None) != before for block in some):
            raise SubmissionError(
                "the baseline gives norms for some images and none for others",
                hint="report it to whoever made the baseline",
            )
        parts = [
            block.vectors if block.norms is None else np.concatenate([block.vectors, block.norms[:, None]], axis=1)
            for block in some
        ]
        return np.ascontiguousarray(np.concatenate(parts))

    def _sample(self, blocks: Sequence[Block]) -> tuple[str, int] | None:
        first = next((block.ids[0] for block in blocks if block.ids), None)
        if first is None or (checksum := self.fingerprint(first)) is None:
            return None
        return first, checksum


class RowVectors:
    """Vectors in a file of raw rows; see `ndec_bench.descriptors.VectorSource`.

    Raises
    ------
    SubmissionError
        If a value is not finite, a row all zeros, or all rows are equal.
    """

    def __init__(
        self, path: Path, ids: tuple[str, ...], dimension: int, *, columns: int, progress: Progress = silent
    ) -> None:
        self._path, self._ids, self._dimension, self._columns = path, ids, dimension, columns

        def read(start: int, stop: int) -> NDArray[np.float32]:
            progress("checking vectors", stop, len(ids))
            return self.read(start, stop)

        self._survey = survey("descriptors", ids, (len(ids), dimension), read)

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the image ids, in row order."""
        return self._ids

    @property
    def dimension(self) -> int:
        """Return the number of components of each vector."""
        return self._dimension

    @property
    def survey(self) -> Survey:
        """Return the survey that was made when the source was opened."""
        return self._survey

    def __len__(self) -> int:
        return len(self._ids)

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows ``start`` to ``stop`` (not included) as (rows, d) float32."""
        start, stop, _ = slice(start, stop).indices(len(self))
        rows = _read_rows(self._path, start, max(0, stop - start), self._columns)
        return np.ascontiguousarray(rows[:, : self._dimension])


@contextmanager
def finished_rows(
    out: Path,
    choices: Mapping[str, str],
    ids: Sequence[str],
    dimension: int,
    fingerprint: Callable[[str], int | None],
    *,
    progress: Progress = silent,
) -> Iterator[FinishedRows]:
    """Yield the rows of ``out`` that earlier runs finished, ready for more; whoever enters is alone there.

    What was taken in is on disk when the block ends, however it ends.

    Parameters
    ----------
    choices
        What decides about the rows, by name: only rows of the same choices are taken up.
    ids
        All images, in order.
    dimension
        Of the vectors.
    fingerprint
        Maps an image id to the CRC-32 of its file, or to None where that is unknown.
    progress
        Called as ``progress("checking finished images", done, total)``.

    Raises
    ------
    UsageError
        If finished rows of other choices or of other images are there.
    DataError
        If another process is at work, or the disk fails.
    """
    folder = partial_folder(out)
    own = {"schema": "1", "byte_order": sys.byteorder, "dimension": str(dimension), "images": str(len(ids))}
    head = dict(sorted({**choices, **own, "ids_sha256": _sha256_of(ids)}.items()))
    with _alone(folder):
        rows = FinishedRows(folder, ids, dimension, fingerprint)
        _take_up(rows, head, progress)
        try:
            yield rows
        finally:
            if folder.is_dir():
                rows.commit()
                if not rows.lines:
                    discard(folder)


def partial_folder(out: Path) -> Path:
    """Return where the finished rows of the descriptor file ``out`` lie: the same name followed by ``.partial``."""
    return out.with_name(out.name + ".partial")


def discard(folder: Path) -> None:
    """Remove finished rows that are no longer needed; the caller holds the lock. Other people's files stay."""
    for name in (BLOCKS, ROWS, HEAD, FINISHED, f"{FINISHED}.json", LOCK):
        with suppress(OSError):
            (folder / name).unlink()
    with suppress(OSError):
        folder.rmdir()


def _take_up(rows: FinishedRows, head: Mapping[str, str], progress: Progress) -> None:
    folder = rows.folder
    found = _read_head(folder / HEAD)
    lines = _read_lines(folder / BLOCKS)
    if found is not None and found != head and lines:
        differing = [key for key in sorted(found.keys() | head.keys()) if found.get(key) != head.get(key)]
        key = min(differing, key=lambda key: key == "ids_sha256")  # a digest says least
        raise UsageError(
            f"{folder} holds {sum(line.images for line in lines):,} finished images of another run: "
            f"{key.replace('_', ' ')} was {_short(found.get(key))}, now it is {_short(head.get(key))}",
            hint="run the former command again, or remove that folder to begin anew",
        )
    if found == head:
        rows.lines = _sound(folder / ROWS, lines, rows, progress)
        _check_samples(rows)
        if rows.lines:
            rows.note = f"going on after {rows.images:,} of {len(rows.ids):,} images, found in {folder}"
    elif (folder / HEAD).exists() and found is None:
        rows.note = f"{folder} holds nothing that could be used: beginning anew"
    if found != head:
        for name in (BLOCKS, ROWS):
            (folder / name).unlink(missing_ok=True)
        atomic.write_text(folder / HEAD, json.dumps(head, indent=2) + "\n")
    rows.cut(len(rows.lines))
    # Of a run that was killed while it wrote a file whole.
    for stale in (*folder.glob(".*.part"), folder / FINISHED, folder / f"{FINISHED}.json"):
        stale.unlink(missing_ok=True)


def _check_samples(rows: FinishedRows) -> None:
    samples = [line.sample for line in rows.lines if line.sample is not None]
    picked = sorted({round(place) for place in np.linspace(0, len(samples) - 1, _SAMPLES)}) if samples else []
    for image_id, checksum in (samples[place] for place in picked):
        if rows.fingerprint(image_id) != checksum:
            raise UsageError(
                f"{rows.folder} holds {rows.images:,} finished images of another run: "
                f"the file of image {image_id} is not what it was then",
                hint="give the images of that run, or remove that folder to begin anew",
            )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        for tries_left in reversed(range(_TRIES)):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
                break
            except FileNotFoundError:  # whoever was just ready removed the folder in between
                if not tries_left:
                    raise
    except Timeout as error:
        raise DataError(
            f"{folder}: another process is describing into it",
            hint="wait for it, stop it, or write to another file",
        ) from error
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written ({error.strerror or error})", hint="choose another folder or free its disk"
        ) from error
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):  # Windows removes the lock, and with it the last of a discarded folder, only now
            folder.rmdir()


def _sound(path: Path, lines: Sequence[Line], rows: FinishedRows, progress: Progress) -> list[Line]:
    """Return the leading ``lines`` whose rows are on disk as they were written."""
    sound: list[Line] = []
    images, total = 0, sum(line.images for line in lines)
    with suppress(OSError), path.open("rb") as file:
        for line in lines:
            here = frozenset(rows.ids[images : images + line.images])
            counted = len(here) == line.images == line.rows + len(line.broken)
            named = all(broken.image_id in here for broken in line.broken)
            shaped = line.columns in (rows.dimension, rows.dimension + 1)
            if not (counted and named and shaped):
                break
            if _crc_of_next(file, line.rows * line.columns * _FLOAT_BYTES) != line.checksum:
                break
            images += line.images
            sound.append(line)
            progress("checking finished images", images, total)
    return sound


def _crc_of_next(file: Any, size: int) -> int | None:  # noqa: ANN401 -- a binary file
    checksum = 0
    while size > 0:
        content = file.read(min(size, BYTES_PER_READ))
        if not content:
            return None
        checksum = zlib.crc32(content, checksum)
        size -= len(content)
    return checksum


def _as_text(line: Line) -> bytes:
    content = json.dumps(asdict(line), separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(content), content)


def _read_lines(path: Path) -> list[Line]:
    """Return the leading lines that are whole."""
    lines: list[Line] = []
    try:
        content = path.read_bytes()
    except OSError:
        return lines
    for text in content.splitlines(keepends=True):
        checksum, _, body = text.removesuffix(b"\n").partition(b" ")
        if not text.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(body):
            break
        try:
            lines.append(_parsed(json.loads(body)))
        except (KeyError, TypeError, ValueError):
            break
    return lines


def _parsed(values: dict[str, Any]) -> Line:
    broken = tuple(Broken(str(one["image_id"]), str(one["reason"])) for one in values["broken"])
    sample = values["sample"]
    numbers = {name: int(values[name]) for name in ("images", "rows", "columns", "run", "checksum")}
    if min(numbers.values()) < 0:
        raise ValueError("a count below zero")
    return Line(
        **numbers,
        broken=broken,
        seconds=float(values["seconds"]),
        sample=None if sample is None else (str(sample[0]), int(sample[1])),
    )


def _read_head(path: Path) -> dict[str, str] | None:
    try:
        head = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return head if isinstance(head, dict) else None


def _read_rows(path: Path, start: int, count: int, columns: int) -> NDArray[np.float32]:
    with path.open("rb") as file:
        file.seek(start * columns * _FLOAT_BYTES)
        return np.fromfile(file, dtype=np.float32, count=count * columns).reshape(-1, columns)


def _truncate(path: Path, size: int) -> None:
    with path.open("ab") as file:
        file.truncate(size)


def _sha256_of(ids: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for identifier in ids:
        digest.update(identifier.encode() + b"\n")
    return digest.hexdigest()


def _short(value: str | None) -> str:
    return "not given" if value is None else repr(value if len(value) <= 60 else f"{value[:57]}...")
