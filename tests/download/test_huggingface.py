"""Files of the Hugging Face hub: its own library resolves against a look-alike, our downloader fetches the bytes."""

from __future__ import annotations

import os
import threading
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
import requests
from hugging_face_host import HuggingFaceHost
from static_host import Fault, StaticHost

from ndec_bench.data.registry import RemoteFile, find
from ndec_bench.download.exchange import Policy
from ndec_bench.download.sources import Candidate, candidates
from ndec_bench.errors import InterruptedRun, NetworkError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ndec_bench.download.ranges import Fetched

HASTY = Policy(attempts=3, first_wait=0.001, longest_wait=0.002)
REPOSITORY, REVISION = "datasets/WenhaoWang/ASL", "659e2db2063ded69b14f79a03ea382ebcf5777ce"
NAME = "query_images_h5.tar"
CONTENT = bytes(range(256)) * 4000
SHA256 = sha256(CONTENT).hexdigest()


@pytest.fixture
def store() -> Iterator[StaticHost]:
    with StaticHost({}) as running:
        yield running


@pytest.fixture
def hub(store: StaticHost, monkeypatch: pytest.MonkeyPatch) -> Iterator[HuggingFaceHost]:
    with HuggingFaceHost(store) as running:
        running.add(REPOSITORY, REVISION, NAME, CONTENT)
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running


@pytest.fixture
def candidate(hub: HuggingFaceHost) -> Iterator[Candidate]:
    with requests.Session() as session:
        (found,) = candidates(_file(), session=session, policy=HASTY)
        yield found


def _file() -> RemoteFile:
    file = find(NAME)
    assert file is not None
    return file


def fetch(candidate: Candidate, tmp_path: Path) -> Fetched:
    return candidate.fetch(tmp_path / f"{NAME}.part", lambda *_: None, None)


def test_the_hub_resolves_and_the_store_serves(
    candidate: Candidate, hub: HuggingFaceHost, store: StaticHost, tmp_path: Path
) -> None:
    fetched = fetch(candidate, tmp_path)
    assert (fetched.bytes, fetched.sha256) == (len(CONTENT), SHA256)
    assert (tmp_path / f"{NAME}.part").read_bytes() == CONTENT
    assert [path for _, path, _ in hub.asked] == [f"/{REPOSITORY}/resolve/{REVISION}/{NAME}"]
    assert store.requests[0].query.startswith("X-Amz-Signature=")


def test_size_and_digest_are_the_hubs(candidate: Candidate) -> None:
    location = candidate.resolve()
    assert (location.bytes, location.sha256, dict(location.headers)) == (len(CONTENT), SHA256, {})


def test_wrong_bytes_in_the_store_are_refused_with_both_digests(
    candidate: Candidate, hub: HuggingFaceHost, store: StaticHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = CONTENT[:-1] + b"x"
    sign = hub.sign
    monkeypatch.setattr(hub, "sign", lambda _content: sign(wrong))
    with pytest.raises(NetworkError, match=rf"SHA-256 {sha256(wrong).hexdigest()}, expected {SHA256}"):
        fetch(candidate, tmp_path)
    assert not (tmp_path / f"{NAME}.part").exists()


def test_an_address_that_expires_in_mid_file_is_renewed(
    candidate: Candidate, hub: HuggingFaceHost, store: StaticHost, tmp_path: Path
) -> None:
    def expire_once(done: int, _total: int | None) -> None:
        if done > 300_000 and len(hub.asked) == 1:
            hub.expire()

    sign = hub.sign

    def sign_and_cut(content: bytes) -> str:
        address = sign(content)
        if len(hub.asked) == 1:
            store.fault(address.removeprefix(store.url).partition("?")[0], Fault(cut_after=500_000))
        return address

    hub.sign = sign_and_cut  # type: ignore[method-assign]
    fetched = candidate.fetch(tmp_path / f"{NAME}.part", expire_once, None)
    assert fetched.sha256 == SHA256
    assert len(hub.asked) == 2
    assert store.requests[-1].range == "bytes=500000-"
    assert sum(request.sent for request in store.requests if request.status in {200, 206}) == len(CONTENT)


def test_a_token_goes_to_the_hub_and_nowhere_else(
    candidate: Candidate, hub: HuggingFaceHost, store: StaticHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories[REPOSITORY].token = "hf_secret"  # noqa: S105 -- made up
    with pytest.raises(NetworkError, match=r"does not know the repository, or not for this user; check HF_ENDPOINT"):
        fetch(candidate, tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert fetch(candidate, tmp_path).sha256 == SHA256
    assert hub.asked[-1][2] == "Bearer hf_secret"
    assert all("authorization" not in request.headers for request in store.requests)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("repository", "does not know the repository"),
        ("revision", "no longer has it at the pinned revision"),
        ("entry", "no longer has it at the pinned revision"),
        ("gated", "wants its terms accepted there first; sign in there"),
        ("commit", "answers for revision aaaa, asked for 659e2db2063ded69b14f79a03ea382ebcf5777ce"),
    ],
)
def test_what_the_hub_refuses_is_told(
    candidate: Candidate, hub: HuggingFaceHost, tmp_path: Path, change: str, message: str
) -> None:
    repository = hub.repositories[REPOSITORY]
    if change == "repository":
        hub.repositories.clear()
    elif change == "revision":
        repository.revision = "b" * 40
    elif change == "entry":
        repository.files.clear()
    elif change == "gated":
        repository.gated = True
    else:
        hub.commit = "aaaa"
    with pytest.raises(NetworkError, match=rf"query_images_h5\.tar: 127\.0\.0\.1:\d+ {message}"):
        fetch(candidate, tmp_path)


def test_a_hub_that_fails_once_is_asked_again(candidate: Candidate, hub: HuggingFaceHost, tmp_path: Path) -> None:
    hub.failing = [503]
    assert fetch(candidate, tmp_path).sha256 == SHA256
    assert len(hub.asked) == 2


def test_an_expired_token_is_left_out_for_what_is_public(
    candidate: Candidate, hub: HuggingFaceHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.tokens = set()
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    assert fetch(candidate, tmp_path).sha256 == SHA256
    assert [token for _, _, token in hub.asked] == ["Bearer hf_expired", None]
    hub.repositories[REPOSITORY].token = "hf_secret"  # noqa: S105 -- made up
    (tmp_path / f"{NAME}.part").unlink()
    with pytest.raises(NetworkError, match="check HF_ENDPOINT and HF_TOKEN"):
        fetch(candidate, tmp_path)


@pytest.mark.parametrize(
    "limits",
    [{"Retry-After": "120"}, {"RateLimit": '"resolvers";r=0;t=120', "RateLimit-Policy": '"resolvers";q=3000;w=300'}],
)
def test_the_hubs_limit_is_waited_for_and_the_wait_can_be_stopped(
    candidate: Candidate, hub: HuggingFaceHost, tmp_path: Path, limits: dict[str, str]
) -> None:
    hub.failing, hub.limits = [429], limits
    stop = _Stop()
    with pytest.raises(InterruptedRun):
        candidate.fetch(tmp_path / f"{NAME}.part", lambda *_: None, stop)
    assert stop.waits == [120.0]


class _Stop(threading.Event):
    """Is set as soon as somebody waits for it, for a second or longer."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        self.set()
        return True


def test_the_hub_trusts_whom_the_rest_trusts(
    candidate: Candidate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "authorities.pem"
    bundle.touch()
    monkeypatch.setenv("SSL_CERT_FILE", "")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    assert fetch(candidate, tmp_path).sha256 == SHA256
    assert os.environ["SSL_CERT_FILE"] == str(bundle)


def test_no_hub_at_all(candidate: Candidate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(NetworkError, match=r"query_images_h5\.tar: 127\.0\.0\.1:9 does not answer \(ConnectError\)"):
        fetch(candidate, tmp_path)


def test_the_librarys_own_offline_switch_is_named(
    candidate: Candidate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(NetworkError, match=r"HF_HUB_OFFLINE forbids it"):
        fetch(candidate, tmp_path)
