"""Files on the Hugging Face hub: its library resolves them, our downloader fetches the bytes.

The library's own download of a large file starts again from zero when the process is killed (huggingface_hub 2.4), so
only its answer is used: address, size, and the SHA-256 under which the hub stores it.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ndec_bench.download.answer import AGAIN
from ndec_bench.download.exchange import Location, origin
from ndec_bench.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from huggingface_hub import HfFileMetadata

    from ndec_bench.data.registry import Source
    from ndec_bench.download.exchange import Policy

_ADDRESS = re.compile(r"(datasets|models)/([^/@]+/[^/@]+)@([^/]+)/(.+)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST_TRIES = 5
_NOT_THERE = ("no longer has it at the pinned revision", "use a mirror, see docs/data.md")
_TYPES = {"datasets": "dataset", "models": "model"}


def resolve(name: str, source: Source, *, policy: Policy, environ: Mapping[str, str] = os.environ) -> Location:
    """Return where the hub keeps the file of ``source`` at its pinned revision, with size and SHA-256.

    ``HF_ENDPOINT`` names another hub, ``HF_TOKEN`` or a stored token signs in. The token goes to the hub alone.

    Parameters
    ----------
    name
        Name of the file for messages.
    source
        Its ``address`` is ``datasets/OWNER/NAME@REVISION/PATH``.
    policy
        How long to wait for an answer.

    Raises
    ------
    NetworkError
        If the hub does not answer, does not know the file at that revision, or does not let this user have it.
    """
    # Loaded here: the library takes a quarter of a second to import.
    from huggingface_hub import get_token, hf_hub_url

    parts = _ADDRESS.fullmatch(source.address)
    if parts is None:
        raise ValueError(f"{source.address} is not an address on the hub")
    kind, repository, revision, path = parts.groups()
    endpoint = environ.get("HF_ENDPOINT", "").rstrip("/") or None
    url = hf_hub_url(repository, path, repo_type=_TYPES[kind], revision=revision, endpoint=endpoint)
    token = get_token()
    found = _asked(name, url, token or False, endpoint, policy)
    if found.commit_hash is not None and found.commit_hash != revision:
        raise NetworkError(
            f"{name}: {_host(url)} answers for revision {found.commit_hash[:40]}, asked for {revision}",
            hint="use a hub or mirror that has the pinned revision",
        )
    own = origin(found.location) == origin(url)
    etag = (found.etag or "").lower()
    return Location(
        url=found.location,
        bytes=found.size,
        sha256=etag if _SHA256.fullmatch(etag) else None,
        headers={"Authorization": f"Bearer {token}"} if token and own else {},
    )


def _asked(name: str, url: str, token: str | bool, endpoint: str | None, policy: Policy) -> HfFileMetadata:
    """Return the hub's answer, asked for again with growing waits after failures that may pass."""
    from huggingface_hub import get_hf_file_metadata

    for tries in range(min(policy.attempts, _MOST_TRIES)):
        try:
            # The library's own repetitions wait longer than this policy may want.
            return get_hf_file_metadata(url, token=token, timeout=policy.connect_timeout, endpoint=endpoint)
        except Exception as error:
            last = error
            if not _may_pass(error):
                break
        time.sleep(policy.wait(tries + 1))
    raise _refusal(name, url, last) from last


def _may_pass(error: Exception) -> bool:
    from huggingface_hub import errors

    if isinstance(error, errors.HfHubHTTPError):
        status = getattr(error.response, "status_code", 0)
        return status in {408, 429} or status >= 500
    return not isinstance(error, (errors.OfflineModeIsEnabled, ValueError))


def _refusal(name: str, url: str, error: Exception) -> NetworkError:
    from huggingface_hub import errors

    known: tuple[tuple[type[Exception], str, str], ...] = (
        (
            errors.GatedRepoError,
            "wants its terms accepted there first",
            "sign in there, accept them, and set HF_TOKEN",
        ),
        (
            errors.RepositoryNotFoundError,
            "does not know the repository, or not for this user",
            "check HF_ENDPOINT and HF_TOKEN, or use a mirror (docs/data.md)",
        ),
        (errors.RevisionNotFoundError, *_NOT_THERE),
        (errors.EntryNotFoundError, *_NOT_THERE),
        (errors.OfflineModeIsEnabled, "is not asked: HF_HUB_OFFLINE forbids it", "unset it, or use --from DIR"),
    )
    for kind, found, hint in known:
        if isinstance(error, kind):
            return NetworkError(f"{name}: {_host(url)} {found}", hint=hint)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return NetworkError(f"{name}: {_host(url)} answered with status {status}", hint=AGAIN)
    return NetworkError(f"{name}: {_host(url)} does not answer ({type(error).__name__})", hint=AGAIN)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
