"""Addresses of strangers: only the public network is asked, whatever they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from ranged import POLICY
from static_host import Fault, StaticHost

from ndec_bench.download import public
from ndec_bench.download.public import is_public, public_session
from ndec_bench.errors import NetworkError
from ndec_bench.submissions.card import Files
from ndec_bench.verification import rescore as rescoring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from urllib3.connection import HTTPConnection

PRIVATE = [
    "localhost",
    "LOCALHOST.",
    "a.localhost",
    "router",
    "printer.local",
    "metadata.google.internal",
    "127.0.0.1",
    "127.1",
    "0x7f.0.0.1",
    "2130706433",
    "0.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "::1",
    "fe80::1%eth0",
    "fd00::1",
    "::ffff:10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "",
]


@pytest.mark.parametrize("host", PRIVATE)
def test_hosts_that_only_this_machine_reaches(host: str) -> None:
    assert not is_public(host)


@pytest.mark.parametrize("host", ["huggingface.co", "example.org.", "8.8.8.8", "2606:4700::1111", "127.0.0.1.nip.io"])
def test_hosts_of_the_public_network(host: str) -> None:
    assert is_public(host)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[StaticHost]:
    monkeypatch.setenv("NO_PROXY", "*")
    with StaticHost({"/a": b"secret"}) as running:
        yield running


def test_a_name_counts_by_where_it_leads(host: StaticHost) -> None:
    address = host.url.replace("127.0.0.1", "localhost") + "/a"
    with public_session() as session, pytest.raises(NetworkError, match=r"localhost is (127\.0\.0\.1|::1)"):
        session.get(address, timeout=5)
    assert host.requests == []


def test_a_redirect_leads_to_no_other_host_either(
    host: StaticHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = public._check_peer

    def as_if_public(connection: HTTPConnection) -> None:
        if connection.host != "127.0.0.1":
            check(connection)

    monkeypatch.setattr(public, "_check_peer", as_if_public)
    files = Files(name="a.h5", sha256="0" * 64, url=f"{host.url}/a")
    host.fault("/a", Fault(redirect=host.url.replace("127.0.0.1", "localhost") + "/metadata"), always=True)
    with pytest.raises(NetworkError, match="localhost is"):
        rescoring.fetch(files, tmp_path, policy=POLICY)
    assert {request.path for request in host.requests} == {"/a"}
