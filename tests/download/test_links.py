"""Signed links as users copy them: by object name or by the name beside them; mistakes of lists in circulation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ndec_bench.data.registry import RemoteFile, find
from ndec_bench.download.links import Links, read_links
from ndec_bench.errors import DataError, NetworkError

if TYPE_CHECKING:
    from pathlib import Path

HOST = "https://scontent.example.net/m1/v/t6"
LATER, EARLIER = "oe=FFFFFFFF", "oe=64057ABC"  # 2106 and March 2023


def links(tmp_path: Path, text: str) -> Links:
    path = tmp_path / "links.txt"
    path.write_text(text, encoding="utf-8")
    return read_links(path)


def file(name: str) -> RemoteFile:
    found = find(name)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "text",
    [
        f"{HOST}/refs_50k_3.zip?{LATER}&_nc_sid=1",
        f"{HOST}/refs_50k_03.zip?{LATER}",
        f"refs_50k_3.zip\t{HOST}/An9x_n.zip?{LATER}",
        f"3. refs_50k_03.zip: <{HOST}/An9x_n.zip?_nc=1&amp;{LATER}>",
        f'<a href="{HOST}/references_3.zip?{LATER}">Download</a>',
        f"\ufeffnothing\n\nrefs_50k_3.zip,{HOST}/An9x_n.zip?{LATER},8.2 GB\n",
    ],
)
def test_a_link_finds_its_file(tmp_path: Path, text: str) -> None:
    found = links(tmp_path, text)
    assert found.names == ("references_3.zip",)
    location = found.location(file("references_3.zip"))
    assert location.url.startswith(HOST)
    assert "FFFFFFFF" in location.url
    assert "&amp;" not in location.url
    found.fresh_location(file("references_3.zip"))


def test_several_links_in_one_line_each_have_the_name_before_them(tmp_path: Path) -> None:
    text = f"train_50k_0.zip {HOST}/a_n.zip?{LATER} train_50k_1.zip {HOST}/b_n.zip?{LATER}"
    found = links(tmp_path, text)
    assert found.names == ("train_0.zip", "train_1.zip")
    location = found.location(file("train_1.zip"))
    assert "/b_n.zip" in location.url


def test_what_is_not_in_the_list_has_no_link(tmp_path: Path) -> None:
    found = links(tmp_path, f"{HOST}/dev_queries_50k_0.zip?{LATER}\n{HOST}/disc21_yfcc_attributions.csv?{LATER}")
    assert found.names == ("dev_queries.zip",)


def test_a_link_copied_twice_with_fresh_signature_is_one(tmp_path: Path) -> None:
    found = links(tmp_path, f"{HOST}/refs_50k_3.zip?{EARLIER}\n{HOST}/refs_50k_3.zip?{LATER}")
    location = found.location(file("references_3.zip"))
    assert "FFFFFFFF" in location.url


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
        found.fresh_location(file("references_3.zip"))
    assert "64057ABC" not in str(caught.value)


def test_a_missing_or_binary_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_links(tmp_path / "none.txt")
    (tmp_path / "b").write_bytes(bytes(range(256)) * 100)
    with pytest.raises(DataError, match="no link"):
        read_links(tmp_path / "b")
