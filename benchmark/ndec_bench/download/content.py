"""Whether a downloaded file is what its name says, told by its first bytes or, for a ground truth, by its pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndec_bench.data import known
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_bench.data.registry import RemoteFile

_TAR_MAGIC = slice(257, 262)
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_CHUNKS_WITHOUT_START = (".ab", ".ac")


def check_content(file: RemoteFile, path: Path) -> None:
    """Raise DataError if the file ``path`` cannot be ``file``: no zip, no tar, no or another ground truth.

    The raw pieces of a split tar after the first have no recognisable start and pass.
    """
    if file.ground_truth is not None:
        known.read(file.ground_truth, path)
        return
    with path.open("rb") as opened:
        start = opened.read(512)
    if file.unpack == "zip" and not start.startswith(_ZIP_STARTS):
        raise _not(file, "zip archive", start)
    starts = file.unpack in {"tar", "tar-chunk"} and not file.name.endswith(_CHUNKS_WITHOUT_START)
    if starts and start[_TAR_MAGIC] != b"ustar":
        raise _not(file, "tar archive", start)


def _not(file: RemoteFile, expected: str, start: bytes) -> DataError:
    found = "a web page" if start.lstrip()[:1] == b"<" else f"a file that begins with {start[:8].hex(' ')}"
    return DataError(f"{file.name}: no {expected}, but {found}", hint="the source gave something else: try another")
