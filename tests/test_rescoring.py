"""A row scored again: records and cards found, files fetched and refused, scores compared, samples drawn and judged."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
import trustme
from connect_proxy import ConnectProxy
from drive_host import DriveHost
from ranged import POLICY
from static_host import Fault, StaticHost

from ndec_bench.data.split import Split
from ndec_bench.descriptors import Descriptors, Submission, read_submission, write_descriptors, write_submission
from ndec_bench.download import public
from ndec_bench.errors import DataError, InterruptedRun, NetworkError, SubmissionError, UsageError
from ndec_bench.results.describing import Describing
from ndec_bench.results.differences import compared
from ndec_bench.results.record import PointAtPrecision, write_result
from ndec_bench.scoring.score import Options, score_file
from ndec_bench.submissions.card import Files
from ndec_bench.verification import redescribe as redescribing
from ndec_bench.verification import rescore as rescoring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ndec_bench.results.record import Result

QUERIES = tuple(f"Q{i:05d}" for i in range(6))
REFERENCES = tuple(f"R{i:06d}" for i in range(12))


@pytest.fixture
def split(tmp_path: Path) -> Split:
    folder = tmp_path / "toy-1"
    folder.mkdir()
    (folder / "split.json").write_text(json.dumps({"name": "toy-1", "digest": "a" * 64}))
    pairs = "".join(f"{query},{reference}\n" for query, reference in zip(QUERIES[:3], REFERENCES[:3], strict=True))
    (folder / "ground_truth.csv").write_text(f"query_id,reference_id\n{pairs}Q00003,\nQ00004,\nQ00005,\n")
    (folder / "hard_negatives.txt").write_text("Q00005\n")
    (folder / "references.txt").write_text("".join(f"{reference}\n" for reference in REFERENCES))
    return Split.from_folder(folder)


def vectors() -> tuple[np.ndarray, np.ndarray]:
    """Queries and references of eight numbers; the first three queries lie near their references."""
    generator = np.random.default_rng(7)
    references = generator.normal(size=(12, 8)).astype(np.float32)
    queries = generator.normal(size=(6, 8)).astype(np.float32)
    queries[:3] = references[:3] + 0.1 * queries[:3]
    return queries, references


@pytest.fixture
def file(tmp_path: Path) -> Path:
    queries, references = vectors()
    norms = np.linalg.norm(queries, axis=1), np.linalg.norm(references, axis=1)
    submission = Submission(
        Descriptors(QUERIES, queries),
        Descriptors(REFERENCES, references),
        split="toy-1",
        query_norms=norms[0],
        reference_norms=norms[1],
    )
    path = tmp_path / "mine.h5"
    write_submission(path, submission, {"baseline": "somebody"})
    return path


@pytest.fixture
def record(file: Path, split: Split) -> Result:
    return score_file(file, split, options=Options(name="mine", replicates=20))


def test_every_choice_of_the_record_is_repeated(file: Path, split: Split) -> None:
    options = Options(
        name="mine", replicates=30, precisions=(0.5, 0.95), threshold=-1.5, asymmetric="tilt:2", all_protocols=True
    )
    recorded = score_file(file, split, options=options)
    again = rescoring.rescore(recorded, file, split)
    assert again.model_dump(exclude={"provenance"}) == recorded.model_dump(exclude={"provenance"})
    assert compared(recorded, again).verdict == "OK"
    assert recorded.protocols is not None
    entries = {
        name: entry.model_copy(update={"signature": entry.signature.replace("|v:", "|v:9.")})
        for name, entry in recorded.protocols.items()
    }
    assert compared(recorded.model_copy(update={"protocols": entries}), again).verdict == "OK"
    plain = rescoring.rescore(recorded.model_copy(update={"asymmetric": "none"}), file, split)
    assert compared(recorded, plain).verdict == "FAIL"


@pytest.mark.parametrize("field", ["micro_ap", "recall_at_10", "replicates", "micro_ap_interval"])
def test_a_score_that_does_not_follow_from_the_same_list_fails(record: Result, field: str) -> None:
    part = record.parts["all"]
    assert part.replicates is not None
    forged = {
        "micro_ap": part.micro_ap - 1e-5,
        "recall_at_10": 0.99,
        "replicates": part.replicates.model_copy(update={"micro_ap": [x + 0.05 for x in part.replicates.micro_ap]}),
        "micro_ap_interval": (0.98, 0.99),
    }
    changed = part.model_copy(update={field: forged[field]})
    comparison = compared(record.model_copy(update={"parts": {**record.parts, "all": changed}}), record)
    assert (comparison.verdict, comparison.same_list) == ("FAIL", True)
    assert comparison.differences[0].field.startswith(f"parts.all.{field}")


def test_a_forged_cost_of_the_hard_negatives_fails(record: Result) -> None:
    assert record.hard_negatives is not None
    account = record.hard_negatives.model_copy(update={"cost": 0.25})
    assert compared(record.model_copy(update={"hard_negatives": account}), record).verdict == "FAIL"


def test_a_record_that_says_less_of_the_same_list_is_close(record: Result) -> None:
    assert record.direction is not None
    assert compared(record.model_copy(update={"direction": None}), record).verdict == "close"


@pytest.mark.parametrize(
    ("change", "field"),
    [({"references": 11}, "references"), ({"partial": True}, "partial"), ({"own_threshold": -3.0}, "own_threshold")],
)
def test_facts_about_the_list_count_too(record: Result, change: dict[str, Any], field: str) -> None:
    comparison = compared(record.model_copy(update=change), record)
    assert comparison.verdict == "FAIL"
    assert [one.field for one in comparison.differences] == [field]


def test_another_list_with_nearly_the_same_scores_is_close(record: Result) -> None:
    other = record.model_copy(update={"predictions_sha256": "0" * 64})
    assert compared(other, record).verdict == "close"
    never = record.parts["isc"].model_copy(update={"recall_at_p90": None})
    lost = other.model_copy(update={"parts": {**other.parts, "isc": never}})
    assert compared(lost, record).verdict == "FAIL"
    fewer = other.model_copy(update={"parts": {"all": other.parts["all"]}})
    assert compared(fewer, record).verdict == "FAIL"


def test_the_last_bits_of_a_library_are_no_difference(record: Result) -> None:
    account = record.hard_negatives
    assert account is not None
    assert account.cost is not None
    moved = record.model_copy(
        update={"hard_negatives": account.model_copy(update={"cost": account.cost * (1 + 1e-12)})}
    )
    assert compared(moved, record).verdict == "OK"


def test_records_are_found_by_protocol(record: Result, tmp_path: Path) -> None:
    results = tmp_path / "results"
    write_result(results / "ndec-1" / "mine.json", record)
    write_result(results / "isc2021" / "mine.json", record.model_copy(update={"protocol": "isc2021"}))
    (results / "README.md").write_text("no folder")
    assert [one.protocol for one in rescoring.recorded_results("mine", results)] == ["isc2021", "ndec-1"]
    assert [one.protocol for one in rescoring.recorded_results("mine", results, "ndec-1")] == ["ndec-1"]
    with pytest.raises(DataError, match="no result of yours"):
        rescoring.recorded_results("yours", results)
    write_result(results / "ndec-1" / "yours.json", record)
    with pytest.raises(DataError, match=r"yours\.json: holds the result of mine under ndec-1"):
        rescoring.recorded_results("yours", results)


@pytest.mark.parametrize("name", ["../mine", "", "a/b", "A", "mine\n"])
def test_names_lead_nowhere_else(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot name a submission"):
        rescoring.recorded_results(name, tmp_path)
    with pytest.raises(UsageError, match="cannot name a submission"):
        rescoring.card_of(name, tmp_path)


def test_records_that_hold_nonsense_are_told(record: Result) -> None:
    with pytest.raises(DataError, match="has no part all"):
        rescoring.choices_of(record.model_copy(update={"parts": {}}))
    point = PointAtPrecision(recall=None, threshold=None)
    odd = record.parts["all"].model_copy(update={"recall_at_precision": {"high": point}})
    with pytest.raises(DataError, match="a key of recall_at_precision is not a number"):
        rescoring.choices_of(record.model_copy(update={"parts": {"all": odd}}))


def test_another_split_is_told_before_the_search(record: Result, file: Path, split: Split) -> None:
    digests = record.digests.model_copy(update={"split": "b" * 64})
    with pytest.raises(DataError, match=f"digest of the split, found {split.sha256}, expected {'b' * 64}"):
        rescoring.rescore(record.model_copy(update={"digests": digests}), file, split)


def run_of(record: Result, command: str | None, baseline: str | None = "thumbnail 1") -> rescoring.RecordedRun:
    provenance = record.provenance.model_copy(update={"command": command})
    changed = {"describing": Describing(baseline=baseline), "provenance": provenance}
    return rescoring.recorded_run(record.model_copy(update=changed))


@pytest.mark.parametrize(
    ("command", "steps"),
    [
        ("ndec-bench run thumbnail --split toy-1 --name mine", None),
        ("ndec-bench run thumbnail --no-steps", ()),
        ("ndec-bench run thumbnail --step centre --step pca:dim=2,whiten=yes", ("centre", "pca:dim=2,whiten=yes")),
        ("ndec-bench run thumbnail --asymmetric none --check", None),
        (None, None),
    ],
)
def test_commands_that_are_repeated(record: Result, command: str | None, steps: tuple[str, ...] | None) -> None:
    assert run_of(record, command) == rescoring.RecordedRun("thumbnail", steps, command)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("rm -rf /", 'expected "ndec-bench run thumbnail"'),
        ("ndec-bench run phash", 'expected "ndec-bench run thumbnail"'),
        ("ndec-bench demo --size small", 'expected "ndec-bench run thumbnail"'),
        ("ndec-bench run 'thumbnail", 'expected "ndec-bench run thumbnail"'),
        ("ndec-bench run thumbnail --weights /etc/passwd", "'--weights' is not an option that is repeated"),
        ("ndec-bench run thumbnail; id", 'expected "ndec-bench run thumbnail"'),
        ("ndec-bench run thumbnail --step", "'--step' is not an option that is repeated"),
        ("ndec-bench run thumbnail --split ndec", "--split is 'ndec', in the record 'toy-1'"),
        ("ndec-bench run thumbnail --asymmetric ratio", "--asymmetric is 'ratio', in the record 'none'"),
    ],
)
def test_other_commands_are_refused(record: Result, command: str, reason: str) -> None:
    with pytest.raises(DataError, match="is not repeated") as caught:
        run_of(record, command)
    assert reason in str(caught.value)


@pytest.mark.parametrize("baseline", [None, "a 1 and b 1", "../x 1", "thumbnail"])
def test_a_record_without_a_baseline_says_so(record: Result, baseline: str | None) -> None:
    with pytest.raises(DataError, match="names no baseline"):
        run_of(record, None, baseline)


CONTENT = np.random.default_rng(5).bytes(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[StaticHost]:
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    with StaticHost({"/mine.h5": CONTENT}) as running:
        yield running


def fetch(found: Files, cache: Path, **options: Any) -> Path:  # noqa: ANN401 -- those of the fetch itself
    """The test's host is on this machine, which only a person may say is to be trusted."""
    return rescoring.fetch(found, cache, private=True, **options)


def files(host: StaticHost, sha256: str = DIGEST, path: str = "/mine.h5") -> Files:
    return Files(name="mine.h5", sha256=sha256, url=host.url + path)


def test_a_file_is_fetched_once_and_kept_under_its_digest(host: StaticHost, tmp_path: Path) -> None:
    told: list[str] = []
    cache = tmp_path / "cache"
    path = fetch(files(host), cache, policy=POLICY, tell=told.append)
    assert path == cache / f"{DIGEST}.h5"
    assert path.read_bytes() == CONTENT
    assert told[0].startswith(f"fetching mine.h5 from 127.0.0.1: {len(CONTENT):,} bytes, to {cache} (")
    asked = len(host.requests)
    assert fetch(files(host), cache, policy=POLICY) == path
    assert len(host.requests) == asked
    assert sorted(one.name for one in cache.iterdir() if one.suffix != ".running") == [f"{DIGEST}.h5"]


def test_a_damaged_copy_is_fetched_again(host: StaticHost, tmp_path: Path) -> None:
    path = fetch(files(host), tmp_path, policy=POLICY)
    path.write_bytes(CONTENT[:-1])
    assert fetch(files(host), tmp_path, policy=POLICY).read_bytes() == CONTENT


def test_a_fetch_goes_on_where_it_stopped(host: StaticHost, tmp_path: Path) -> None:
    def stop(_stage: str, done: int, _total: int) -> None:
        if done > 100_000:
            raise KeyboardInterrupt

    with pytest.raises(InterruptedRun, match="are kept"):
        fetch(files(host), tmp_path, policy=POLICY, progress=stop)
    assert not (tmp_path / f"{DIGEST}.h5").exists()
    sent = sum(one.sent for one in host.requests)
    assert fetch(files(host), tmp_path, policy=POLICY).read_bytes() == CONTENT
    assert host.requests[-1].range is not None
    assert sent > 0


def test_another_digest_is_refused_and_nothing_is_left(host: StaticHost, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=f"SHA-256 {DIGEST}, expected {'0' * 64}"):
        fetch(files(host, "0" * 64), tmp_path, policy=POLICY)
    assert [one.name for one in tmp_path.iterdir() if one.suffix != ".running"] == []


def test_a_web_page_in_place_of_the_file_is_told(host: StaticHost, tmp_path: Path) -> None:
    host.fault("/mine.h5", Fault(html="<!doctype html><title>Sign in</title>"), always=True)
    with pytest.raises(NetworkError, match="web page"):
        fetch(files(host), tmp_path, policy=POLICY)


def test_a_file_too_large_is_refused_before_a_byte_of_it(
    host: StaticHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rescoring, "MAX_BYTES", 299_999)
    with pytest.raises(DataError, match="300,000 bytes, at most 299,999 are fetched"):
        fetch(files(host), tmp_path, policy=POLICY)
    monkeypatch.setattr(rescoring, "MAX_BYTES", 1 << 20)
    monkeypatch.setattr(public, "disk_free", lambda _: 1 << 20)
    with pytest.raises(DataError, match="300,000 bytes are to be fetched and 1 GiB to be left"):
        fetch(files(host), tmp_path, policy=POLICY)


def test_only_public_addresses_are_asked_unless_told(host: StaticHost, tmp_path: Path) -> None:
    with pytest.raises(
        NetworkError, match=r"127\.0\.0\.1 is 127\.0\.0\.1, an address of this machine.*fetch it yourself"
    ):
        rescoring.fetch(files(host), tmp_path, policy=POLICY)
    named = (files(host).url or "").replace("127.0.0.1", "localhost")
    with pytest.raises(NetworkError, match="localhost is"):
        rescoring.fetch(Files(name="mine.h5", sha256=DIGEST, url=named), tmp_path, policy=POLICY)
    assert host.requests == []


def test_without_an_address_there_is_nothing_to_fetch(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the card names no address; give the file with --file"):
        rescoring.fetch(Files(name="mine.h5", sha256=DIGEST), tmp_path)


def test_the_hubs_page_of_a_file_leads_to_the_file() -> None:
    page = "https://huggingface.co/datasets/a/b/blob/main/mine.h5"
    assert public.served(page) == "https://huggingface.co/datasets/a/b/resolve/main/mine.h5"
    elsewhere = "https://example.org/blob/mine.h5"
    assert public.served(elsewhere) == elsewhere


@pytest.mark.parametrize(
    "path", ["file/d/{}/view?usp=sharing", "uc?id={}&export=download", "open?id={}", "uc?export=download&id={}"]
)
def test_a_file_on_drive_is_fetched_as_drive_wants_it(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive_id = "1AbCdEfGhIjKlMnOpQrStUvWxYz"
    authority, drive = trustme.CA(), DriveHost()
    drive.add(drive_id, CONTENT, scanned=False)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "authority.pem"))
    asked = Files(name="mine.h5", sha256=DIGEST, url=f"https://drive.google.com/{path.format(drive_id)}")
    with ConnectProxy(authority, drive.hosts) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        fetched = rescoring.fetch(asked, tmp_path / "cache", policy=POLICY)
        assert fetched.read_bytes() == CONTENT
        wrong = asked.model_copy(update={"sha256": "0" * 64})
        with pytest.raises(NetworkError, match=f"SHA-256 {DIGEST}, expected {'0' * 64}; it was removed"):
            rescoring.fetch(wrong, tmp_path / "cache", policy=POLICY)
        drive.closing.set()
    assert proxy.refused == []


def test_a_given_file_must_be_the_one_of_the_record(file: Path, tmp_path: Path) -> None:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert rescoring.checked_file(file, digest) == file
    with pytest.raises(DataError, match=f"found {digest}, expected {'0' * 64}"):
        rescoring.checked_file(file, "0" * 64)
    with pytest.raises(DataError, match="missing or not a file"):
        rescoring.checked_file(tmp_path, digest)


def test_a_sample_follows_from_file_count_and_seed(file: Path) -> None:
    with read_submission(file) as submission:
        sample = redescribing.drawn(submission, 6, 1)
        assert (len(sample.queries), len(sample.references), len(sample)) == (3, 3, 6)
        assert sample == redescribing.drawn(submission, 6, 1)
        assert any(redescribing.drawn(submission, 6, seed) != sample for seed in range(2, 6))
        assert set(sample.queries) < set(QUERIES)
        others = [redescribing.drawn(replace(submission, sha256=digit * 64), 6, 1) for digit in "0123"]
        assert any(other != sample for other in others)
        assert len(redescribing.drawn(submission, 2, 1)) == 2
        assert redescribing.drawn(submission, 5, 1).references != sample.references[:3]
        assert redescribing.drawn(submission, 1000, 1).references == REFERENCES
        with pytest.raises(UsageError, match="at least 2"):
            redescribing.drawn(submission, 1, 1)


def described(tmp_path: Path, *, moved: str = "", by: float = 0.0, norm: float = 1.0) -> dict[Any, Path]:
    """Write descriptor files of every second image as `vectors` has them; one vector is moved."""
    paths = {}
    for side, ids, rows in zip(("queries", "references"), (QUERIES, REFERENCES), vectors(), strict=True):
        norms = np.linalg.norm(rows, axis=1)
        if moved in ids:
            rows[ids.index(moved)] *= np.float32(1 + by)
            rows[ids.index(moved), 0] += np.float32(by)
            norms[ids.index(moved)] *= np.float32(norm)
        paths[side] = tmp_path / f"{side}-again.h5"
        write_descriptors(paths[side], Descriptors(ids[::2], rows[::2]), {"metric": "l2"}, norms=norms[::2])
    return paths


def test_the_same_vectors_agree(file: Path, tmp_path: Path) -> None:
    with read_submission(file) as submission:
        found = redescribing.agreement(submission, described(tmp_path))
    assert (found.images, found.passed, found.length, found.norm) == (9, True, 0.0, 0.0)
    assert found.lowest_cosine == pytest.approx(1.0)


@pytest.mark.parametrize("moved", ["Q00004", "R000006"])
def test_one_vector_that_lies_elsewhere_fails_and_is_named(file: Path, tmp_path: Path, moved: str) -> None:
    with read_submission(file) as submission:
        turned = redescribing.agreement(submission, described(tmp_path, moved=moved, by=1.0))
        assert not turned.passed
        assert (turned.lowest_id, turned.length_id) == (moved, moved)
        assert turned.lowest_cosine < 0.999
        longer = redescribing.agreement(submission, described(tmp_path, moved=moved, norm=1.02))
        assert not longer.passed
        assert (longer.norm, longer.norm_id) == (pytest.approx(0.02 / 1.02), moved)


def test_a_length_that_no_cosine_shows_fails(file: Path, tmp_path: Path) -> None:
    paths = described(tmp_path)
    with h5py.File(paths["references"], "r+") as opened:
        opened["vectors"][2] *= 1.02
    with read_submission(file) as submission:
        found = redescribing.agreement(submission, paths)
    assert found.lowest_cosine == pytest.approx(1.0)
    assert (found.length, found.length_id, found.passed) == (pytest.approx(0.02, rel=1e-4), "R000004", False)


def test_norms_on_one_side_alone_and_other_dimensions_are_refused(file: Path, tmp_path: Path) -> None:
    paths = described(tmp_path)
    with h5py.File(paths["queries"], "r+") as opened:
        del opened["norms"]
    with read_submission(file) as submission:
        with pytest.raises(SubmissionError, match="no norms, the submission has some"):
            redescribing.agreement(submission, paths)
        wide = Descriptors(QUERIES, np.eye(6, 9, dtype=np.float32))
        write_descriptors(paths["queries"], wide, {"metric": "l2"})
        with pytest.raises(SubmissionError, match="9 dimensions after the steps, 8 in the submission"):
            redescribing.agreement(submission, paths)


def test_steps_that_a_sample_cannot_repeat_are_refused(tmp_path: Path) -> None:
    assert redescribing.steps_of({}) == ()
    assert redescribing.steps_of({"steps": "centre | l2"}) == ("centre", "l2")
    with pytest.raises(UsageError, match="step pca is fitted on queries or references"):
        redescribing.steps_of({"steps": "pca:dim=2,whiten=yes,on=references"})
    with pytest.raises(UsageError, match="step mean joins several files"):
        redescribing.steps_of({"steps": "mean"})
    with pytest.raises(UsageError, match="is unknown"):
        redescribing.steps_of({"steps": "rm -rf"})
    with pytest.raises(UsageError, match="the steps centre l2 need the descriptors of the background"):
        redescribing.check_background({"steps": "centre | l2"}, None)
    background = tmp_path / "background.h5"
    background.write_bytes(b"background")
    digest = hashlib.sha256(b"background").hexdigest()
    redescribing.check_background({"steps": "centre", "background_sha256": digest}, background)
    redescribing.check_background({"steps": "l2", "background_sha256": "0" * 64}, None)
    with pytest.raises(DataError, match=f"found {digest}, expected {'0' * 64}"):
        redescribing.check_background({"steps": "centre", "background_sha256": f"{'0' * 64} | {digest}"}, background)
