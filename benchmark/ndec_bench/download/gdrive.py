"""Files on Google Drive, fetched by gdown."""

from __future__ import annotations

import errno
import hashlib
import shutil
import threading
from typing import TYPE_CHECKING

from ndec_bench.download.answer import looks_like_html
from ndec_bench.download.location import Fetched
from ndec_bench.errors import DataError, InterruptedRun, NetworkError

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_bench.data.registry import RemoteFile
    from ndec_bench.download.location import Advance
    from ndec_bench.download.policy import Policy

_LEAST_LIMIT = 1 << 20
_SNIFFED = 512
_QUOTA = ("quota", "too many users", "many accesses")
_IN_A_BROWSER = "open https://drive.google.com/uc?id={} in a browser, and put the file at {}"


class _TooLargeError(Exception):
    """More bytes came than the file can have."""


def fetch(
    file: RemoteFile, drive_id: str, part: Path, *, policy: Policy, advance: Advance, stop: threading.Event | None
) -> Fetched:
    """Return size and SHA-256 of the Drive file ``drive_id``, which then lies whole in ``part``.

    gdown asks without cookies and follows the page that warns of files it cannot scan. What it has fetched of a file
    stays in the folder ``part`` + ``.drive``, and the next call goes on there.

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
    _make_ready(work)
    target = work / "file"
    # Of an estimated size twice as much is believed: enough for an estimate that is off, and no stream without end.
    limit = file.bytes if file.bytes_exact else 2 * file.bytes + _LEAST_LIMIT
    try:
        _download(drive_id, target, limit, policy, advance, stop)
        fetched = _checked(file, target, limit)
        target.replace(part)
    except (DataError, InterruptedRun, NetworkError):
        raise
    except Exception as error:
        raise _told(file, drive_id, part, error) from error
    finally:
        _clear(work)
    return fetched


def _download(
    drive_id: str, target: Path, limit: int, policy: Policy, advance: Advance, stop: threading.Event | None
) -> None:
    import gdown
    from gdown.exceptions import DownloadCancelled

    def progress(done: int, total: int | None) -> None:
        if done > limit or (total or 0) > limit:
            raise _TooLargeError(f"{max(done, total or 0):,} bytes, expected at most {limit:,}")
        advance(done, total)

    try:
        gdown.download(
            id=drive_id,
            output=str(target),
            quiet=True,
            use_cookies=False,
            timeout=(policy.connect_timeout, policy.read_timeout),
            retries=policy.attempts - 1,
            cancel=stop or threading.Event(),
            progress=progress,
            resume=True,
        )
    except (DownloadCancelled, KeyboardInterrupt):
        raise InterruptedRun("stopped; what was received is kept", hint="run again to go on") from None


def _make_ready(work: Path) -> None:
    """Make the work folder; gdown refuses to choose between two unfinished files, and then none is kept."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        if len(list(work.iterdir())) > 1:
            shutil.rmtree(work)
            work.mkdir()
    except OSError as error:
        raise DataError(f"{work}: cannot be used ({error.strerror or error})", hint="check the data root") from error


def _clear(work: Path) -> None:
    """Remove the work folder unless it holds bytes that the next call can go on with."""
    if not any(path.stat().st_size for path in work.iterdir() if path.name != "file"):
        shutil.rmtree(work, ignore_errors=True)


def _checked(file: RemoteFile, path: Path, limit: int) -> Fetched:
    size = path.stat().st_size
    with path.open("rb") as opened:
        if looks_like_html(opened.read(_SNIFFED)):
            raise NetworkError(f"{file.name}: Google Drive gave a web page, not the file", hint="try again later")
        opened.seek(0)
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if not 0 < size <= limit:
        raise NetworkError(
            f"{file.name}: Google Drive gave {size:,} bytes, expected about {file.bytes:,}", hint="try again later"
        )
    return Fetched(size, digest)


def _told(file: RemoteFile, drive_id: str, part: Path, error: Exception) -> DataError | NetworkError:
    """Return what gdown raised as an error for users, in one line."""
    import requests

    if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        return DataError(
            f"{file.name}: cannot be written ({error.strerror or error})",
            hint="free disk space and run again" if full else "check the data root",
        )
    by_hand = _IN_A_BROWSER.format(drive_id, part.with_name(file.name))
    reason = _reason(error)
    if any(word in reason.lower() for word in _QUOTA):
        return NetworkError(
            f"{file.name}: Google Drive's quota for this file is used up ({reason})",
            hint=f"wait a day and run again, or {by_hand}",
        )
    if isinstance(error, _TooLargeError):
        return NetworkError(f"{file.name}: Google Drive sends something else ({reason})", hint=by_hand)
    return NetworkError(f"{file.name}: Google Drive does not give it ({reason})", hint=f"run again later, or {by_hand}")


def _reason(error: Exception) -> str:
    """Return the first sentences of gdown's message without its layout, or the kind of an error that has none."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"status {error.response.status_code}"
    if isinstance(error, requests.RequestException):
        return f"no connection: {type(error).__name__}"
    text = " ".join(str(error).split()).removeprefix("Failed to retrieve file url: ")
    text = text.partition(" You may still be able")[0].partition(" Check FAQ")[0]
    return "".join(character for character in text if character.isprintable())[:200] or type(error).__name__
