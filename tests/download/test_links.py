"""Signed links as users copy them: by object name or by the name beside them; mistakes of lists in circulation."""

from __future__ import annotations

import io
import time
import zipfile
from typing import TYPE_CHECKING

import pytest
from static_host import StaticHost

from ndec_bench.download.links import Links, identified, read_links
from ndec_bench.errors import DataError, NetworkError

if TYPE_CHECKING:
    from pathlib import Path

HOST = "https://scontent.example.net/m1/v/t6"
LATER, EARLIER = "oe=FFFFFFFF", "oe=64057ABC"  # 2106 and March 2023


def links(tmp_path: Path, text: str) -> Links:
    path = tmp_path / "links.txt"
    path.write_text(text, encoding="utf-8")
    return read_links(path)


@pytest.mark.parametrize(
    "text",
    [
        f"{HOST}/refs_50k_3.zip?{LATER}&_nc_sid=1",
        f"{HOST}/refs_50k_03.zip?{LATER}",
        f"refs_50k_3.zip\t{HOST}/An9x_n.zip?{LATER}",
        f"3. refs_50k_03.zip: <{HOST}/An9x_n.zip?_nc=1&amp;{LATER}>",
        f'<a href="{HOST}/references_3.zip?{LATER}">Download</a>',
        f'<a href="{HOST}/An9x_n.zip?{LATER}">refs_50k_3.zip</a>',
        f"curl '{HOST}/An9x_n.zip?_nc=1&{LATER}' -o refs_50k_03.zip",
        f"curl -o refs_50k_03.zip '{HOST}/An9x_n.zip?_nc=1&{LATER}'",
        f"{HOST}/An9x_n.zip?{LATER}\n  out=refs_50k_3.zip\n  dir=.\n",
        f"refs_50k_3.zip\n\n{HOST}/An9x_n.zip?{LATER}\n",
        '{"name": "refs_50k_3.zip", "url": "' + f"{HOST}/An9x_n.zip?x=1\\u0026{LATER}".replace("/", "\\/") + '"}',
        f"\ufeffnothing\n\nrefs_50k_3.zip,{HOST}/An9x_n.zip?{LATER},8.2 GB\n",
    ],
)
def test_a_link_finds_its_file(tmp_path: Path, text: str) -> None:
    found = links(tmp_path, text)
    assert tuple(found.by_name) == ("references_3.zip",)
    link = found.by_name["references_3.zip"]
    assert link.url.startswith(HOST)
    assert "FFFFFFFF" in link.url
    assert "&amp;" not in link.url
    found.by_name["references_3.zip"].fresh_location("references_3.zip")


def test_several_links_in_one_line_each_have_the_name_before_them(tmp_path: Path) -> None:
    text = f"train_50k_0.zip {HOST}/a_n.zip?{LATER} train_50k_1.zip {HOST}/b_n.zip?{LATER}"
    found = links(tmp_path, text)
    assert tuple(found.by_name) == ("train_0.zip", "train_1.zip")
    link = found.by_name["train_1.zip"]
    assert "/b_n.zip" in link.url


def test_names_behind_their_links(tmp_path: Path) -> None:
    text = "".join(f'<a href="{HOST}/{key}_n.zip?{LATER}">refs_50k_{n}.zip</a>' for n, key in enumerate("abc"))
    found = links(tmp_path, text)
    assert sorted(found.by_name) == ["references_0.zip", "references_1.zip", "references_2.zip"]
    assert "/b_n.zip" in found.by_name["references_1.zip"].url


def test_a_list_that_windows_saved(tmp_path: Path) -> None:
    path = tmp_path / "links.txt"
    path.write_text(f"{HOST}/refs_50k_3.zip?{LATER}\r\n", encoding="utf-16")
    assert list(read_links(path).by_name) == ["references_3.zip"]


@pytest.mark.parametrize(
    ("folders", "member", "name"),
    [
        ([], "R150000.jpg", "references_3.zip"),
        (["images/", "images/references/"], "images/references/R049999.jpg", "references_0.zip"),
        ([], "train/T950001.jpg", "train_19.zip"),
        ([], "Q00000.jpg", "dev_queries.zip"),
        ([], "Q99999.jpg", "final_queries.zip"),
        ([], "cat.jpg", None),
        ([], "R1000000.jpg", None),
    ],
)
def test_links_without_names_are_identified_by_what_they_lead_to(
    tmp_path: Path, folders: list[str], member: str, name: str | None
) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for folder in folders:
            archive.mkdir(folder)
        archive.writestr(member, b"x" * 2000)
    with StaticHost({"/An9x_n.zip": content.getvalue()}) as host:
        found = links(tmp_path, f"{host.url}/An9x_n.zip?{LATER}\n")
        assert (tuple(found.by_name), len(found.unnamed)) == ((), 1)
        if name is None:
            with pytest.raises(DataError, match=r"the link in line 1: leads to nothing of DISC21"):
                identified(found)
            return
        named, errors = identified(found)
        assert (tuple(named.by_name), errors) == ((name,), [])
        assert sum(asked.sent for asked in host.requests) < 600


def test_links_that_lead_nowhere_are_passed_over(tmp_path: Path) -> None:
    with StaticHost({"/a.zip": b"<html>"}) as host:
        text = f"{host.url}/a.zip\n{host.url}/b.zip?{EARLIER}\n{HOST}/refs_50k_3.zip?{LATER}\n"
        named, errors = identified(links(tmp_path, text))
    assert tuple(named.by_name) == ("references_3.zip",)
    assert sorted(error.partition(";")[0].partition(" expired")[0] for error in errors) == [
        "the link in line 1: leads to nothing of DISC21",
        "the link in line 2: its link (line 2)",
    ]


@pytest.mark.parametrize("text", [f"https://[::1 {HOST}/refs_50k_3.zip?x", f"refs_{'1' * 5000}.zip", "a." * 100_000])
def test_hostile_lists_end_soon_with_one_error(tmp_path: Path, text: str) -> None:
    begun = time.monotonic()
    if "refs_50k_3" in text:
        assert list(links(tmp_path, text).by_name) == ["references_3.zip"]
    else:
        with pytest.raises(DataError, match="no link to a file"):
            links(tmp_path, text)
    assert time.monotonic() - begun < 20


def test_what_is_not_in_the_list_has_no_link(tmp_path: Path) -> None:
    found = links(tmp_path, f"{HOST}/dev_queries_50k_0.zip?{LATER}\n{HOST}/disc21_yfcc_attributions.csv?{LATER}")
    assert tuple(found.by_name) == ("dev_queries.zip",)


def test_a_link_copied_twice_with_fresh_signature_is_one(tmp_path: Path) -> None:
    found = links(tmp_path, f"{HOST}/refs_50k_3.zip?{EARLIER}\n{HOST}/refs_50k_3.zip?{LATER}")
    link = found.by_name["references_3.zip"]
    assert "FFFFFFFF" in link.url


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"refs_50k_06.zip {HOST}/a_n.zip?{LATER}\nrefs_50k_07.zip {HOST}/a_n.zip?x=1",
            r"references_6\.zip \(line 1\) and references_7\.zip \(line 2\) point to one object",
        ),
        (
            f"refs_50k_6.zip {HOST}/a_n.zip?{LATER}\nrefs_50k_06.zip {HOST}/b_n.zip?{LATER}",
            r"line 2 gives references_6\.zip another object than line 1",
        ),
        ("", "no link to a file of DISC21"),
        (f"{HOST}/cat.jpg", "no link to a file of DISC21"),
        ("refs_50k_6.zip", "no link to a file of DISC21"),
    ],
)
def test_lists_with_mistakes_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        links(tmp_path, text)
    assert "FFFF" not in str(caught.value)


def test_an_expired_link_is_told_when_used_not_when_read(tmp_path: Path) -> None:
    found = links(tmp_path, f"{HOST}/refs_50k_3.zip?{EARLIER}")
    with pytest.raises(
        NetworkError, match=r"references_3\.zip: its link \(line 1\) expired [0-9,]+ days ago"
    ) as caught:
        found.by_name["references_3.zip"].fresh_location("references_3.zip")
    assert "64057ABC" not in str(caught.value)


def test_a_missing_or_binary_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_links(tmp_path / "none.txt")
    (tmp_path / "b").write_bytes(bytes(range(256)) * 100)
    with pytest.raises(DataError, match="no link"):
        read_links(tmp_path / "b")
