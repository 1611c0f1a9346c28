"""``ndec-bench data`` as users see it: tables, JSON, exit codes."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

import pytest
from made_truth import put
from small_archives import disc21_images, jpeg, zip_of

from ndec_bench.cli import run
from ndec_bench.data.layouts import SOURCES_FILE, adopt, recognise
from ndec_bench.data.trust import TRUST_FILE, FileRecord, record

if TYPE_CHECKING:
    from pathlib import Path


class Ask(Protocol):
    def __call__(self, *arguments: str) -> tuple[int, str]: ...


def shard(root: Path, number: int = 3) -> Path:
    """Write an archive with two references, and the record that it was verified."""
    first = 50_000 * number
    content = zip_of(disc21_images("R", (first, first + 1)))
    path = put(root, f"disc21/references_{number}.zip", content)
    trusted = FileRecord(
        bytes=len(content), sha256=sha256(content).hexdigest(), source="meta", mtime_ns=path.stat().st_mtime_ns
    )
    record(root, f"disc21/{path.name}", trusted)
    return path


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run ``ndec-bench data`` on the root of this test; give the exit code and what stood on stdout."""

    def asked(*arguments: str) -> tuple[int, str]:
        code = run(["data", *arguments, "--root", str(tmp_path)])
        return code, capsys.readouterr().out

    return asked


def row(text: str, begin: str) -> str:
    """Return the first line of a table that begins so, with single spaces."""
    return next(" ".join(line.split()) for line in text.splitlines() if line.strip().startswith(begin))


def test_status_of_an_empty_root(tmp_path: Path, ask: Ask) -> None:
    code, text = ask("status")
    assert code == 0
    assert text.startswith(f"Data root {tmp_path} (")
    assert row(text, "references_") == "references_0..19.zip missing - ~167 GB -"
    assert row(text, "negative_pair") == "negative_pair.tar.aa..ac missing - ~121 GB -"
    assert row(text, "ndec queries") == "ndec queries missing - 49,252"
    assert "sscd" not in text
    assert text.endswith("Ready: nothing yet\nNext: ndec-bench download ndec ground-truth queries references\n")


def test_missing_and_changed_shards_are_named_and_many_counted(tmp_path: Path, ask: Ask) -> None:
    path = shard(tmp_path)
    assert "1 of 20 verified, missing 0, 1, 2, 4, 5, 6 and 13 others" in row(ask("status")[1], "references_")
    path.write_bytes(b"other")
    assert "changed 3, missing 0, 1, 2" in row(ask("status")[1], "references_")


def test_shards_are_one_row_that_names_the_missing(tmp_path: Path, ask: Ask) -> None:
    shard(tmp_path)
    for number in (*range(2), *range(4, 10), *range(11, 20)):
        put(tmp_path, f"disc21/references_{number}.zip")
    put(tmp_path, "disc21/references_10.zip.part", bytes(2_000))
    put(tmp_path, "ndec/negative_pair.tar.aa")
    _, text = ask("status")
    assert row(text, "references_").startswith(
        "references_0..19.zip 1 of 20 verified, 17 of 20 present, partial 10, missing 2 "
    )
    assert row(text, "references_").endswith(" meta")
    assert row(text, "negative_pair").startswith("negative_pair.tar.aa..ac 1 of 3 present, missing ab, ac ")
    assert row(text, "disc21 references") == "disc21 references partial 18 of 20 archives 1,000,000"


def test_a_folder_that_is_gone_is_shown(tmp_path: Path, ask: Ask) -> None:
    put(tmp_path, "theirs/a/R000001.jpg", jpeg(1))
    put(tmp_path, "theirs/b/R000002.jpg", jpeg(2))
    adopt(recognise(tmp_path / "theirs"), tmp_path)
    (tmp_path / "theirs" / "b").rename(tmp_path / "gone")
    gone = f"GONE: {tmp_path / 'theirs' / 'b'}, which was taken in place for disc21 references\n"
    assert gone in ask("status")[1]


def test_status_as_json(tmp_path: Path, ask: Ask) -> None:
    shard(tmp_path)
    code, text = ask("status", "--json")
    found = json.loads(text)
    assert code == 0
    assert set(found) == {"root", "disk_free", "files", "image_sets", "ground_truths", "splits", "ready", "next"}
    file = next(each for each in found["files"] if each["name"] == "references_3.zip")
    assert (file["state"], file["source"], file["bytes_exact"]) == ("verified", "meta", True)


def test_status_of_a_damaged_root(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, SOURCES_FILE)
    assert run(["data", "status", "--root", str(tmp_path)]) == 4
    assert f"{tmp_path / SOURCES_FILE}: damaged" in capsys.readouterr().err
    assert run(["data", "status", "--root", str(tmp_path), "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["error"]["exit_code"] == 4


def test_the_root_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NDEC_ROOT", str(tmp_path / "there"))
    assert run(["data", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["root"] == str(tmp_path / "there")


def test_verify_of_nothing_is_an_error(ask: Ask) -> None:
    code, text = ask("verify", "--json")
    assert code == 4
    assert "nothing to verify is there" in json.loads(text)["error"]["message"]


def test_verify_of_an_unknown_part_is_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "verify", "--root", str(tmp_path), "--part", "nonsense"]) == 2
    assert "no part is called 'nonsense'; known: " in capsys.readouterr().err


def test_the_card_of_a_damaged_root(tmp_path: Path, ask: Ask) -> None:
    put(tmp_path, TRUST_FILE)
    assert ask("card", "--out", str(tmp_path / "card.json"))[0] == 4
    assert not (tmp_path / "card.json").exists()
