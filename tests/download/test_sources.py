"""Sources in order: a user's link, a mirror in place of a source, the source; what each shows and records."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
import requests
from static_host import Fault, StaticHost

from ndec_bench.data.registry import RemoteFile, find
from ndec_bench.download.exchange import Policy
from ndec_bench.download.links import read_links
from ndec_bench.download.sources import Candidate, candidates
from ndec_bench.errors import NetworkError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ndec_bench.download.links import Links

HASTY = Policy(attempts=2, first_wait=0.001, longest_wait=0.002)
CONTENT = b"PK\x03\x04" + bytes(range(256)) * 40
REVISION = "659e2db2063ded69b14f79a03ea382ebcf5777ce"


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        yield made


def file(name: str) -> RemoteFile:
    found = find(name)
    assert found is not None
    return found


def of(name: str, session: requests.Session, links: Links | None = None, **environ: str) -> tuple[Candidate, ...]:
    return candidates(file(name), session=session, policy=HASTY, links=links, environ=environ)


@pytest.mark.parametrize(
    ("name", "label", "url"),
    [
        (
            "query_images_h5.tar",
            "huggingface",
            f"https://huggingface.co/datasets/WenhaoWang/ASL/resolve/{REVISION}/",
        ),
        (
            "public_ground_truth_h5.csv",
            "gdrive",
            "https://drive.google.com/uc?id=1ZrPNoa3mTAxl6lViVjNtN90i20VSuzJs",
        ),
        (
            "references_3.zip",
            "meta",
            "https://dl.fbaipublicfiles.com/image_similarity_challenge/public/references_3",
        ),
        ("isc_ft_v107.pth.tar", "web", "https://github.com/lyakaap/"),
    ],
)
def test_the_registrys_sources(session: requests.Session, name: str, label: str, url: str) -> None:
    (candidate,) = of(name, session)
    assert (candidate.label, candidate.url.startswith(url)) == (label, True)


@pytest.mark.parametrize(
    ("variable", "name", "original"),
    [
        ("HUGGINGFACE", "query_images_h5.tar", f"datasets/WenhaoWang/ASL/resolve/{REVISION}/query_images_h5.tar"),
        ("META", "references_3.zip", "image_similarity_challenge/public/references_3.zip"),
        ("GDRIVE", "public_ground_truth_h5.csv", "1ZrPNoa3mTAxl6lViVjNtN90i20VSuzJs"),
    ],
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_mirror_stands_in_place_of_its_source_with_names_or_paths(
    session: requests.Session, tmp_path: Path, variable: str, name: str, original: str, slash: str
) -> None:
    for path in (name, original):
        with StaticHost({f"/data/{path}": CONTENT}) as host:
            base = {f"NDEC_BENCH_BASE_URL_{variable}": f"{host.url}/data{slash}"}
            (candidate,) = of(name, session, **base)
            assert candidate.label == f"mirror of {variable.lower()}"
            part = tmp_path / f"{path.replace('/', '-')}.part"
            fetched = candidate.fetch(part, lambda *_: None, None)
            assert fetched.sha256 == sha256(CONTENT).hexdigest()
            assert part.read_bytes() == CONTENT


def test_a_mirror_without_the_file_says_so(session: requests.Session, tmp_path: Path) -> None:
    with StaticHost({}) as host:
        (candidate,) = of("references_3.zip", session, NDEC_BENCH_BASE_URL_META=host.url)
        with pytest.raises(NetworkError, match=r"references_3\.zip: .*404"):
            candidate.fetch(tmp_path / "references_3.zip.part", lambda *_: None, None)
        assert {request.path for request in host.requests} == {
            "/references_3.zip",
            "/image_similarity_challenge/public/references_3.zip",
        }


def test_a_mirror_that_refuses_the_file_says_so_first(session: requests.Session, tmp_path: Path) -> None:
    with StaticHost({}) as host:
        host.fault("/references_3.zip", Fault(status=403), always=True)
        (candidate,) = of("references_3.zip", session, NDEC_BENCH_BASE_URL_META=host.url)
        with pytest.raises(NetworkError, match=r"answered 403 Forbidden, then .* answered 404 Not Found") as caught:
            candidate.fetch(tmp_path / "references_3.zip.part", lambda *_: None, None)
    assert "login" in (caught.value.hint or "")


@pytest.mark.parametrize("address", ["ftp://host/x", "host/x", "https://", "file:///data", "https://host/x?token=1"])
def test_a_mirror_that_is_no_address_is_wrong_use(session: requests.Session, address: str) -> None:
    with pytest.raises(UsageError, match=r"NDEC_BENCH_BASE_URL_META=.* is not an address"):
        of("references_3.zip", session, NDEC_BENCH_BASE_URL_META=address)


def test_the_password_of_a_mirror_is_not_shown(session: requests.Session) -> None:
    (candidate,) = of("references_3.zip", session, NDEC_BENCH_BASE_URL_META="https://me:secret@mirror.example/a")
    assert candidate.url == "https://mirror.example/a"


def test_a_link_comes_first_and_its_signature_stays_secret(session: requests.Session, tmp_path: Path) -> None:
    with StaticHost({"/m1/An_n.zip": CONTENT, "/references_3.zip": CONTENT}) as host:
        (tmp_path / "links.txt").write_text(f"refs_50k_3.zip {host.url}/m1/An_n.zip?oh=SECRET&oe=FFFFFFFF")
        links = read_links(tmp_path / "links.txt")
        found = of("references_3.zip", session, links, NDEC_BENCH_BASE_URL_META=host.url)
        assert [candidate.label for candidate in found] == ["link", "mirror of meta"]
        assert found[0].url == f"{host.url}/m1/An_n.zip"
        found[0].fetch(tmp_path / "references_3.zip.part", lambda *_: None, None)
        assert host.requests[0].query == "oh=SECRET&oe=FFFFFFFF"
        host.fault("/m1/An_n.zip", Fault(status=403), always=True)
        with pytest.raises(NetworkError) as caught:
            found[0].fetch(tmp_path / "other.zip.part", lambda *_: None, None)
        assert "SECRET" not in str(caught.value)
        assert [c.label for c in of("references_4.zip", session, links, NDEC_BENCH_BASE_URL_META=host.url)] == [
            "mirror of meta"
        ]


def test_an_expired_link_is_passed_over_without_asking(session: requests.Session, tmp_path: Path) -> None:
    with StaticHost({"/m1/An_n.zip": CONTENT}) as host:
        (tmp_path / "links.txt").write_text(f"refs_50k_3.zip {host.url}/m1/An_n.zip?oe=64057ABC")
        link = of("references_3.zip", session, read_links(tmp_path / "links.txt"))[0]
        with pytest.raises(NetworkError, match="expired"):
            link.fetch(tmp_path / "references_3.zip.part", lambda *_: None, None)
        assert host.requests == []
