"""The Croissant description: what it says is there, by which digest, and that it hangs together."""

from __future__ import annotations

import json
import re
import shutil
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from made_truth import put
from small_archives import disc21_images, jpeg, ndec_queries, negative_pairs, split, tar_of, write_pieces, zip_of

from ndec_bench.cli import run
from ndec_bench.data.croissant import croissant
from ndec_bench.data.images import open_images
from ndec_bench.data.layouts import adopt, recognise
from ndec_bench.data.registry import image_sets, licences, remote_files
from ndec_bench.data.trust import FileRecord, record
from ndec_bench.data.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CSV = b"query_id,reference_id\nQ25000,R352148\nQ25001,\n"
NDEC_FILES = {
    "public_ground_truth_h5.csv",
    "query_images_h5.tar",
    *(f"negative_pair.tar.{piece}" for piece in ("aa", "ab", "ac")),
}

Card = dict[str, Any]


def trust(root: Path, *names: str) -> None:
    """Record these files as verified."""
    for name in names:
        content = (root / name).read_bytes()
        trusted = FileRecord(bytes=len(content), sha256=sha256(content).hexdigest(), source="meta", mtime_ns=1)
        record(root, name, trusted)


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with archives of every set, all verified."""
    root = tmp_path_factory.mktemp("verified") / "root"
    put(root, "ndec/public_ground_truth_h5.csv", CSV)
    put(root, "ndec/query_images_h5.tar", tar_of(ndec_queries((25_000, 50_000))))
    write_pieces(root / "ndec", "negative_pair.tar", split(tar_of(negative_pairs(((1, 5),))), (2_000, 2_000)))
    put(root, "disc21/references_0.zip", zip_of(disc21_images("R", (1,))))
    put(root, "disc21/references_19.zip", zip_of(disc21_images("R", (999_999,))))
    put(root, "disc21/train_7.zip", zip_of(disc21_images("T", (350_000,))))
    put(root, "disc21/dev_queries.zip", zip_of(disc21_images("Q", (1,))))
    put(root, "disc21/final_queries.zip", zip_of(disc21_images("Q", (50_000,))))
    put(root, "weights/mobilenet_v2-b0353104.pth", b"weights")  # no part of the data
    trust(root, *(each.key for each in remote_files() if each.path(root).is_file()))
    return root


@pytest.fixture(scope="module")
def full_card(verified: Path) -> Card:
    return croissant(verified)


@pytest.fixture
def full(verified: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return shutil.copytree(verified, tmp_path / "root")


def entries(card: Card, kind: str) -> dict[str, Card]:
    """Return the entries of a type (``FileObject``, ``FileSet``, ``RecordSet``) by id."""
    found = [each for each in card["distribution"] + card["recordSet"] if each["@type"] == f"cr:{kind}"]
    by_id = {each["@id"]: each for each in found}
    assert len(by_id) == len(found)
    return by_id


def nodes(part: object) -> Iterator[Card]:
    """Yield every object in the JSON, from the outside in."""
    if isinstance(part, dict):
        yield part
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from nodes(inner)


def check_references(card: Card) -> int:
    """Assert that each ``{"@id": …}`` names something that is defined, once. Return how many there are."""
    body: dict[str, object] = {key: value for key, value in card.items() if key != "@context"}
    having = [node for node in nodes(body) if "@id" in node]
    defined = [node["@id"] for node in having if "@type" in node]
    used = [node["@id"] for node in having if "@type" not in node]
    assert len(set(defined)) == len(defined)
    assert set(used) <= set(defined), set(used) - set(defined)
    for node in having:
        assert "@type" in node or set(node) == {"@id"}
    return len(used)


def test_the_checker_of_references_finds_a_dangling_one(verified: Path) -> None:
    card = croissant(verified)
    assert check_references(card) > 20
    entries(card, "FileSet")["queries_images"]["containedIn"] = {"@id": "nowhere.tar"}
    with pytest.raises(AssertionError, match=r"nowhere\.tar"):
        check_references(card)


def test_all_archives(verified: Path, full_card: Card) -> None:
    card, files = full_card, entries(full_card, "FileObject")
    assert set(files) == {
        *NDEC_FILES,
        "references_0.zip",
        "references_19.zip",
        "train_7.zip",
        "dev_queries.zip",
        "final_queries.zip",
    }
    for name, entry in files.items():
        content = next(verified.rglob(name)).read_bytes()
        assert entry["sha256"] == sha256(content).hexdigest()
        assert entry["contentSize"] == f"{len(content)} B"
        assert entry["name"] == name
        assert str(entry["contentUrl"]).startswith("https://")
    assert set(entries(card, "FileSet")) == {
        f"{each}_images" for each in entries(card, "RecordSet") if each != "ground_truth"
    }
    assert len(entries(card, "RecordSet")) == len(image_sets()) + 1
    assert "not described" not in str(card["description"])


def test_where_the_images_lie(full_card: Card) -> None:
    sets = entries(full_card, "FileSet")
    contained = {name: entry["containedIn"] for name, entry in sets.items()}
    assert contained["queries_images"] == {"@id": "query_images_h5.tar"}
    assert contained["references_images"] == [{"@id": "references_0.zip"}, {"@id": "references_19.zip"}]
    assert contained["negative_pairs_images"] == [{"@id": f"negative_pair.tar.{each}"} for each in ("aa", "ab", "ac")]
    assert {entry["includes"] for entry in sets.values()} == {"**/*.jpg"}


def test_forms_and_licences(full_card: Card) -> None:
    files = entries(full_card, "FileObject")
    forms = {name: files[name]["encodingFormat"].partition("/")[2] for name in (*NDEC_FILES, "references_0.zip")}
    assert forms == {
        "public_ground_truth_h5.csv": "csv",
        "query_images_h5.tar": "x-tar",
        "references_0.zip": "zip",
        **{f"negative_pair.tar.{piece}": "octet-stream" for piece in ("aa", "ab", "ac")},
    }
    assert "one tar archive" in files["negative_pair.tar.ab"]["description"]
    assert "description" not in files["query_images_h5.tar"]
    ndec, disc21 = "https://creativecommons.org/licenses/by-nc/4.0/", licences()["DISC21"].url
    assert {name: entry["license"] for name, entry in files.items()} == {
        name: ndec if name in NDEC_FILES else disc21 for name in files
    }
    assert full_card["license"] == [ndec, disc21]


def test_the_names_of_images_give_their_ids(verified: Path, full_card: Card) -> None:
    """The patterns take out of file names what the package calls the images."""
    records = entries(full_card, "RecordSet")
    for name, path, example in (
        ("queries", "ndec/query_images_h5.tar", "Q25000.jpg"),
        ("references", "disc21/references_19.zip", "R999999.jpg"),
        ("training_images", "disc21/train_7.zip", "T350000.jpg"),
        ("negative_pairs", "ndec/negative_pair.tar.aa", "negative_pair/00001/T000005.jpg"),
    ):
        source = records[name]["field"][0]["source"]
        found = re.search(source["transform"]["regex"], example)
        assert found is not None
        rule = {"filename": "stem", "fullpath": "folder/stem"}[source["extract"]["fileProperty"]]
        assert found[1] in open_images(verified / path, id_rule=rule).ids  # type: ignore[arg-type]
    assert not re.search(records["queries"]["field"][0]["source"]["transform"]["regex"], "R000001.jpg")


def test_records_point_at_described_sets_alone(full: Path) -> None:
    def pointers() -> list[Card | None]:
        card = croissant(full)
        check_references(card)
        return [each.get("references") for each in entries(card, "RecordSet")["ground_truth"]["field"]]

    queries, references = {"field": {"@id": "queries/id"}}, {"field": {"@id": "references/id"}}
    assert pointers() == [queries, references]
    for path in (full / "disc21").glob("references_*"):
        path.unlink()
    assert pointers() == [queries, None]
    (full / "ndec" / "query_images_h5.tar").unlink()
    assert pointers() == [None, None]


def test_records_have_the_columns_of_the_file_and_keys_that_are_fields(full_card: Card) -> None:
    records = entries(full_card, "RecordSet")
    columns = [each["source"] for each in records["ground_truth"]["field"]]
    assert [each["extract"]["column"] for each in columns] == CSV.decode().split()[0].split(",")
    assert {each["fileObject"]["@id"] for each in columns} == {"public_ground_truth_h5.csv"}
    for name, entry in records.items():
        fields = [field["@id"] for field in entry["field"]]
        assert entry["key"] == {"@id": fields[0]}
        assert fields == [f"{name}/{field['name']}" for field in entry["field"]]


def test_an_empty_root(tmp_path: Path) -> None:
    card = croissant(tmp_path / "none")
    assert (card["distribution"], card["recordSet"]) == ([], [])
    assert check_references(card) == 0
    named = re.search(r"Not verified here, and not described: (.*)\.$", str(card["description"]))
    assert named is not None
    assert set(named[1].split(", ")) == NDEC_FILES
    assert {"name", "url", "license", "citeAs", "creator", "datePublished", "version", "conformsTo"} <= set(card)
    assert not (tmp_path / "none").exists()


def test_what_was_never_verified_is_named_and_not_described(tmp_path: Path) -> None:
    """A file without a digest cannot be described; neither can the images in it, least of all as an unpacked folder."""
    put(tmp_path, "ndec/query_images_h5.tar", tar_of(ndec_queries((25_000, 50_000))))
    put(tmp_path, "disc21/references_0.zip", zip_of(disc21_images("R", (1,))))
    card = croissant(tmp_path)
    assert (card["distribution"], card["recordSet"]) == ([], [])
    assert "query_images_h5.tar" in str(card["description"])
    verify(tmp_path, images=False)
    card = croissant(tmp_path)
    assert set(entries(card, "FileObject")) == {"query_images_h5.tar", "references_0.zip"}
    assert set(entries(card, "RecordSet")) == {"queries", "references"}
    assert "query_images_h5.tar" not in str(card["description"])


def test_what_is_in_the_record_but_gone_is_not_described(full: Path) -> None:
    (full / "ndec" / "query_images_h5.tar").unlink()
    card = croissant(full)
    assert "query_images_h5.tar" not in entries(card, "FileObject")
    assert "queries" not in entries(card, "RecordSet")
    assert str(card["description"]).endswith("not described: query_images_h5.tar.")
    check_references(card)


def test_an_unpacked_folder(tmp_path: Path) -> None:
    put(tmp_path, "disc21/references/R000001.jpg", jpeg(1))
    put(tmp_path, "ndec/negative_pair/00001/T000005.jpg", jpeg(2))
    sets = entries(croissant(tmp_path), "FileSet")
    assert {name: entry["includes"] for name, entry in sets.items()} == {
        "references_images": "disc21/references/**/*.jpg",
        "negative_pairs_images": "ndec/negative_pair/**/*.jpg",
    }
    assert not any("containedIn" in entry for entry in sets.values())


def test_a_folder_that_comes_before_an_incomplete_set_of_archives(tmp_path: Path) -> None:
    """Whence images are read is what is described."""
    put(tmp_path, "disc21/references/R000001.jpg", jpeg(1))
    put(tmp_path, "disc21/references_3.zip", zip_of(disc21_images("R", (150_000,))))
    trust(tmp_path, "disc21/references_3.zip")
    card = croissant(tmp_path)
    entry = entries(card, "FileSet")["references_images"]
    assert (entry["includes"], entry.get("containedIn")) == ("disc21/references/**/*.jpg", None)
    assert set(entries(card, "FileObject")) == {"references_3.zip"}


def test_nothing_tells_whose_disk_it_is(tmp_path: Path) -> None:
    put(tmp_path, "theirs/R000001.jpg", jpeg(1))
    adopt(recognise(tmp_path / "theirs"), tmp_path / "root")
    card = croissant(tmp_path / "root")
    assert set(entries(card, "RecordSet")) == {"references"}
    assert str(tmp_path) not in json.dumps(card)


def test_the_same_bytes_wherever_it_runs(
    full: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["data", "card", "--root", str(full)]) == 0
    first = capsys.readouterr().out
    assert str(tmp_path) not in first
    moved = full.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    assert run(["data", "card", "--root", moved.name, "--out", "card.json"]) == 0
    assert (tmp_path / "card.json").read_text(encoding="utf-8") == first
    monkeypatch.chdir(moved / "ndec")
    assert run(["data", "card", "--root", "..", "--out", "card.json"]) == 0
    assert (moved / "ndec" / "card.json").read_bytes() == (tmp_path / "card.json").read_bytes()
