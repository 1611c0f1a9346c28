"""Asking one source for one file over HTTP: redirects, refusals, repeated tries.

`Exchange` does not know what is done with the bytes; the downloader (`ranges`) and the reader of single ranges
(`range_reader`) stand on it. Redirects and repeated tries are not those of requests: its session reads the bodies of
redirects without a limit and waits without looking at ``stop``.
"""

from __future__ import annotations

import os
import random
import re
import ssl
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import urljoin, urlsplit
from urllib.request import getproxies

import requests
from requests.utils import prepend_scheme_if_needed
from urllib3.exceptions import HTTPError
from urllib3.util.retry import Retry

from ndec_bench import __version__
from ndec_bench.download.answer import (
    AGAIN,
    OTHER,
    Answer,
    Failure,
    Gone,
    Slow,
    Transient,
    answered,
    follows_from,
    host_of,
    phrase,
)
from ndec_bench.errors import InterruptedRun, NetworkError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_T = TypeVar("_T")
_GONE = frozenset({401, 403, 404, 410})
_TRY_AGAIN = frozenset({408, 425, 429, *range(500, 600)} - {501, 505})
_LOGIN = "its address may have expired or need a login: get a new one, or use another source"
_MOST_BYTES_PER_READ = 1 << 20
_PROXY = re.compile(r"(?:https?|socks[45][ah]?)://[^/]", re.IGNORECASE)


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
    slowest, slow_for, slow_tries
        A source that sends less than ``slowest`` bytes per second over ``slow_for`` seconds is asked again, and given
        up after ``slow_tries`` such times in a row.
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
    slow_tries: int = 3
    redirects: int = 10
    largest: int = 1 << 40

    def __post_init__(self) -> None:
        """Refuse a policy that cannot keep its promises."""
        if self.attempts < 1 or not 0 < self.piece <= _MOST_BYTES_PER_READ:
            raise ValueError("a policy needs at least one attempt and a piece of 1 byte to 1 MiB")

    def wait(self, failed: int) -> float:
        """Return the seconds to wait after ``failed`` tries in a row, drawn at random."""
        longest = min(self.longest_wait, self.first_wait * 2.0 ** min(failed - 1, 64))
        return longest * (1 - self.jitter * random.SystemRandom().random())


DEFAULT_POLICY = Policy()


def patient(policy: Policy) -> Policy:
    """Return ``policy`` without an end to its tries, for outages that last hours."""
    return replace(policy, attempts=sys.maxsize, slow_tries=sys.maxsize, longest_retry_after=86_400.0)


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
    page
        Gives the address that a web page in the place of the bytes leads to; None where such a page is an error.
        Raises Failure or NetworkError if it leads nowhere.
    """

    url: str
    bytes: int | None = None
    sha256: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    page: Callable[[str], str] | None = None


class Resolve(Protocol):
    """Asked for the location before the first byte, and again whenever an address no longer serves (403, 404, 410)."""

    def __call__(self) -> Location:
        """Return the location. Raises NetworkError if the source has no such file, Failure if another try may do."""


def new_session() -> requests.Session:
    """Return a session with the environment's proxies and certificates that says who asks; the caller closes it.

    Raises
    ------
    UsageError
        If the environment names a proxy that is not an address, or a list of authorities that is not there.
    """
    for variable, address in getproxies().items():
        whole: str = prepend_scheme_if_needed(address, "http")  # type: ignore[no-untyped-call]
        if variable in {"http", "https", "all"} and not _PROXY.match(whole):
            name = f"{variable.upper()}_PROXY"
            raise UsageError(f"{name} is not the address of a proxy", hint=f"write {name}=http://HOST:PORT")
    session = requests.Session()
    session.headers["User-Agent"] = f"ndec-bench/{__version__}"
    bundle = ca_bundle()
    if bundle is not None:
        session.verify = str(bundle)
    return session


def ca_bundle(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the list of authorities that the user trusts, named by any of three variables; None if by none.

    Raises
    ------
    UsageError
        If it is not there.
    """
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        path = Path(environ.get(variable, ""))
        if path.name and not path.exists():
            raise UsageError(
                f"{variable}: {path} is not there", hint="give the file with the certificates, or unset it"
            )
        if path.name:
            return path
    return None


class Exchange:
    """Everything asked of one source about one file.

    Parameters
    ----------
    name
        Name of the file, for messages.
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
        name: str,
        resolve: Resolve,
        *,
        session: requests.Session,
        policy: Policy,
        stop: threading.Event | None,
    ) -> None:
        self.name = name
        self.policy = policy
        self._session = session
        self._resolve = resolve
        self._stop = stop or threading.Event()
        self._failures = 0
        self._slow = 0
        self._asked_again: Gone | None = None
        self.location: Location = self.attempt(resolve)

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
        if isinstance(failure, Gone):
            self._ask_again(failure)
        elif isinstance(failure, Transient):
            if isinstance(failure, Slow):
                self._leave_slow(failure)
            self._wait(failure)
        self.check_stop()

    def progressed(self) -> None:
        """Take note that new bytes arrived: the count of failed tries starts again."""
        self._failures = 0
        self._asked_again = None

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
        self.check_stop()
        asked = url = self.location.url
        for _ in range(self.policy.redirects + 1):
            with self._send(url, headers) as response:
                target = self._session.get_redirect_target(response)
                if target is None:
                    self._check_status(response)
                    answer = Answer(response, self.name, self.policy, self.check_stop)
                    if self.location.page is None or not answer.is_page:
                        yield answer
                        return
                    target = self.location.page(answer.text())
                asked, url = url, self._next(url, target)
        raise self.error(f"{host_of(asked)} redirects more than {self.policy.redirects} times", OTHER)

    @contextmanager
    def _send(self, url: str, headers: Mapping[str, str]) -> Iterator[requests.Response]:
        self._check_address(url)
        own = self.location.headers if origin(url) == origin(self.location.url) else {}
        try:
            response = self._transmit(url, {**headers, **own, "Accept-Encoding": "identity"})
        except (HTTPError, HTTPException, OSError, ValueError) as error:  # those of requests are OSErrors
            self.check_stop()
            raise self._refusal(host_of(url), error) from None
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
            raise self.error(f"{host_of(url)} redirects to an address that cannot be read", OTHER) from None
        if downgrade:
            raise self.error(
                f"{host_of(url)} redirects from https to http ({host_of(following)}), which is refused", OTHER
            )
        return following

    def _check_status(self, response: requests.Response) -> None:
        status = response.status_code
        if status in {200, 206, 416}:
            return
        found = f"{host_of(response.url)} {answered(status)}"
        if status in _GONE:
            raise Gone(found, _LOGIN if status in {401, 403} else OTHER)
        if status in _TRY_AGAIN:
            raise Transient(found, retry_after(response.headers.get("Retry-After")))
        raise self.error(f"{found}, expected the file", OTHER)

    def _refusal(self, host: str, error: Exception) -> Exception:
        if follows_from(error, ssl.SSLCertVerificationError):
            return self.error(
                f"the certificate of {host} is not valid here",
                "check the clock; behind a proxy that replaces certificates, set SSL_CERT_FILE",
            )
        if isinstance(error, requests.RequestException) and isinstance(error, ValueError):
            # requests' mark of an address or header that it cannot send
            return self.error(f"the address at {host} cannot be asked ({type(error).__name__})", OTHER)
        return Transient(f"{host} {phrase(error)}")

    def _wait(self, failure: Transient) -> None:
        self._failures += 1
        policy = self.policy
        if self._failures >= policy.attempts:
            raise self.error(f"{failure.reason}; {self._failures} tries in a row brought nothing new", AGAIN)
        if failure.wait is not None and failure.wait > policy.longest_retry_after:
            raise self.error(
                f"{failure.reason} and asks to wait {failure.wait:,.0f} s, at most {policy.longest_retry_after:,.0f} s "
                "are waited",
                "run again after that time, or use another source",
            )
        self._stop.wait(max(policy.wait(self._failures), failure.wait or 0.0))

    def _leave_slow(self, failure: Slow) -> None:
        """Raise NetworkError if the source drips for good: each new byte counts as progress, so no try ever fails."""
        self._slow = 1 if failure.was_swift else self._slow + 1
        if self._slow >= self.policy.slow_tries:
            raise self.error(f"{failure.reason}, {self._slow} times in a row", OTHER)

    def _ask_again(self, failure: Gone) -> None:
        if self._asked_again is not None:
            first = self._asked_again
            before = "" if first.reason == failure.reason else f"{first.reason}, then "
            raise self.error(f"{before}{failure.reason}, again after its address was renewed", first.hint)
        self._asked_again = failure
        self.location = self.attempt(self._resolve)

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


def retry_after(text: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for, given as seconds or as a date; None if unreadable."""
    try:
        return None if text is None else float(Retry().parse_retry_after(text))
    except (HTTPError, ValueError, OverflowError):
        return None


def origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port of an address: what headers may be sent to together."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _keep(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
