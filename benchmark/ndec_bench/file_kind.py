"""What a file is by its first bytes, for readers that expect another kind, and what to do with it."""

from __future__ import annotations

import codecs
import zlib
from typing import TYPE_CHECKING, NamedTuple

from ndec_bench.errors import NdecBenchError, os_errors

if TYPE_CHECKING:
    from pathlib import Path

HEAD = 4096
"""Bytes of a file's beginning that `kind_of` wants."""


class FileKind(NamedTuple):
    """A kind of file: its name in the program, what it is in words, and what to do with it; None if convert it."""

    name: str
    what: str
    advice: str | None = None


_UNPACK = "unpack it first"
_UTF_16 = FileKind("utf-16", "UTF-16 text", "save it as UTF-8; in PowerShell with | Out-File -Encoding utf8")
_TORCH = FileKind("torch", "a PyTorch file")
_ZIP = FileKind("zip", "a zip archive", _UNPACK)
_TAR = FileKind("tar", "a tar archive", _UNPACK)
_GZIP = FileKind("gzip", "a gzip file", "unpack it first, with gunzip")
_TAR_GZ = FileKind("tar.gz", "a compressed tar archive", "unpack it first, with tar xzf")
_LFS = "run git lfs pull in its repository, or fetch the file itself"
_PAGE = "the download gave a web page instead of the file: fetch it again"
_STARTS = (
    (b"version https://git-lfs", FileKind("lfs", "a Git LFS pointer, which stands for the file", _LFS)),
    (b"\x89HDF\r\n\x1a\n", FileKind("hdf5", "an HDF5 file")),
    (b"PAR1", FileKind("parquet", "a Parquet file")),
    (b"PARE", FileKind("parquet", "an encrypted Parquet file")),
    (b"ARROW1", FileKind("arrow", "a Feather or Arrow file")),
    (b"FEA1", FileKind("arrow", "a Feather file")),
    (b"\x93NUMPY", FileKind("npy", "a NumPy array (.npy)")),
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", _TORCH),
    *((b"\x80" + bytes([protocol]), FileKind("pickle", "a Python pickle")) for protocol in (2, 3, 4, 5)),
    (b"BZh", FileKind("bzip2", "a bzip2 file", _UNPACK)),
    (b"\xfd7zXZ\0", FileKind("xz", "an xz file", _UNPACK)),
    (b"(\xb5/\xfd", FileKind("zstd", "a Zstandard file", _UNPACK)),
    (b"7z\xbc\xaf'\x1c", FileKind("7z", "a 7-Zip archive", _UNPACK)),
    (b"Rar!\x1a\x07", FileKind("rar", "a RAR archive", _UNPACK)),
    (b"%PDF-", FileKind("pdf", "a PDF document")),
    (b"\x89PNG\r\n", FileKind("image", "a picture")),
    (b"\xff\xd8\xff", FileKind("image", "a picture")),
    (codecs.BOM_UTF16_LE, _UTF_16),
    (codecs.BOM_UTF16_BE, _UTF_16),
)
_IN_ZIPS = (
    (".npy", FileKind("npz", "NumPy arrays (.npz)")),
    ("data.pkl", _TORCH),
    ("[Content_Types].xml", FileKind("office", "an Excel or other Office file", "save it as CSV in UTF-8")),
)
_LONGEST_SAFETENSORS_HEADER = 100_000_000


def kind_of(head: bytes) -> FileKind | None:
    """Return the kind of a file that begins with ``head`` (`HEAD` bytes of it); None for text and unknown bytes."""
    return _no_plain_text(head) or _container(head) or next((kind for at, kind in _STARTS if head.startswith(at)), None)


def refuse_others(path: Path, expected: str, *accepted: str, error: type[NdecBenchError]) -> None:
    """Raise ``error`` if ``path`` cannot be read, or is of a known kind whose name is not in ``accepted``.

    Text and unknown bytes pass: what is wrong with them, the reader says.
    """
    with os_errors(f"{path}: cannot be read", error), path.open("rb") as file:
        kind = kind_of(file.read(HEAD))
    if kind is not None and kind.name not in accepted:
        raise error(f"{path}: {kind.what}, expected {expected}", hint=kind.advice or f"write {expected}")


def _no_plain_text(head: bytes) -> FileKind | None:
    if not head:
        return FileKind("empty", "empty", "write or fetch it again")
    if head.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"<":
        return FileKind("page", "a web page", _PAGE)
    even, odd = head[:64:2], head[1:64:2]
    # Every second byte is 0 and no other: English in UTF-16 without its mark.
    alternates = (not any(odd) and all(even)) or (not any(even) and all(odd))
    return _UTF_16 if alternates and len(head) > 7 else None


def _container(head: bytes) -> FileKind | None:
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        first = head[30 : 30 + int.from_bytes(head[26:28], "little")].decode("utf-8", "replace")
        return next((kind for end, kind in _IN_ZIPS if first.endswith(end)), _ZIP)
    if head.startswith(b"\x1f\x8b"):
        return _TAR_GZ if _is_tar(_unpacked(head)) else _GZIP
    if head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") < _LONGEST_SAFETENSORS_HEADER:
        return FileKind("safetensors", "a safetensors file")
    return _TAR if _is_tar(head) else None


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _unpacked(head: bytes) -> bytes:
    """Return what the beginning of a gzip file unpacks to, at most a block of a tar."""
    try:
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(head, 512)
    except zlib.error:
        return b""
