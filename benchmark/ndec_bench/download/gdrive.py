"""Files on Google Drive, fetched by gdown."""

from __future__ import annotations

import errno
import hashlib
import shutil
import ssl
import textwrap
import threading
import time
from typing import TYPE_CHECKING

from ndec_bench.download.answer import AGAIN, answered, follows_from, looks_like_html, phrase
from ndec_bench.download.ranges import SNIFFED, Fetched
from ndec_bench.errors import DataError, InterruptedRun, NetworkError, os_errors, reason
from ndec_bench.printable import one_line

if TYPE_CHECKING:
    from pathlib import Path

    import requests

    from ndec_bench.data.registry import RemoteFile
    from ndec_bench.download.exchange import Policy
    from ndec_bench.download.ranges import Advance

_LEAST_LIMIT = 1 << 20
_QUOTA = ("quota", "too many users")
_NO_LINK = "Cannot retrieve the public link"
_NO_RANGE = "did not honor the requested byte range"
_TRIES = 3
_PIECE = 1 << 19
"""Bytes that gdown collects before it hands them over."""
_IN_A_BROWSER = "open https://drive.google.com/uc?id={} in a browser, and put the file at {}"


class _TooLargeError(Exception):
    """More bytes came than the file can have."""


class _TooSlowError(Exception):
    """Nothing that counts came for too long."""


class _Patience(threading.Event):
    """What gdown asks whether to stop: set when ``stop`` is, or when nothing has come for ``seconds``.

    gdown itself waits for ever for a source that drips, and follows a page that leads to itself without end.
    """

    def __init__(self, stop: threading.Event | None, seconds: float) -> None:
        super().__init__()
        self._stop = stop or threading.Event()
        self.seconds = seconds
        self.renew()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def renew(self) -> None:
        self._end = time.monotonic() + self.seconds

    def is_set(self) -> bool:
        return self.stopped or time.monotonic() > self._end

    def wait(self, timeout: float | None = None) -> bool:
        self._stop.wait(timeout)
        return self.is_set()


def fetch(
    file: RemoteFile, drive_id: str, part: Path, *, policy: Policy, advance: Advance, stop: threading.Event | None
) -> Fetched:
    """Return size and SHA-256 of the Drive file ``drive_id``, which then lies whole in ``part``.

    gdown asks without cookies and follows the page that warns of files it cannot scan. What it has fetched of a file
    stays in the folder ``part`` + ``.drive``, and the next call goes on there if digest or pairs of the file are known;
    it begins again if they are not, or if Drive cannot go on.

    Raises
    ------
    NetworkError
        If Drive refuses (quota, permission), does not answer, or gives a web page, nothing, or far too much.
    DataError
        If the disk is full or fails.
    InterruptedRun
        If ``stop`` is set.
    """
    work = part.with_name(f"{part.name}.drive")
    # gdown cannot tell, in another run, whether the file is still the same: only what is checked in the end is resumed.
    _make_ready(work, resume=file.sha256 is not None or file.ground_truth is not None)
    target = work / "file"
    # Of an estimated size twice as much is believed: enough for an estimate that is off, and no stream without end.
    limit = file.bytes if file.bytes_exact else 2 * file.bytes + _LEAST_LIMIT
    try:
        notes = _download(drive_id, target, limit, policy, advance, stop)
        fetched = _checked(file, target, limit, notes)
        target.replace(part)
    except (DataError, InterruptedRun, NetworkError):
        raise
    except Exception as error:
        if isinstance(error, _TooLargeError):  # not the file: nothing to go on with
            shutil.rmtree(work, ignore_errors=True)
        raise _refusal(file, drive_id, part, error) from error
    finally:
        _clear(work)
    return fetched


def _download(
    drive_id: str, target: Path, limit: int, policy: Policy, advance: Advance, stop: threading.Event | None
) -> tuple[str, ...]:
    """Fetch the file into ``target`` and return what went other than planned, for people.

    gdown tries again when a connection fails. Here it is asked again when Drive fails, which it takes for a refusal,
    and without the bytes that were there when Drive cannot go on from them.
    """
    import requests
    from gdown.exceptions import DownloadError

    tries, failed = min(policy.attempts, _TRIES), 0
    notes: tuple[str, ...] = ()
    while True:
        try:
            _once(drive_id, target, limit, policy, advance, stop)
        except (DownloadError, requests.HTTPError) as error:
            failed += 1
            if failed < tries and _may_pass(error):
                _wait(failed, policy, stop)
            elif _NO_RANGE in str(error) and not notes:
                kept = _drop(target.parent)
                notes = (f"started again from zero after {kept:,} bytes: Google Drive did not go on there",)
            else:
                raise
        else:
            return notes


def _once(
    drive_id: str, target: Path, limit: int, policy: Policy, advance: Advance, stop: threading.Event | None
) -> None:
    import gdown
    from gdown.exceptions import DownloadCancelled

    def progress(done: int, total: int | None) -> None:
        patience.renew()
        if done > limit or (total or 0) > limit:
            raise _TooLargeError(f"{max(done, total or 0):,} bytes, expected at most {limit:,}")
        advance(done, total)

    waits = policy.attempts * (policy.connect_timeout + policy.read_timeout)
    patience = _Patience(stop, waits + _PIECE / policy.slowest)
    try:
        gdown.download(
            id=drive_id,
            output=str(target),
            quiet=True,
            use_cookies=False,
            timeout=(policy.connect_timeout, policy.read_timeout),
            retries=policy.attempts - 1,
            cancel=patience,
            progress=progress,
            resume=True,
        )
    except (DownloadCancelled, KeyboardInterrupt) as end:
        if isinstance(end, DownloadCancelled) and not patience.stopped:
            raise _TooSlowError(f"sent less than {_PIECE:,} bytes in {patience.seconds:,.0f} s") from None
        raise _stopped() from None


def _may_pass(error: Exception) -> bool:
    """Return whether Drive may answer otherwise soon. gdown does not tell a failure of Drive from a lack of rights."""
    import requests

    return isinstance(error, requests.HTTPError) or any(text in _plain(error) for text in (_NO_LINK, _NO_RANGE))


def _wait(failed: int, policy: Policy, stop: threading.Event | None) -> None:
    if (stop or threading.Event()).wait(policy.wait(failed)):
        raise _stopped()


def _stopped() -> InterruptedRun:
    return InterruptedRun("stopped; what was received is kept", hint="run again to go on")


def _make_ready(work: Path, *, resume: bool) -> None:
    """Make the work folder; gdown refuses to choose between two unfinished files, and then none is kept."""
    with os_errors(f"{work}: cannot be used", hint="check the data root"):
        work.mkdir(parents=True, exist_ok=True)
        if len(list(work.iterdir())) > (1 if resume else 0):
            _drop(work)


def _drop(work: Path) -> int:
    """Empty the work folder and return how many bytes that threw away."""
    size = sum(path.stat().st_size for path in work.iterdir())
    shutil.rmtree(work)
    work.mkdir()
    return size


def _clear(work: Path) -> None:
    """Remove the work folder unless it holds bytes that the next call can go on with."""
    if work.is_dir() and not any(path.stat().st_size for path in work.iterdir() if path.name != "file"):
        shutil.rmtree(work, ignore_errors=True)


def _checked(file: RemoteFile, path: Path, limit: int, notes: tuple[str, ...]) -> Fetched:
    size = path.stat().st_size
    with path.open("rb") as opened:
        if looks_like_html(opened.read(SNIFFED)):
            raise NetworkError(f"{file.name}: Google Drive gave a web page, not the file", hint="try again later")
        opened.seek(0)
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if not 0 < size <= limit:
        raise NetworkError(
            f"{file.name}: Google Drive gave {size:,} bytes, expected about {file.bytes:,}", hint="try again later"
        )
    return Fetched(size, digest, notes=notes)


def _refusal(file: RemoteFile, drive_id: str, part: Path, error: Exception) -> DataError | NetworkError:
    """Return what gdown raised as an error for users, in one line."""
    import requests

    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, requests.RequestException):
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        return DataError(
            f"{file.name}: cannot be written ({reason(error)})",
            hint="free disk space and run again" if full else "check the data root",
        )
    failed = error if isinstance(error, requests.RequestException) else error.__cause__
    found, hint = _failed(failed) if isinstance(failed, requests.RequestException) else _refused(error)
    by_hand = _IN_A_BROWSER.format(drive_id, part.with_name(file.name))
    return NetworkError(f"{file.name}: Google Drive{found}", hint=f"{hint}, or {by_hand}")


def _refused(error: Exception) -> tuple[str, str]:
    """Return what Google Drive did, to be read after its name, and what to do about it."""
    if isinstance(error, _TooSlowError):
        return f" {error}", AGAIN
    if isinstance(error, _TooLargeError):
        return f" sends something else ({error})", "run again later"
    found = _plain(error)
    if any(word in found.lower() for word in _QUOTA):
        return f"'s quota for this file is used up ({found})", "wait a day and run again"
    if _NO_LINK in found:
        found = "no public link: it is not shared with everybody, is gone, or was asked for too often"
    return f" does not give it ({found})", "run again later"


def _failed(error: requests.RequestException) -> tuple[str, str]:
    """Return the same of an exchange that failed."""
    from requests.exceptions import ContentDecodingError

    if follows_from(error, ssl.SSLCertVerificationError):
        return "'s certificate is not valid here", "check the clock, or, behind a proxy, set REQUESTS_CA_BUNDLE"
    if error.response is not None:
        return f" {answered(error.response.status_code)}", "run again later"
    if isinstance(error, ContentDecodingError):
        return " sent it in a Content-Encoding that it does not have", "run again later"
    return f" {phrase(error)}", AGAIN


def _plain(error: Exception) -> str:
    """Return the first sentences of gdown's message without its layout, or the kind of an error that has none."""
    text = " ".join(str(error).split()).removeprefix("Failed to retrieve file url: ")
    for rest in (" You may still be able", " Check FAQ", " The received bytes are kept"):
        text = text.partition(rest)[0]
    return textwrap.shorten(one_line(text), 200, placeholder="…") or type(error).__name__
