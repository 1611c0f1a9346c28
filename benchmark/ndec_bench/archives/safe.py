"""What an archive may hold: the one place that refuses names, kinds and sizes that could do harm."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from ndec_bench.errors import DataError
from ndec_bench.printable import escaped

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGE_SUFFIXES = frozenset({".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})

MAX_MEMBERS = 5_000_000
"""More members than this in one archive are refused; the largest known one has 200,000."""
MAX_BYTES = 256 * 2**20
"""Larger members are refused: an image of the accepted number of pixels is smaller, even uncompressed."""
MAX_RATIO = 200
RATIO_FROM = 64 * 2**20
"""Members of at least `RATIO_FROM` bytes that shrank by more than `MAX_RATIO` are refused; photographs do not."""
MAX_NAME = 1024

_FOREIGN = "do not use this archive; fetch it again from its publisher"
_HARMLESS = re.compile(r"[\w-][\w. -]*(?:/[\w-][\w. -]*)*", re.ASCII).fullmatch
is_image: Callable[[str], object] = re.compile(
    rf"(?:[^./][^/]*/)*[^./][^/]*(?:{'|'.join(map(re.escape, sorted(IMAGE_SUFFIXES)))})", re.IGNORECASE | re.DOTALL
).fullmatch
"""Return something true if a name has an image suffix (in any case) and nothing in its path begins with a dot."""


def plain_name(archive: str, raw: str) -> str:
    r"""Return the member name ``raw`` without empty and ``.`` components; empty for the top folder itself.

    Bytes that are no UTF-8 (lone surrogates in ``raw``) become ``\xNN``.

    Raises
    ------
    DataError
        If the name is absolute, has a drive letter, ``..`` or a control character, or is too long.
    """
    if _HARMLESS(raw) and len(raw) <= MAX_NAME:
        return raw
    name = raw.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if len(name) > MAX_NAME:
        raise refusal(archive, name, f"a name of {len(name):,} characters, at most {MAX_NAME:,} are accepted")
    if any(unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in name):
        raise refusal(archive, name, "a control character in the name")
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        raise refusal(archive, name, "an absolute path, expected one inside the archive")
    if ".." in re.split(r"[/\\]", name):
        raise refusal(archive, name, "a path that leaves its folder (..)")
    return "/".join(part for part in name.split("/") if part not in {"", "."})


def check_size(archive: str, name: str, size: int, stored: int) -> None:
    """Raise DataError if a member of ``size`` bytes, ``stored`` in the archive, is too large or unpacks to too much."""
    if max(size, stored) > MAX_BYTES:
        raise refusal(archive, name, f"{max(size, stored):,} bytes, at most {MAX_BYTES:,} are accepted")
    if size >= RATIO_FROM and size > MAX_RATIO * stored:
        raise refusal(archive, name, f"{stored:,} bytes that unpack to {size:,}, a decompression bomb")


def check_count(archive: str, count: int) -> None:
    """Raise DataError if ``count`` is more members than an archive may have."""
    if count > MAX_MEMBERS:
        raise DataError(f"{archive}: more than {MAX_MEMBERS:,} members", hint=_FOREIGN)


def refusal(archive: str, name: str, found: str) -> DataError:
    """Return the error for a member that is refused: archive, name made harmless, what was found, the next step."""
    return DataError(f"{archive}: member {escaped(name)}: {found}", hint=_FOREIGN)
