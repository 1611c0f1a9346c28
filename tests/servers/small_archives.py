"""Tiny archives in the layouts of NDEC and DISC21, the same bytes in every run.

``members`` are pairs of path and content, in the order in which they shall lie in the archive; a path that ends in a
slash is a folder.
"""

from __future__ import annotations

import io
import random
import tarfile
import zipfile
from functools import cache
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

Members = list[tuple[str, bytes]]

STRAY = ("Thumbs.db", ".DS_Store", "README.txt", "index.html")
"""Files that lie beside images without being any."""


@cache
def jpeg(seed: int, size: tuple[int, int] = (24, 16)) -> bytes:
    """Return a JPEG of less than a KiB; every seed gives another picture."""
    coarse = Image.frombytes("RGB", (4, 4), random.Random(seed).randbytes(48))  # noqa: S311
    buffer = io.BytesIO()
    coarse.resize(size, Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def zip_of(members: Iterable[tuple[str, bytes]], *, deflated: bool = False) -> bytes:
    """Return a zip of ``members``, stored unless ``deflated``."""
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name, (2021, 6, 1, 0, 0, 0))
            info.create_system = 3  # Unix, wherever the tests run
            info.external_attr = (0o040755 if name.endswith("/") else 0o100644) << 16
            archive.writestr(info, content, method)
    return buffer.getvalue()


def tar_of(members: Iterable[tuple[str, bytes]], *, dialect: int = tarfile.GNU_FORMAT) -> bytes:
    """Return a tar of ``members``; ``dialect`` is one of tarfile's formats."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=dialect) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mtime = 1_620_000_000
            if name.endswith("/"):
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def split(content: bytes, sizes: Sequence[int]) -> list[bytes]:
    """Return ``content`` in pieces of ``sizes`` bytes and one of the rest, as the command ``split`` would cut it."""
    pieces, start = [], 0
    for size in sizes:
        pieces.append(content[start : start + size])
        start += size
    return [*pieces, content[start:]]


def write_pieces(folder: Path, name: str, pieces: Sequence[bytes]) -> list[Path]:
    """Return the paths of ``pieces``, written as ``name.aa``, ``name.ab`` and so on."""
    paths = [folder / f"{name}.a{chr(ord('a') + number)}" for number in range(len(pieces))]
    for path, piece in zip(paths, pieces, strict=True):
        path.write_bytes(piece)
    return paths


def stray_files(folder: str = "") -> Members:
    """Return files that are no images, as they are found in ``folder`` (with its slash)."""
    return [(f"{folder}{name}", b"no image") for name in STRAY]


def ndec_queries(numbers: Iterable[int]) -> Members:
    """Return the content of ``query_images_h5.tar``: ``query_images_h5/Q25000.jpg`` and so on."""
    return [("query_images_h5/", b""), *((f"query_images_h5/Q{n:05}.jpg", jpeg(n)) for n in numbers)]


def negative_pairs(pairs: Iterable[tuple[int, int]]) -> Members:
    """Return the content of ``negative_pair.tar``: per (folder number, training number) a folder with two images.

    ``(1, 613143)`` gives ``negative_pair/00001/T613143.jpg`` and its look-alike ``negative_pair/00001/1.jpg``, whose
    name is the same in each folder.
    """
    members: Members = [("negative_pair/", b"")]
    for folder, number in pairs:
        inside = f"negative_pair/{folder:05}/"
        members += [
            (inside, b""),
            (f"{inside}1.jpg", jpeg(2_000_000 + number)),
            (f"{inside}T{number:06}.jpg", jpeg(1_000_000 + number)),
        ]
    return members


def disc21_images(letter: str, numbers: Iterable[int], folder: str | None = None) -> Members:
    """Return the content of a zip of DISC21: references (R), training images (T) or queries (Q).

    Paths begin with ``folder``, by default as the static host has them: ``images/references/R000000.jpg``.
    """
    homes = {"R": "images/references/", "T": "images/train/", "Q": "images/queries/"}
    width = 5 if letter == "Q" else 6
    inside = homes[letter] if folder is None else folder
    return [(f"{inside}{letter}{n:0{width}}.jpg", jpeg(3_000_000 + ord(letter) * 1_000_000 + n)) for n in numbers]


def shard_name(stem: str, number: int, *, padded: bool = False) -> str:
    """Return the name of a shard, ``references_1.zip``, or as some users spell it, ``references_01.zip``."""
    return f"{stem}_{number:02}.zip" if padded else f"{stem}_{number}.zip"
