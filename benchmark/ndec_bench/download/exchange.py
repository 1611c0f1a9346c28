"""Asking one source for one file over HTTP: redirects, refusals, repeated tries.

`Exchange` knows nothing of what is done with the bytes; the downloader (`ranges`) and the reader of single ranges
(`range_reader`) stand on it. Sources are hostile: no message quotes an address beyond its host (addresses are signed),
no answer is read without a limit, and what a source says about itself is checked before it is believed.
"""

from __future__ import annotations

import email.utils
import html
import random
import re
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError, NameResolutionError

from ndec_bench.errors import InterruptedRun, NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ndec_bench.download.location import Location, Resolve

_T = TypeVar("_T")
_GONE = frozenset({401, 403, 404, 410})
_TRY_AGAIN = frozenset({408, 425, 429, *range(500, 600)} - {501, 505})
_PAGE = 1 << 16
_MOST_BYTES_PER_READ = 1 << 20
_AGAIN = "check the connection and run again: it goes on where it stopped"
_OTHER = "try again later or use another source"


@dataclass(frozen=True)
class Policy:
    """How patient a download is. Times in seconds, amounts in bytes.

    Attributes
    ----------
    attempts
        Tries in a row that bring nothing new before it gives up; any new byte starts the count again.
    connect_timeout, read_timeout
        Longest wait for a connection and for the next bytes.
    first_wait, longest_wait
        Wait after the first failure, doubled after each further one up to the longest.
    jitter
        Share of a wait that is drawn at random (1: all, "full jitter"), so that many clients do not return as one.
    longest_retry_after
        Longest wait that a server may ask for; more than that is an error.
    piece
        Most bytes taken from the network before they are written; at most 1 MiB, since a killed run loses them.
    slowest, slow_for
        A source that sends less than ``slowest`` bytes per second over ``slow_for`` seconds is asked anew.
    redirects
        Most redirects followed for one request.
    largest
        Most bytes a file may have whose size nobody states.
    """

    attempts: int = 8
    connect_timeout: float = 20.0
    read_timeout: float = 60.0
    first_wait: float = 1.0
    longest_wait: float = 60.0
    jitter: float = 1.0
    longest_retry_after: float = 300.0
    piece: int = 1 << 18
    slowest: int = 1 << 10
    slow_for: float = 60.0
    redirects: int = 10
    largest: int = 1 << 40

    def __post_init__(self) -> None:
        """Refuse a policy that cannot keep its promises."""
        if self.attempts < 1 or not 0 < self.piece <= _MOST_BYTES_PER_READ:
            raise ValueError("a policy needs at least one attempt and a piece of 1 byte to 1 MiB")


DEFAULT_POLICY = Policy()


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
    """The address does not serve the file (any more): 401, 403, 404, 410."""


@dataclass(frozen=True)
class ContentRange:
    """A Content-Range header: first and last byte, None in an answer 416, and the size of the file, None for ``*``."""

    first: int | None
    last: int | None
    total: int | None


class Answer:
    """A response with status 200, 206 or 416, its headers read strictly and its body in small pieces."""

    def __init__(self, response: requests.Response, exchange: Exchange) -> None:
        self._response = response
        self._exchange = exchange
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

    def fail(self, found: str, hint: str = _OTHER) -> NetworkError:
        """Return the error that says what this host did."""
        return self._exchange.error(f"{self.host} {found}", hint)

    def check(self) -> None:
        """Raise NetworkError for a body that is no plain file: encoded, in several parts, or a web page."""
        encoding = self._response.headers.get("Content-Encoding", "").strip().lower()
        if encoding not in {"", "identity"}:
            raise self.fail(f"sent it with Content-Encoding {_shown(encoding)}, expected the file as it is")
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
        pace = _Pace(self._exchange.policy, self.host)
        while True:
            try:
                # Not read(): that waits until a piece is full, and what it holds is lost when the process is killed.
                piece = self._response.raw.read1(self._exchange.policy.piece, decode_content=False)
            except (HTTPError, HTTPException, OSError, ValueError) as error:
                self._exchange.check_stop()
                raise Transient(f"{self.host} {_phrase(error)}") from None
            self._exchange.check_stop()
            if not piece:
                return
            pace.take(len(piece))
            yield piece


class Exchange:
    """Everything asked of one source about one file.

    Parameters
    ----------
    name
        Name of the file, for messages; if None, the last part of its address.
    resolve
        Gives the location; asked at once, and again when an address no longer serves.
    stop
        When set, waits end and InterruptedRun is raised.

    Raises
    ------
    NetworkError
        If ``resolve`` does.
    """

    def __init__(
        self,
        name: str | None,
        resolve: Resolve,
        *,
        session: requests.Session,
        policy: Policy,
        stop: threading.Event | None,
    ) -> None:
        self.name = name or "download"
        self.policy = policy
        self._session = session
        self._resolve = resolve
        self._stop = stop or threading.Event()
        self._random = random.SystemRandom()
        self._failures = 0
        self._asked_again = False
        self.check_stop()
        self.location: Location = resolve()
        self.name = name or name_of(self.location.url)

    def attempt(self, once: Callable[[], _T]) -> _T:
        """Return what ``once`` returns, called again after failures that may pass, with growing waits between.

        Raises
        ------
        NetworkError
            If ``policy.attempts`` tries in a row bring no progress, or a try fails for good.
        InterruptedRun
            If the run is stopped.
        """
        while True:
            self.check_stop()
            try:
                return once()
            except Failure as failure:
                self.recover(failure)

    def recover(self, failure: Failure) -> None:
        """Return when the next try is due: after a wait, or after the address was asked for again.

        Raises as `attempt` does.
        """
        if isinstance(failure, Transient):
            self._wait(failure)
        else:
            self._ask_again(failure.reason)
        self.check_stop()

    def progressed(self) -> None:
        """Take note that new bytes arrived: the count of failed tries starts again."""
        self._failures = 0
        self._asked_again = False

    def check_stop(self) -> None:
        """Raise InterruptedRun if the run is to stop."""
        if self._stop.is_set():
            raise InterruptedRun(f"{self.name}: stopped", hint="run again to go on")

    def error(self, found: str, hint: str) -> NetworkError:
        """Return a NetworkError about this file."""
        return NetworkError(f"{self.name}: {found}", hint=hint)

    @contextmanager
    def get(self, headers: Mapping[str, str]) -> Iterator[Answer]:
        """Yield the answer, 200, 206 or 416, to one GET of the current location, redirects followed.

        Raises
        ------
        Failure, NetworkError
            For every other answer, and if there is none; see `recover`.
        """
        url, hops = self.location.url, 0
        while True:
            with self._send(url, headers) as response:
                target = self._session.get_redirect_target(response)
                if target is None:
                    self._check_status(response)
                    yield Answer(response, self)
                    return
                hops += 1
                if hops > self.policy.redirects:
                    raise self.error(f"{host_of(url)} redirects more than {self.policy.redirects} times", _OTHER)
                url = self._next(url, target)

    @contextmanager
    def _send(self, url: str, headers: Mapping[str, str]) -> Iterator[requests.Response]:
        self._check_address(url)
        own = self.location.headers if _origin(url) == _origin(self.location.url) else {}
        try:
            response = self._transmit(url, {**headers, **own, "Accept-Encoding": "identity"})
        except requests.RequestException as error:
            self.check_stop()
            raise self._refusal(url, error) from None
        except (HTTPError, HTTPException, OSError, ValueError) as error:
            self.check_stop()
            raise Transient(f"{host_of(url)} {_phrase(error)}") from None
        with response, self._hang_up_on_stop(response):
            yield response

    def _transmit(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        # By the adapter and not by Session.get: that reads the bodies of redirects, however long, and lets ~/.netrc
        # overwrite an Authorization header.
        session, policy = self._session, self.policy
        auth = _keep if any(key.lower() == "authorization" for key in headers) else None
        prepared = session.prepare_request(requests.Request("GET", url, headers=dict(headers), auth=auth))
        settings: Any = session.merge_environment_settings(prepared.url or url, {}, True, None, None)
        return session.get_adapter(prepared.url or url).send(
            prepared, timeout=(policy.connect_timeout, policy.read_timeout), **settings
        )

    def _check_address(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            sound = False
        if not sound:
            raise self.error("the address is not one of http or https", "check the source")

    def _next(self, url: str, target: str) -> str:
        try:
            following = urljoin(url, target)
            downgrade = urlsplit(url).scheme == "https" and urlsplit(following).scheme == "http"
        except ValueError:
            raise self.error(f"{host_of(url)} redirects to an address that cannot be read", _OTHER) from None
        if downgrade:
            raise self.error(
                f"{host_of(url)} redirects from https to http ({host_of(following)}), which is refused", _OTHER
            )
        return following

    def _check_status(self, response: requests.Response) -> None:
        status, host = response.status_code, host_of(response.url)
        if status in {200, 206, 416}:
            return
        found = f"{host} answered {status}{_reason(status)}"
        if status in _GONE:
            raise Gone(found)
        if status in _TRY_AGAIN:
            raise Transient(found, retry_after(response.headers.get("Retry-After")))
        raise self.error(f"{found}, expected the file", _OTHER)

    def _refusal(self, url: str, error: requests.RequestException) -> Exception:
        found = f"{host_of(url)} {_phrase(error)}"
        if _cause(error, ssl.SSLCertVerificationError):
            return self.error(
                f"the certificate of {host_of(url)} is not valid here",
                "check the clock; behind a proxy that replaces certificates, set REQUESTS_CA_BUNDLE",
            )
        if isinstance(error, ValueError):  # requests' mark of an address or header that it cannot send
            return self.error(f"the address at {host_of(url)} cannot be asked ({type(error).__name__})", _OTHER)
        return Transient(found)

    def _wait(self, failure: Transient) -> None:
        self._failures += 1
        policy = self.policy
        if self._failures >= policy.attempts:
            raise self.error(f"{failure.reason}; {self._failures} tries in a row brought nothing new", _AGAIN)
        if failure.wait is not None and failure.wait > policy.longest_retry_after:
            raise self.error(
                f"{failure.reason} and asks to wait {failure.wait:,.0f} s, at most {policy.longest_retry_after:,.0f} s "
                "are waited",
                "run again after that time, or use another source",
            )
        longest = min(policy.longest_wait, policy.first_wait * 2.0 ** min(self._failures - 1, 64))
        drawn = longest * (1 - policy.jitter * self._random.random())
        self._stop.wait(max(drawn, failure.wait or 0.0))

    def _ask_again(self, found: str) -> None:
        if self._asked_again:
            raise self.error(f"{found}, again after its address was renewed", _OTHER)
        self._asked_again = True
        self.location = self._resolve()

    @contextmanager
    def _hang_up_on_stop(self, response: requests.Response) -> Iterator[None]:
        """Shut the connection down when the run is stopped: a read that waits for bytes does not look at ``stop``."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.1):
                if self._stop.is_set():
                    with suppress(OSError, RuntimeError, ValueError):  # closed already
                        response.raw.shutdown()
                    return

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


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


def host_of(url: str | None) -> str:
    """Return the host of an address for messages: nothing of it that could be a secret, and no control characters."""
    try:
        host = urlsplit(url or "").hostname or "the source"
    except ValueError:
        host = "the source"
    return _shown(host)


def looks_like_html(begin: bytes) -> bool:
    """Return whether a file that begins so is a web page."""
    text = begin.removeprefix(b"\xef\xbb\xbf").lstrip()[:64].lower()
    return text.startswith((b"<!doctype html", b"<html", b"<head", b"<script"))


def name_of(url: str) -> str:
    """Return the last part of an address's path for messages, where no better name is known."""
    try:
        name = unquote(urlsplit(url).path).rpartition("/")[2]
    except ValueError:
        name = ""
    return _shown(name) or "the file"


def _title(page: bytes) -> str:
    found = re.search(rb"<title[^>]{0,200}>(.{0,2000}?)</title", page, re.IGNORECASE | re.DOTALL)
    title = _shown(html.unescape(found[1].decode("utf-8", "replace"))) if found else ""
    return f' titled "{title}"' if title else ""


def _shown(text: str) -> str:
    """Return text from outside for a message: printable, on one line, short."""
    plain = "".join(sign if sign.isprintable() else " " for sign in text)
    words = " ".join(plain.split()).replace('"', "'")
    return words if len(words) <= 80 else f"{words[:79]}…"


def _clean(value: str | None) -> str | None:
    text = (value or "").strip()
    return text if 0 < len(text) <= 256 and text.isascii() and text.isprintable() else None


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _keep(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _reason(status: int) -> str:
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""


def _phrase(error: BaseException) -> str:
    """Return what happened, in words; never the text of the error, which may hold the signed address."""
    for kinds, words in (
        ((NameResolutionError,), "is not known by that name"),
        ((requests.exceptions.ProxyError,), "cannot be reached through the proxy"),
        ((ConnectionRefusedError,), "refuses connections"),
        ((requests.exceptions.ConnectTimeout,), "does not answer"),
        ((TimeoutError, requests.exceptions.Timeout), "sent nothing more in time"),
        ((ssl.SSLError,), "broke the encrypted connection"),
    ):
        if any(_cause(error, kind) for kind in kinds):
            return words
    return "broke the connection"


def _cause(error: BaseException, kind: type[BaseException]) -> bool:
    """Return whether ``error`` is, wraps or follows from an error of that kind."""
    seen: list[object] = [error]
    for item in seen:  # grows while it is read
        if isinstance(item, kind):
            return True
        if isinstance(item, BaseException) and len(seen) < 64:
            seen += [item.__cause__, item.__context__, getattr(item, "reason", None), *item.args]
    return False
