"""A public place for a scored file: a data set on the Hugging Face Hub, by way of its own library."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ndec_bench import atomic
from ndec_bench.descriptors import sha256_of_file
from ndec_bench.errors import NetworkError, SubmissionError, UsageError, os_errors
from ndec_bench.printable import one_line
from ndec_bench.submissions.card import Files, SubmissionCard, read_card, with_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_TARGET = re.compile(r"hf:([A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95})")
_PLACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_HUB = "https://huggingface.co"
_REFUSED = {401, 403}


@dataclass(frozen=True)
class UploadedFile:
    """A file on the hub.

    Attributes
    ----------
    url
        Its address, pinned to the commit.
    sha256, bytes
        Of the file.
    """

    url: str
    sha256: str
    bytes: int


def repository_of(target: str) -> str:
    """Return ``USER/REPO`` of ``hf:USER/REPO``. Raises UsageError for anything else."""
    found = _TARGET.fullmatch(target)
    if found is None or ".." in target or "--" in target:
        raise UsageError(f"--to {target!r}", hint="write hf:USER/REPO, a data set on the Hugging Face Hub")
    return found[1]


def upload(
    file: Path,
    repository: str,
    *,
    place: str | None = None,
    private: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> UploadedFile:
    """Return where ``file`` lies after it was uploaded into the data set ``repository``, which is made if need be.

    ``HF_ENDPOINT`` names another hub, ``HF_TOKEN`` or a stored token signs in. A file that is there already is not sent
    again.

    Parameters
    ----------
    file
        The file.
    repository
        ``USER/REPO``.
    place
        Its path there; by default its name.
    private
        Whether a repository that is made is private.
    environ
        Where ``HF_ENDPOINT`` is looked up.

    Raises
    ------
    UsageError
        If there is no token or ``place`` is not a plain path.
    SubmissionError
        If the file cannot be read.
    NetworkError
        If the hub does not answer, refuses, or has another file in the end.
    """
    # Loaded here: the library takes a quarter of a second to import.
    from huggingface_hub import HfApi, get_hf_file_metadata, get_token, hf_hub_url

    name = place or file.name
    if not _PLACE.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a path on the hub", hint="give --path with letters, digits, . _ - and /")
    token = get_token()
    if token is None:
        raise UsageError(
            "uploading needs a token with write access", hint="set HF_TOKEN, or sign in once with: hf auth login"
        )
    digest, size = _sha256_of(file), file.stat().st_size
    endpoint = environ.get("HF_ENDPOINT", "").rstrip("/") or _HUB
    api = HfApi(endpoint=endpoint, token=token)
    try:
        api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        made = api.upload_file(
            path_or_fileobj=file,
            path_in_repo=name,
            repo_id=repository,
            repo_type="dataset",
            commit_message=f"Add {name} for ndec-bench",
        )
        url = hf_hub_url(repository, name, repo_type="dataset", revision=made.oid, endpoint=endpoint)
        there = get_hf_file_metadata(url, token=token, endpoint=endpoint).etag
    except Exception as error:  # the library raises its own, those of its HTTP client, and plain ones
        raise _as_network_error(error, repository, endpoint) from error
    if there is not None and len(there) == len(digest) and there != digest:
        raise NetworkError(
            f"{name}: the hub has a file with SHA-256 {there}, sent was {digest}", hint="upload it again"
        )
    return UploadedFile(url, digest, size)


def card_for(file: Path, path: Path, *, other_file: bool = False) -> SubmissionCard:
    """Return the card ``path``, which must be that of ``file`` unless ``other_file`` says that it will be of another.

    Raises
    ------
    SubmissionError
        If one of the two cannot be read, or they do not belong together.
    """
    card = read_card(path)
    digest = _sha256_of(file)
    if card.descriptors is not None and not other_file and digest != card.descriptors.sha256:
        raise SubmissionError(
            f"{path}: the card is of a file with SHA-256 {card.descriptors.sha256}, {file} has {digest}",
            hint="upload the file of the card, or name this one in it first",
        )
    return card


def write_address(path: Path, card: SubmissionCard, file: Path, uploaded: UploadedFile) -> None:
    """Write name, digest and address of ``file`` into the card ``path``; the rest of it stays as people wrote it."""
    after = card.model_copy(update={"descriptors": Files(name=file.name, sha256=uploaded.sha256, url=uploaded.url)})
    atomic.write_text(path, with_table(path.read_text(encoding="utf-8-sig"), after, "descriptors"))


def check_file(file: Path) -> None:
    """Raise SubmissionError if ``file`` is not a file."""
    if not file.is_file():
        raise SubmissionError(f"{file}: not a file", hint="check the path")


def _sha256_of(file: Path) -> str:
    check_file(file)
    with os_errors(f"{file}: cannot be read", SubmissionError, hint="check the path"):
        return sha256_of_file(file)


def _as_network_error(error: BaseException, repository: str, endpoint: str) -> NetworkError:
    from huggingface_hub import errors

    host = urlsplit(endpoint).netloc.rpartition("@")[2]
    status = next((code for one in _causes(error) if (code := _status(one)) is not None), None)
    if status in _REFUSED:
        return NetworkError(
            f"{host} answered with status {status}: this token may not write to {repository}",
            hint="make a token with write access there, and set HF_TOKEN",
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return NetworkError(f"{host} has no {repository}, or not for this user", hint="check --to and HF_TOKEN")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return NetworkError(f"HF_HUB_OFFLINE forbids asking {host}", hint="unset it")
    if status is not None:
        return NetworkError(
            f"{host} answered with status {status}", hint="run it again: what is there is not sent twice"
        )
    error = list(_causes(error))[-1]
    reason = one_line(str(error), 200)
    return NetworkError(
        f"{host}: uploading failed ({type(error).__name__}{': ' if reason else ''}{reason})",
        hint="check the connection and run it again: what is there is not sent twice",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield ``error`` and what it was raised from: the library wraps what a transfer raised."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _status(error: BaseException) -> int | None:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return status if isinstance(status, int) else None
