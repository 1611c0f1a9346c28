"""One answer of a source: its headers read strictly, its body in small pieces, its refusals told apart."""

from __future__ import annotations

import email.utils
import html
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from typing import TYPE_CHECKING

from urllib3.exceptions import HTTPError

from ndec_bench.download.wording import OTHER, host_of, phrase, shown
from ndec_bench.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import requests

    from ndec_bench.download.policy import Policy

_PAGE = 1 << 16


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


class Gone(Failure):
    """The address does not serve the file (any more): 401, 403, 404, 410. ``hint`` is for users, if it stays so."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.hint = hint


@dataclass(frozen=True)
class ContentRange:
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
        Size of the pieces, and how slow they may come.
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
        self.etag = _clean(response.headers.get("ETag"))
        self.last_modified = _clean(response.headers.get("Last-Modified"))
        self.content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self.chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()

    @property
    def length(self) -> int | None:
        """Return the bytes of the body as Content-Length gives them; None if it does not."""
        found = re.fullmatch(r"[0-9]{1,18}", self._response.headers.get("Content-Length", "").strip())
        return int(found[0]) if found and not self.chunked else None

    @property
    def content_range(self) -> ContentRange | None:
        """Return the Content-Range; None if there is none that can be read."""
        text = self._response.headers.get("Content-Range", "").strip()
        found = re.fullmatch(r"bytes\s+(?:([0-9]{1,18})-([0-9]{1,18})|\*)/([0-9]{1,18}|\*)", text)
        if not found:
            return None
        first, last = (int(found[1]), int(found[2])) if found[1] else (None, None)
        return ContentRange(first, last, None if found[3] == "*" else int(found[3]))

    def fail(self, found: str, hint: str = OTHER) -> NetworkError:
        """Return the error that says what this host did."""
        return NetworkError(f"{self._name}: {self.host} {found}", hint=hint)

    def check(self) -> None:
        """Raise NetworkError for a body that is no plain file: encoded, in several parts, or a web page."""
        encoding = self._response.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in {"", "identity"}:
            raise self.fail(f"sent it with Content-Encoding {shown(encoding)}, expected the file as it is")
        if self.content_type.startswith("multipart/"):
            raise self.fail("answered with several parts, expected one range of bytes")
        if self.content_type in {"text/html", "application/xhtml+xml"}:
            raise self.web_page(b"")

    def web_page(self, begin: bytes) -> NetworkError:
        """Return the error for a web page in place of the file, with its title; ``begin`` is what was read of it."""
        page = bytearray(begin)
        with suppress(Transient):  # the title, if it came, says enough
            for piece in self.pieces():
                page += piece
                if len(page) >= _PAGE or b"</title" in page.lower():
                    break
        return self.fail(f"sent a web page{_title(bytes(page))}, expected the file", "open the source in a browser")

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it arrives, at most ``policy.piece`` bytes at a time.

        Raises
        ------
        Transient
            If the connection breaks, times out or is too slow.
        InterruptedRun
            If the run is stopped.
        """
        pace = _Pace(self._policy, self.host)
        while True:
            try:
                # Not read(): that waits until a piece is full, and what it holds is lost when the process is killed.
                piece = self._response.raw.read1(self._policy.piece, decode_content=False)
            except (HTTPError, HTTPException, OSError, ValueError) as error:
                self._check_stop()
                raise Transient(f"{self.host} {phrase(error)}") from None
            self._check_stop()
            if not piece:
                return
            pace.take(len(piece))
            yield piece


class _Pace:
    def __init__(self, policy: Policy, host: str) -> None:
        self._policy = policy
        self._host = host
        self._since = time.monotonic()
        self._count = 0

    def take(self, count: int) -> None:
        self._count += count
        passed = time.monotonic() - self._since
        if passed < self._policy.slow_for:
            return
        if self._count < self._policy.slowest * passed:
            raise Transient(f"{self._host} sends less than {self._policy.slowest:,} bytes per second")
        self._since, self._count = time.monotonic(), 0


def retry_after(text: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for, given as seconds or as a date; None if unreadable."""
    if text is None:
        return None
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", text):
        return float(text)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError, TypeError):
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (aware - datetime.now(UTC)).total_seconds())


def looks_like_html(begin: bytes) -> bool:
    """Return whether a file that begins so is a web page."""
    text = begin.removeprefix(b"\xef\xbb\xbf").lstrip()[:64].lower()
    return text.startswith((b"<!doctype html", b"<html", b"<head", b"<script"))


def _title(page: bytes) -> str:
    found = re.search(rb"<title[^>]{0,200}>(.{0,2000}?)</title", page, re.IGNORECASE | re.DOTALL)
    title = shown(html.unescape(found[1].decode("utf-8", "replace"))) if found else ""
    return f' titled "{title}"' if title else ""


def _clean(value: str | None) -> str | None:
    text = (value or "").strip()
    return text if 0 < len(text) <= 256 and text.isascii() and text.isprintable() else None
