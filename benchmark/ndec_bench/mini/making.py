"""Making the pictures of a plan, in one or several processes, so that an interrupted build goes on where it was."""

from __future__ import annotations

import hashlib
import multiprocessing
import signal
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from pydantic import TypeAdapter, ValidationError

from ndec_bench.edits import apply_chain
from ndec_bench.errors import DataError, InterruptedRun
from ndec_bench.mini.likeness import signature, small_grey
from ndec_bench.mini.sources import Donors, Region, Studio

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_bench.edits.raster import Pixels
    from ndec_bench.mini.items import Item, Plan
    from ndec_bench.mini.sources import Source
    from ndec_bench.progress import Progress

STAGE = "making pictures"
JOURNAL = "journal.jsonl"
CHUNK = 48


@dataclass(frozen=True)
class Made:
    """What is known about a finished picture.

    Attributes
    ----------
    path
        Relative to the split's folder.
    width, height
        In pixels.
    pixels
        SHA-256 (hex) over ``width x height LF`` and the RGB bytes row by row.
    size, file
        Bytes of the PNG file and their SHA-256 (hex): local, they change with the version of zlib.
    remaining
        Remaining area.
    tone
        Packed signature of the original; empty for copies, whose original is a reference.
    grey
        The small luma of a photograph, for block matching: ``width:hex``; empty for scenes and copies.
    """

    path: str
    width: int
    height: int
    pixels: str
    size: int
    file: str
    remaining: float
    tone: str
    grey: str

    def grey_pixels(self) -> NDArray[np.uint8]:
        """Return the small luma (height, width), uint8."""
        width, _, content = self.grey.partition(":")
        return np.frombuffer(bytes.fromhex(content), np.uint8).reshape(-1, int(width))


_ENTRY = TypeAdapter(tuple[str, Made])


def pixels_sha256(pixels: Pixels) -> str:
    """Return the SHA-256 (hex) over ``width x height LF`` and the RGB bytes of a picture, row by row."""
    digest = hashlib.sha256(f"{pixels.shape[1]}x{pixels.shape[0]}\n".encode())
    digest.update(pixels.tobytes())
    return digest.hexdigest()


def make_all(plan: Plan, folder: Path, jobs: int, progress: Progress) -> dict[str, Made]:
    """Return what was made, by item key; pictures that lie finished in ``folder`` are checked and kept.

    Raises
    ------
    DataError
        If a source cannot be read, a worker process dies, or the disk is full.
    InterruptedRun
        If the user stops it; finished pictures are kept.
    """
    for sub in ("queries", "references", "train", "background"):
        (folder / "images" / sub).mkdir(parents=True, exist_ok=True)
    done = _kept(plan, folder)
    total = len(plan.items)
    chunks = list(_chunks([item for item in plan.items if item.key not in done]))
    progress(STAGE, len(done), total)
    try:
        with (folder / JOURNAL).open("a", encoding="utf-8") as journal:
            for made in _run(plan, folder, chunks, jobs):
                for key, record in made.items():
                    journal.write(_ENTRY.dump_json((key, record)).decode() + "\n")
                journal.flush()
                done.update(made)
                progress(STAGE, len(done), total)
    except KeyboardInterrupt:
        raise InterruptedRun(
            f"stopped after {len(done):,} of {total:,} pictures, kept in {folder}",
            hint="the same command goes on from there",
        ) from None
    except OSError as error:
        raise DataError(
            f"{folder}: writing failed ({error.strerror or error})", hint="free disk space and run again"
        ) from error
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process ended early (out of memory, or a script that builds without a __main__ guard)",
            hint="run again; with --jobs 1 it needs no worker process",
        ) from error
    return done


def _chunks(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Yield items in groups; those of one photograph or scene stay together."""
    chunk: list[Item] = []
    for i, item in enumerate(items):
        fresh = i == 0 or _origin(item.source) != _origin(items[i - 1].source)
        if fresh and len(chunk) >= CHUNK:
            yield chunk
            chunk = []
        chunk.append(item)
    if chunk:
        yield chunk


def _origin(source: Source) -> object:
    return getattr(source, "path", source)


def _run(plan: Plan, folder: Path, chunks: list[list[Item]], jobs: int) -> Iterator[dict[str, Made]]:
    if jobs <= 1 or len(chunks) < 2:
        _prepare(plan.donors)
        for chunk in chunks:
            yield _make_chunk(_orders(plan, folder, chunk))
        return
    # Spawned, not forked: forking a process with running BLAS threads can hang, and Windows cannot fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, len(chunks)), context, _start_worker, (plan.donors,))
    try:
        waiting: set[Future[dict[str, Made]]] = {pool.submit(_make_chunk, _orders(plan, folder, c)) for c in chunks}
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _orders(plan: Plan, folder: Path, chunk: Iterable[Item]) -> list[tuple[Item, Path, str]]:
    return [(item, folder, plan.path(item)) for item in chunk]


_STATE: dict[str, Donors] = {}


def _prepare(donors: tuple[Source, ...]) -> None:
    _STATE["donors"] = Donors(donors)


def _start_worker(donors: tuple[Source, ...]) -> None:
    # Ctrl-C reaches every process of the terminal; the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _prepare(donors)


def _make_chunk(orders: Sequence[tuple[Item, Path, str]]) -> dict[str, Made]:
    studio, donors = Studio(), _STATE["donors"]
    made: dict[str, Made] = {}
    latest: tuple[Source, Pixels] | None = None
    for item, folder, path in orders:
        if latest is None or latest[0] != item.source:
            latest = item.source, studio.picture(item.source)
        made[item.key] = _made(item, latest[1], donors, folder, path)
    return made


def _made(item: Item, original: Pixels, donors: Donors, folder: Path, path: str) -> Made:
    edited = apply_chain(original, item.chain, donors)
    file, size = _written(edited.pixels, folder / path)
    tone = grey = ""
    if item.role != "copy":
        # Originals of hard negatives and plain distractors are compared too, edited or not: the check is about content.
        tone = signature(original).packed()
        if isinstance(item.source, Region):
            small = small_grey(original)
            grey = f"{small.shape[1]}:{small.tobytes().hex()}"
    height, width = edited.pixels.shape[:2]
    return Made(path, width, height, pixels_sha256(edited.pixels), size, file, edited.remaining_area, tone, grey)


def _written(pixels: Pixels, target: Path) -> tuple[str, int]:
    part = target.with_suffix(".part")
    Image.fromarray(pixels).save(part, "PNG", compress_level=1)
    content = part.read_bytes()
    part.replace(target)
    return hashlib.sha256(content).hexdigest(), len(content)


def _kept(plan: Plan, folder: Path) -> dict[str, Made]:
    """Return the records of an earlier, interrupted build whose files are still what the records say."""
    journal = folder / JOURNAL
    if not journal.exists():
        return {}
    paths = {item.key: plan.path(item) for item in plan.items}
    kept: dict[str, Made] = {}
    for line in journal.read_text(encoding="utf-8").splitlines():
        try:
            key, record = _ENTRY.validate_json(line)
        except ValidationError:
            continue  # the line that was being written when the build stopped
        if paths.get(key) == record.path and _is_intact(folder / record.path, record):
            kept[key] = record
    return kept


def _is_intact(path: Path, record: Made) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return len(content) == record.size and hashlib.sha256(content).hexdigest() == record.file
