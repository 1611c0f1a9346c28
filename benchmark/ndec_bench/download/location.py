"""What a source says about a file before its bytes are fetched."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Location:
    """Where the bytes of a file are now, and what its source says about them.

    Attributes
    ----------
    url
        Address that serves the bytes; it may be signed and expire.
    bytes, sha256
        Size and SHA-256 (hex) as the source publishes them; None where it does not.
    headers
        Headers to send to that address and to no other.
    """

    url: str
    bytes: int | None = None
    sha256: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Resolve(Protocol):
    """Asked for the location before the first byte, and again whenever an address no longer serves (403, 404, 410)."""

    def __call__(self) -> Location:
        """Return the location. Raises NetworkError if the source does not know the file or does not answer."""


@dataclass(frozen=True)
class Fetched:
    """A file fetched whole: its size, its SHA-256 (hex), and the entity tag it was served under, if any.

    ``notes`` says for people what went other than planned ("started again from zero after 5 bytes: its ETag changed").
    """

    bytes: int
    sha256: str
    etag: str | None = None
    notes: tuple[str, ...] = ()


class Advance(Protocol):
    """Called as bytes arrive; from the thread that fetches."""

    def __call__(self, done: int, total: int | None, /) -> None:
        """Take note that ``done`` bytes of ``total`` (None if not known) are on disk."""
