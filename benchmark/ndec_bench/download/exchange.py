"""Asking one source for one file over HTTP: redirects, refusals, repeated tries.

`Exchange` knows nothing of what is done with the bytes; the downloader (`ranges`) and the reader of single ranges
(`range_reader`) stand on it. Sources are hostile: no message quotes an address beyond its host (addresses are signed),
no answer is read without a limit, and what a source says about itself is checked before it is believed.
"""

from __future__ import annotations

import random
import ssl
import threading
from contextlib import contextmanager, suppress
from http.client import HTTPException
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from ndec_bench.download.answer import Answer, Failure, Gone, Transient, retry_after
from ndec_bench.download.wording import AGAIN, OTHER, answered, follows_from, host_of, name_of, phrase
from ndec_bench.errors import InterruptedRun, NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ndec_bench.download.location import Location, Resolve
    from ndec_bench.download.policy import Policy

_T = TypeVar("_T")
_GONE = frozenset({401, 403, 404, 410})
_TRY_AGAIN = frozenset({408, 425, 429, *range(500, 600)} - {501, 505})
_LOGIN = "its address may have expired or need a login: get a new one, or use another source"


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
        self._stop = stop
        self._random = random.SystemRandom()
        self._failures = 0
        self._asked_again: Gone | None = None
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
        if isinstance(failure, Gone):
            self._ask_again(failure)
        elif isinstance(failure, Transient):
            self._wait(failure)
        self.check_stop()

    def progressed(self) -> None:
        """Take note that new bytes arrived: the count of failed tries starts again."""
        self._failures = 0
        self._asked_again = None

    def check_stop(self) -> None:
        """Raise InterruptedRun if the run is to stop."""
        if self._stop is not None and self._stop.is_set():
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
        url, hops = self.location.url, 0
        while True:
            with self._send(url, headers) as response:
                target = self._session.get_redirect_target(response)
                if target is None:
                    self._check_status(response)
                    yield Answer(response, self.name, self.policy, self.check_stop)
                    return
                hops += 1
                if hops > self.policy.redirects:
                    raise self.error(f"{host_of(url)} redirects more than {self.policy.redirects} times", OTHER)
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
            raise Transient(f"{host_of(url)} {phrase(error)}") from None
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
        status, host = response.status_code, host_of(response.url)
        if status in {200, 206, 416}:
            return
        found = f"{host} {answered(status)}"
        if status in _GONE:
            raise Gone(found, _LOGIN if status in {401, 403} else OTHER)
        if status in _TRY_AGAIN:
            raise Transient(found, retry_after(response.headers.get("Retry-After")))
        raise self.error(f"{found}, expected the file", OTHER)

    def _refusal(self, url: str, error: requests.RequestException) -> Exception:
        found = f"{host_of(url)} {phrase(error)}"
        if follows_from(error, ssl.SSLCertVerificationError):
            return self.error(
                f"the certificate of {host_of(url)} is not valid here",
                "check the clock; behind a proxy that replaces certificates, set REQUESTS_CA_BUNDLE",
            )
        if isinstance(error, ValueError):  # requests' mark of an address or header that it cannot send
            return self.error(f"the address at {host_of(url)} cannot be asked ({type(error).__name__})", OTHER)
        return Transient(found)

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
        longest = min(policy.longest_wait, policy.first_wait * 2.0 ** min(self._failures - 1, 64))
        drawn = longest * (1 - policy.jitter * self._random.random())
        (self._stop or threading.Event()).wait(max(drawn, failure.wait or 0.0))

    def _ask_again(self, failure: Gone) -> None:
        if self._asked_again is not None:
            first = self._asked_again
            before = "" if first.reason == failure.reason else f"{first.reason}, then "
            raise self.error(f"{before}{failure.reason}, again after its address was renewed", first.hint)
        self._asked_again = failure
        self.location = self._resolve()

    @contextmanager
    def _hang_up_on_stop(self, response: requests.Response) -> Iterator[None]:
        """Shut the connection down when the run is stopped: a read that waits for bytes does not look at ``stop``."""
        if self._stop is None:
            yield
            return
        stop, over = self._stop, threading.Event()

        def watch() -> None:
            while not over.wait(0.1):
                if stop.is_set():
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


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _keep(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
