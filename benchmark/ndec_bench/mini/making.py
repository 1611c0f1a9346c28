"""Making the pictures of a plan, in one or several processes, so that an interrupted build goes on where it was."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from pydantic import TypeAdapter

from ndec_bench.edits import apply_chain
from ndec_bench.errors import InterruptedRun, os_errors
from ndec_bench.mini.likeness import signature, small_grey
from ndec_bench.mini.sources import Donors, Region, picture
from ndec_bench.resume import parts_in, spread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_bench.edits.raster import Pixels
    from ndec_bench.mini.items import Item, Plan
    from ndec_bench.mini.sources import Source
    from ndec_bench.progress import Progress

STAGE = "making pictures"
PARTS = "parts"
"""Folder of what is known of finished pictures, while others are still to be made."""
CHUNK = 48


@dataclass(frozen=True)
class PictureRecord:
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

    def signature(self) -> NDArray[np.int16]:
        """Return the signature of the original (256,), int16."""
        return np.frombuffer(bytes.fromhex(self.tone), "<i2").astype(np.int16)

    def grey_pixels(self) -> NDArray[np.uint8]:
        """Return the small luma (height, width), uint8."""
        width, _, content = self.grey.partition(":")
        return np.frombuffer(bytes.fromhex(content), np.uint8).reshape(-1, int(width))


_RECORDS = TypeAdapter(dict[str, PictureRecord])


def pixels_sha256(pixels: Pixels) -> str:
    """Return the SHA-256 (hex) over ``width x height LF`` and the RGB bytes of a picture, row by row."""
    digest = hashlib.sha256(f"{pixels.shape[1]}x{pixels.shape[0]}\n".encode())
    digest.update(pixels.tobytes())
    return digest.hexdigest()


def make_all(plan: Plan, folder: Path, jobs: int, progress: Progress) -> dict[str, PictureRecord]:
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
    chunks = {f"{number:05d}.json": chunk for number, chunk in enumerate(_chunks(plan.items))}
    done: dict[str, PictureRecord] = {}
    try:
        with (
            os_errors(f"{folder}: writing failed", hint="free disk space and run again"),
            parts_in(folder / PARTS, {"plan": plan.sha256(), "chunk": str(CHUNK)}) as parts,
        ):
            for name in parts:
                records = _RECORDS.validate_json(parts.path(name).read_bytes())
                if all(_is_intact(folder / record.path, record) for record in records.values()):
                    done.update(records)
            left = [chunk for chunk in chunks.items() if not all(item.key in done for item in chunk[1])]
            progress(STAGE, len(done), len(plan.items))
            orders = [(name, [(item, folder, plan.path(item)) for item in chunk]) for name, chunk in left]
            for (name, _), made in spread(_make_chunk, orders, jobs, prepare=_prepare, given=(plan.donors,)):
                with parts.adding(name) as path:
                    path.write_bytes(_RECORDS.dump_json(made))
                done.update(made)
                progress(STAGE, len(done), len(plan.items))
    except KeyboardInterrupt:
        raise InterruptedRun(
            f"stopped after {len(done):,} of {len(plan.items):,} pictures, kept in {folder}",
            hint="the same command goes on from there",
        ) from None
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


_STATE: dict[str, Donors] = {}


def _prepare(donors: tuple[Source, ...]) -> None:
    _STATE["donors"] = Donors(donors)


def _make_chunk(chunk: tuple[str, Sequence[tuple[Item, Path, str]]]) -> dict[str, PictureRecord]:
    """Make the pictures of a chunk: its name, and of each picture the item, the split's folder and its path there."""
    return {item.key: _record(item, folder, path) for item, folder, path in chunk[1]}


def _record(item: Item, folder: Path, path: str) -> PictureRecord:
    original = picture(item.source)
    edited = apply_chain(original, item.chain, _STATE["donors"])
    file, size = _written(edited.pixels, folder / path)
    tone = grey = ""
    if item.role != "copy":
        # Originals of hard negatives and plain distractors are compared too, edited or not: the check is about content.
        tone = signature(original).astype("<i2").tobytes().hex()
        if isinstance(item.source, Region):
            small = small_grey(original)
            grey = f"{small.shape[1]}:{small.tobytes().hex()}"
    height, width = edited.pixels.shape[:2]
    return PictureRecord(
        path, width, height, pixels_sha256(edited.pixels), size, file, edited.remaining_area, tone, grey
    )


def _written(pixels: Pixels, target: Path) -> tuple[str, int]:
    part = target.with_suffix(".part")
    Image.fromarray(pixels).save(part, "PNG", compress_level=1)
    content = part.read_bytes()
    part.replace(target)
    return hashlib.sha256(content).hexdigest(), len(content)


def _is_intact(path: Path, record: PictureRecord) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    return len(content) == record.size and hashlib.sha256(content).hexdigest() == record.file
