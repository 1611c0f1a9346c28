"""One answer of a source: its headers read strictly, its body in small pieces, its refusals in words.

Sources are hostile: no message quotes an address beyond its host (addresses are signed), and no text of theirs is shown
before it is cleaned and cut.
"""

from __future__ import annotations

import html
import re
import ssl
import time
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import HTTPError, NameResolutionError

from ndec_bench.errors import NetworkError
from ndec_bench.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ndec_bench.download.exchange import Policy

AGAIN = "check the connection and run again: it goes on where it stopped"
OTHER = "try again later or use another source"
_PAGE = 1 << 16
_KINDS: tuple[tuple[type[BaseException], str], ...] = (
    (NameResolutionError, "is not known by that name"),
    (requests.exceptions.ProxyError, "cannot be reached through the proxy"),
    (ConnectionRefusedError, "refuses connections"),
    (requests.exceptions.ConnectTimeout, "does not answer"),
    (TimeoutError, "sent nothing more in time"),
    (requests.exceptions.Timeout, "sent nothing more in time"),
    (ssl.SSLError, "broke the encrypted connection"),
)


class Failure(Exception):  # noqa: N818 -- never leaves this package
    """One try failed in a way that another may not; ``reason`` says how, the host included."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Transient(Failure):
    """The source or the connection has a bad moment; ``wait`` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class Slow(Transient):
    """The source drips; ``was_swift`` says whether this answer came faster before."""

    def __init__(self, reason: str, *, was_swift: bool) -> None:
        super().__init__(reason)
        self.was_swift = was_swift


class Gone(Failure):
    """The address does not serve the file (any more): 401, 403, 404, 410. ``hint`` is for users, if it stays so."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


class ContentRange(NamedTuple):
    """A Content-Range header: first and last byte, None in an answer 416, and the size of the file, None for ``*``."""

    first: int | None
    last: int | None
    total: int | None


class Answer:
    """A response with status 200, 206 or 416, its headers read strictly and its body in small pieces.

    Parameters
    ----------
    response
        The response, its body not read yet.
    name
        Name of the file, for messages.
    policy
        Size of the pieces, and how slowly they may come.
    check_stop
        Raises InterruptedRun if the run is to stop.
    """

    def __init__(self, response: requests.Response, name: str, policy: Policy, check_stop: Callable[[], None]) -> None:
        self._response = response
        self._name = name
        self._policy = policy
        self._check_stop = check_stop
        self.status = response.status_code
        self.host = host_of(response.url)
        self.etag = _clean(self._header("ETag"))
        self.last_modified = _clean(self._header("Last-Modified"))
        self.chunked = "chunked" in self._header("Transfer-Encoding").lower()

    @property
    def length(self) -> int | None:
        """Return the bytes of the body as Content-Length gives them; None if it does not."""
        found = re.fullmatch(r"[0-9]{1,18}", self._header("Content-Length"))
        return int(found[0]) if found and not self.chunked else None

    @property
    def content_range(self) -> ContentRange | None:
        """Return the Content-Range; None if there is none that can be read."""
        text = self._header("Content-Range")
        found = re.fullmatch(r"bytes\s+(?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)", text)
        if not found:
            return None
        first, last = (int(found[1]), int(found[2])) if found[1] else (None, None)
        return ContentRange(first, last, None if found[3] == "*" else int(found[3]))

    @property
    def _kind(self) -> str:
        return self._header("Content-Type").partition(";")[0].strip().lower()

    @property
    def is_page(self) -> bool:
        """Return whether the body calls itself a web page."""
        return self._kind in {"text/html", "application/xhtml+xml"}

    def text(self) -> str:
        """Return the body of a web page, what is too long for one cut off. Raises as `pieces` does."""
        page = bytearray()
        for piece in self.pieces():
            page += piece
            if len(page) >= _PAGE:
                break
        return page[:_PAGE].decode("utf-8", "replace")

    def fail(self, found: str, hint: str = OTHER) -> NetworkError:
        """Return the error that says what this host did."""
        return NetworkError(f"{self._name}: {self.host} {found}", hint=hint)

    def check(self) -> None:
        """Raise NetworkError for a body that is not a plain file: encoded, in several parts, or a web page."""
        encoding = self._header("Content-Encoding").lower()
        if encoding not in {"", "identity"}:
            raise self.fail(f"sent it with Content-Encoding {_shown(encoding)}, expected the file as it is")
        if self._kind.startswith("multipart/"):
            raise self.fail("answered with several parts, expected one range of bytes")
        if self.is_page:
            raise self.web_page(b"")

    def web_page(self, begin: bytes) -> NetworkError:
        """Return the error for a web page in place of the file, with its title; ``begin`` is what was read of it."""
        page = bytearray(begin)
        with suppress(Transient):  # the title, if it came, says enough
            for piece in self.pieces():
                page += piece
                if len(page) >= _PAGE or b"</title" in page.lower():
                    break
        found = re.search(rb"<title[^>]{0,200}>(.{0,2000}?)</title", page, re.IGNORECASE | re.DOTALL)
        title = _shown(html.unescape(found[1].decode("utf-8", "replace"))) if found else ""
        called = f' titled "{title}"' if title else ""
        return self.fail(f"sent a web page{called}, expected the file", "open the source in a browser")

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it arrives, at most ``policy.piece`` bytes at a time.

        Raises
        ------
        Transient
            If the connection breaks, times out or is too slow.
        InterruptedRun
            If the run is stopped.
        """
        since, count, was_swift = time.monotonic(), 0, False
        while piece := self._read():
            yield piece
            count += len(piece)
            passed = time.monotonic() - since
            if passed >= self._policy.slow_for:
                if count < self._policy.slowest * passed:
                    found = f"{self.host} sends less than {self._policy.slowest:,} bytes per second"
                    raise Slow(found, was_swift=was_swift)
                since, count, was_swift = time.monotonic(), 0, True

    def _read(self) -> bytes:
        try:
            # Not read(): that waits until a piece is full, and what it holds is lost when the process is killed.
            piece: bytes = self._response.raw.read1(self._policy.piece, decode_content=False)
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            self._check_stop()
            raise Transient(f"{self.host} {phrase(error)}") from None
        self._check_stop()
        return piece

    def _header(self, name: str) -> str:
        return (self._response.headers.get(name) or "").strip()


def looks_like_html(begin: bytes) -> bool:
    """Return whether a file that begins so is a web page."""
    text = begin.removeprefix(b"\xef\xbb\xbf").lstrip()[:64].lower()
    return text.startswith((b"<!doctype html", b"<html", b"<head", b"<script"))


def host_of(url: str | None) -> str:
    """Return the host of an address for messages: nothing of it that could be a secret, and no control characters."""
    try:
        host = urlsplit(url or "").hostname or "the source"
    except ValueError:
        host = "the source"
    return _shown(host)


def answered(status: int) -> str:
    """Return what a host did that answered so, with the phrase of the standard, not that of the host."""
    try:
        return f"answered {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"answered {status}"


def phrase(error: BaseException) -> str:
    """Return what happened, in words; never the text of the error, which may hold the signed address."""
    return next((words for kind, words in _KINDS if follows_from(error, kind)), "broke the connection")


def follows_from(error: BaseException, kind: type[BaseException]) -> bool:
    """Return whether ``error`` is, wraps or follows from an error of that kind."""
    seen: list[object] = [error]
    for item in seen:  # grows while it is read
        if isinstance(item, kind):
            return True
        if isinstance(item, BaseException) and len(seen) < 64:
            seen += [item.__cause__, item.__context__, getattr(item, "reason", None), *item.args]
    return False


def _shown(text: str) -> str:
    return one_line(text.replace('"', "'"), 80)


def _clean(value: str) -> str | None:
    return value if 0 < len(value) <= 256 and value.isascii() and value.isprintable() else None
