"""A file on a host that serves ranges, and Google Drive behind a proxy; both look-alikes on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests
import trustme
from connect_proxy import ConnectProxy
from drive_host import ACCOUNTS, ID, WHOLE, DriveHost
from ranged import CONTENT, NAME, POLICY
from static_host import StaticHost

from ndec_bench.download.exchange import Location
from ndec_bench.download.ranges import Fetched, fetch

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ndec_bench.download.exchange import Policy
    from ndec_bench.download.ranges import Advance

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture
def host() -> Iterator[StaticHost]:
    with StaticHost({NAME: CONTENT}) as running:
        yield running


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as running:
        running.trust_env = False
        yield running


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "images.zip.part"


@pytest.fixture
def get(host: StaticHost, session: requests.Session, part: Path) -> Callable[..., Fetched]:
    """Fetch NAME from the host into ``part``."""

    def run(
        path: str = NAME,
        *,
        sha256: str | None = None,
        size: int | None = None,
        policy: Policy = POLICY,
        advance: Advance | None = None,
        stop: threading.Event | None = None,
    ) -> Fetched:
        location = Location(host.url + path, size, sha256)
        return fetch(lambda: location, part, session=session, policy=policy, advance=advance, stop=stop)

    return run


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def this_machine_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA
) -> None:
    for variable in PROXIES:
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    for kind in ("HUGGINGFACE", "META", "WEB"):
        monkeypatch.setenv(f"NDEC_BENCH_BASE_URL_{kind}", "http://127.0.0.1:9")
    monkeypatch.delenv("NDEC_BENCH_BASE_URL_GDRIVE", raising=False)
    home = tmp_path_factory.mktemp("home")
    authority.cert_pem.write_to_path(str(home / "authority.pem"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(home / "authority.pem"))


@pytest.fixture
def drive(authority: trustme.CA, this_machine_alone: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[DriveHost]:
    made = DriveHost()
    made.add(ID, WHOLE)
    with ConnectProxy(authority, made.hosts) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        yield made
        made.closing.set()
    assert proxy.refused == []
    assert ACCOUNTS not in proxy.tunnels or made.answers("sign-in")
