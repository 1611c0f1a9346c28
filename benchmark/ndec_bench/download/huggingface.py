"""Files on the Hugging Face hub: its library resolves them, our downloader fetches the bytes.

The library's own download of a large file starts again from zero when the process is killed (huggingface_hub 2.4), so
only its answer is used: address, size, and the SHA-256 under which the hub stores it.
"""

from __future__ import annotations

import os
import re
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ndec_bench.download.answer import Transient
from ndec_bench.download.exchange import Location, ca_bundle, origin, retry_after
from ndec_bench.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from huggingface_hub import HfFileMetadata

    from ndec_bench.data.registry import Source
    from ndec_bench.download.exchange import Policy

_ADDRESS = re.compile(r"(datasets|models)/([^/@]+/[^/@]+)@([^/]+)/(.+)")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WINDOW = re.compile(r";\s*t=([0-9]{1,6})")
_NOT_THERE = ("no longer has it at the pinned revision", "use a mirror, see docs/data.md")
_TYPES = {"datasets": "dataset", "models": "model"}


def resolve(name: str, source: Source, *, policy: Policy, environ: Mapping[str, str] = os.environ) -> Location:
    """Return where the hub keeps the file of ``source`` at its pinned revision, with size and SHA-256.

    ``HF_ENDPOINT`` names another hub, ``HF_TOKEN`` or a stored token signs in. The token goes to the hub alone; one
    that the hub does not know (any more) is left out, since what is public needs none.

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
    Transient
        If the hub does not answer, or may answer otherwise soon.
    NetworkError
        If it does not know the file at that revision, or does not let this user have it.
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
    try:
        found, token = _asked(url, token, endpoint, policy)
    except Exception as error:
        raise _refusal(name, url, error) from error
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


def _asked(url: str, token: str | None, endpoint: str | None, policy: Policy) -> tuple[HfFileMetadata, str | None]:
    """Return the hub's answer, and the token unless the hub refused it."""
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.errors import HfHubHTTPError

    ask = partial(get_hf_file_metadata, timeout=policy.connect_timeout, endpoint=endpoint)
    bundle = ca_bundle()
    if bundle is not None:  # the library looks at this variable alone
        os.environ["SSL_CERT_FILE"] = str(bundle)
    try:
        return ask(url, token=token or False), token
    except HfHubHTTPError as error:
        if not token or _status(error) != 401:
            raise
    return ask(url, token=False), None


def _status(error: Exception) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None


def _refusal(name: str, url: str, error: Exception) -> NetworkError | Transient:
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
    status = _status(error)
    if status is None:
        found = f"{_host(url)} does not answer ({type(error).__name__})"
        if isinstance(error, ValueError):  # an address that cannot be asked
            return NetworkError(f"{name}: {found}", hint="check HF_ENDPOINT")
        return Transient(found)
    found = f"{_host(url)} answered with status {status}"
    if status in {408, 429} or status >= 500:
        return Transient(found, _wait_asked(error))
    return NetworkError(f"{name}: {found}", hint="try again later, or use a mirror (docs/data.md)")


def _wait_asked(error: Exception) -> float | None:
    """Return the seconds the hub asks to wait: in Retry-After, or as the end of the window of its RateLimit."""
    headers: Mapping[str, str] = getattr(getattr(error, "response", None), "headers", {})
    window = _WINDOW.search(headers.get("RateLimit", ""))
    asked = retry_after(headers.get("Retry-After"))
    return float(window[1]) if asked is None and window else asked


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
