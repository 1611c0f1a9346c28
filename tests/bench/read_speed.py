"""Reading throughput: folder against zip against tar.

The same images lie as files, in a zip (stored, deflated), in a tar, and in a tar in three pieces. Threads read them in
a random order, as bytes and decoded; the layouts take turns, so that other work on the machine disturbs all alike. In
the cold rows the system was told before each run to drop the files from memory; the disk's own memory stays.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import statistics
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from timing import cores, describe, rotated, share, show, tell, timed

from ndec_bench.data.images import open_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.data.images import ImageSource

PICTURES = 48
"""Different pictures; they take turns under other names, because making them takes longer than reading them."""
PIECES = 3


@dataclass(frozen=True)
class Layout:
    """One way in which the images lie on disk."""

    name: str
    source: ImageSource
    files: Sequence[Path]


@dataclass(frozen=True)
class Row:
    """One measured case: images per second of the median run, and how many times that of the folder it is.

    ``ratio`` is the median over the rounds, each comparing two runs that followed each other; ``low`` and ``high`` are
    the least and the greatest of the rounds.
    """

    case: str
    layout: str
    images_per_second: float
    ratio: float
    low: float
    high: float


def main() -> int:
    """Print a table; return 0."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="read-speed-", dir=arguments.folder) as name:
        tell(f"making {arguments.images:,} images, five times")
        layouts, size = _layouts(Path(name), arguments.images)
        rows = [row for case in _cases(arguments) for row in _timed(case, layouts, arguments)]
    if arguments.json:
        print(json.dumps({"machine": describe(), "rows": [asdict(row) for row in rows]}, indent=1))
    else:
        lines = [["", "", "images/s", "× folder", "least", "most"]]
        for row in rows:
            numbers = [f"{row.ratio:.2f}", f"{row.low:.2f}", f"{row.high:.2f}"]
            lines.append([row.case, row.layout, f"{row.images_per_second:,.0f}", *numbers])
        print(f"{describe()}\n")
        title = f"{arguments.images:,} images of {size / 1000:.0f} kB, {arguments.threads} threads"
        show(title, lines, left=(0, 1))
    return 0


@dataclass(frozen=True)
class Case:
    """What is timed: a method of a source on so many images, with the files in memory unless ``cold``."""

    name: str
    method: str
    images: int
    cold: bool = False


def _cases(arguments: argparse.Namespace) -> list[Case]:
    cases = [Case("bytes", "read_bytes", arguments.images), Case("decoded", "read", arguments.decoded)]
    if hasattr(os, "posix_fadvise"):
        cases.append(Case("bytes, cold", "read_bytes", arguments.images, cold=True))
    return cases


def _timed(case: Case, layouts: Sequence[Layout], arguments: argparse.Namespace) -> list[Row]:
    seconds: dict[str, list[float]] = {layout.name: [] for layout in layouts}
    for turn in range(arguments.rounds):
        tell(f"{case.name}: round {turn + 1} of {arguments.rounds}")
        ids = list(layouts[0].source.ids)
        random.Random(turn).shuffle(ids)  # noqa: S311
        ids = ids[: case.images]
        for layout in rotated(layouts, turn):
            if case.cold:
                _forget(layout.files)
            read = getattr(layout.source, case.method)
            seconds[layout.name].append(timed(partial(share, read, ids, arguments.threads)).seconds)
    floor = seconds[layouts[0].name]
    rows = []
    for name, times in seconds.items():
        ratios = [ours / other for ours, other in zip(floor, times, strict=True)]
        speed = len(ids) / statistics.median(times)
        rows.append(Row(case.name, name, speed, statistics.median(ratios), min(ratios), max(ratios)))
    return rows


def _forget(files: Sequence[Path]) -> None:
    """Have the system drop the contents of ``files`` from memory; they must be on disk for that."""
    for path in files:
        file = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def _layouts(folder: Path, count: int) -> tuple[list[Layout], float]:
    """Return the layouts, the folder first, and the mean size of an image in bytes."""
    pictures = [_picture(seed) for seed in range(min(PICTURES, count))]
    images = [(f"images/references/R{n:06}.jpg", pictures[n % len(pictures)]) for n in range(count)]
    for name, content in images:
        path = folder / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name, method in (("stored.zip", zipfile.ZIP_STORED), ("deflated.zip", zipfile.ZIP_DEFLATED)):
        with zipfile.ZipFile(folder / name, "w", method) as archive:
            for member, content in images:
                archive.writestr(member, content)
    with tarfile.open(folder / "whole.tar", "w") as tar:
        for member, content in images:
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    pieces = _split(folder / "whole.tar", folder / "pieces.tar")
    os.sync()
    places = {
        "folder": folder / "files",
        "zip, stored": folder / "stored.zip",
        "zip, deflated": folder / "deflated.zip",
        "tar": folder / "whole.tar",
        f"tar in {PIECES} pieces": pieces[0],
    }
    layouts = []
    for name, place in places.items():
        files = pieces if place == pieces[0] else [place] if place.is_file() else sorted(place.rglob("*.jpg"))
        layouts.append(Layout(name, open_images(place), files))
    return layouts, statistics.mean(len(content) for _, content in images)


def _picture(seed: int) -> bytes:
    """Return a JPEG of about 170 kB, as DISC21's are on average: 1024 x 768, smooth shapes under a fine grain."""
    generator = np.random.default_rng(seed)
    shapes = Image.fromarray(generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
        (1024, 768), Image.Resampling.BICUBIC
    )
    grain = generator.normal(0, 9, (768, 1024, 1))
    pixels = np.clip(np.asarray(shapes, dtype=np.float32) + grain, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _split(whole: Path, stem: Path) -> list[Path]:
    size = -(-whole.stat().st_size // PIECES)
    paths = [stem.with_name(f"{stem.name}.a{letter}") for letter in "abc"[:PIECES]]
    with whole.open("rb") as file:
        for path in paths:
            path.write_bytes(file.read(size))
    return paths


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--decoded", type=int, default=400, help="how many of them are decoded in a round")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the images are made, on the disk to be measured")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
