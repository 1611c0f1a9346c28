"""The trust file: what it says, when it is believed, and what damage it survives."""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ndec_bench.data.trust import TRUST_FILE, FileRecord, Trust, accept, read_trust, record, sha256_of
from ndec_bench.errors import DataError, InterruptedRun
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from pathlib import Path


def trusted(content: bytes = b"abc", mtime_ns: int = 1) -> FileRecord:
    digest = hashlib.sha256(content).hexdigest()
    return FileRecord(bytes=len(content), sha256=digest, source="meta", mtime_ns=mtime_ns)


def test_records_and_licences_are_kept_together(tmp_path: Path) -> None:
    assert read_trust(tmp_path) == Trust()
    record(tmp_path, "ndec/b.tar", trusted(b"b"))
    accept(tmp_path, ("DISC21",))
    record(tmp_path, "disc21/a.zip", trusted(b"a"))
    accept(tmp_path, ("CC-BY-NC-4.0", "DISC21"))
    found = read_trust(tmp_path)
    assert found.files == {"ndec/b.tar": trusted(b"b"), "disc21/a.zip": trusted(b"a")}
    assert found.licences_accepted == ("CC-BY-NC-4.0", "DISC21")


def test_the_file_is_the_same_whatever_the_order(tmp_path: Path) -> None:
    for folder, names in (("x", "ab"), ("y", "ba")):
        for name in names:
            record(tmp_path / folder, name, trusted(name.encode()))
    assert (tmp_path / "x" / TRUST_FILE).read_bytes() == (tmp_path / "y" / TRUST_FILE).read_bytes()


def test_threads_do_not_lose_each_others_records(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: record(tmp_path, f"f{n}", trusted(str(n).encode())), range(40)))
    assert len(read_trust(tmp_path).files) == 40


def test_a_record_describes_one_size_and_one_time(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"abc")
    entry = trusted(mtime_ns=path.stat().st_mtime_ns)
    assert entry.describes(path)
    assert not entry.model_copy(update={"bytes": 4}).describes(path)
    assert not entry.model_copy(update={"mtime_ns": 5}).describes(path)
    assert not entry.describes(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"files": {"a": {}}}',
        json.dumps({"files": {"a": {"bytes": 1, "sha256": "x" * 64, "source": "s", "mtime_ns": 1}}}),
        json.dumps({"files": {"a": {"bytes": -1, "sha256": "0" * 64, "source": "s", "mtime_ns": 1}}}),
    ],
)
def test_damage_is_told_not_believed(tmp_path: Path, content: str) -> None:
    (tmp_path / TRUST_FILE).write_text(content)
    with pytest.raises(DataError, match=r"ndec-bench\.lock\.json: damaged .*; move it away"):
        read_trust(tmp_path)
    with pytest.raises(DataError):
        record(tmp_path, "a", trusted())
    assert (tmp_path / TRUST_FILE).read_text() == content


def test_a_file_is_digested_with_progress(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(bytes(3_000_000))
    seen: list[tuple[str, int, int]] = []
    digest = sha256_of(path, lambda stage, done, total: seen.append((stage, done, total)), "reading")
    assert digest == hashlib.sha256(bytes(3_000_000)).hexdigest()
    assert seen[-1] == ("reading", 3_000_000, 3_000_000)
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})


def test_reading_stops_when_told(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"x")
    stop = threading.Event()
    stop.set()
    with pytest.raises(InterruptedRun):
        sha256_of(path, silent, "reading", stop)
    with pytest.raises(DataError, match="nowhere: cannot be read"):
        sha256_of(tmp_path / "nowhere", silent, "reading")
