"""The known splits, on made-up pairs with the true ids and counts, and on the published lists if they are at hand."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from made_truth import DEV, FINAL, HARD, OTHERS, PAIRS, put, records

from ndec_bench.data import known
from ndec_bench.data.ground_truth import GroundTruth, write_ground_truth
from ndec_bench.data.known import KNOWN, load, recognise
from ndec_bench.data.roots import find_split
from ndec_bench.errors import DataError

SHARED = Path(__file__).parents[2] / "shared" / "data"
DEV_1, DEV_2 = (SHARED / f"disc21_dev{half}_ground_truth.csv" for half in (1, 2))

Pairs = dict[str, str]


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Pairs]:
    """Pairs for each split: as many as the published ones, of queries with the same numbers."""
    monkeypatch.setattr(known, "KNOWN", records())
    made = {"ndec": PAIRS, "disc21-dev1": OTHERS, "disc21-dev2": PAIRS, "disc21-dev": DEV.pairs, "disc21-final": FINAL}
    return {name: dict(found) for name, found in made.items()}


def all_queries(name: str) -> tuple[str, ...]:
    return KNOWN[name].query_ids + (HARD if name == "ndec" else ())


def csv_of(name: str, pairs: Pairs) -> str:
    return write_ground_truth(GroundTruth(all_queries(name), tuple(sorted(pairs.items()))))


def without_header(name: str, pairs: Pairs) -> str:
    return csv_of(name, pairs).split("\n", 1)[1]


def matches_only(name: str, pairs: Pairs) -> str:
    return "".join(f"{query},{reference}\n" for query, reference in pairs.items())


def json_of(name: str, pairs: Pairs) -> str:
    return json.dumps({query: [pairs[query]] if query in pairs else [] for query in all_queries(name)})


def test_the_facts_agree_with_each_other() -> None:
    facts = {name: (split.queries, split.positives, split.test) for name, split in KNOWN.items()}
    assert facts == {
        "ndec": (49_252, 5_009, True),
        "disc21-dev1": (25_000, 4_991, False),
        "disc21-dev2": (25_000, 5_009, True),
        "disc21-dev": (50_000, 10_000, True),
        "disc21-final": (50_000, 10_000, True),
    }
    assert KNOWN["disc21-final"].query_ids[::49_999] == ("Q50000", "Q99999")
    assert KNOWN["disc21-dev"].query_ids == KNOWN["disc21-dev1"].query_ids + KNOWN["disc21-dev2"].query_ids
    assert len(set(known.reference_ids())) == 1_000_000
    assert known.reference_ids()[::999_999] == ("R000000", "R999999")


@pytest.mark.parametrize(
    ("name", "file", "form"),
    [
        ("ndec", "ndec/ground_truth.csv", csv_of),
        ("ndec", "public_ground_truth_h5.csv", csv_of),
        ("ndec", "ndec/public_ground_truth_h5.csv", without_header),
        ("disc21-dev1", "public_ground_truth.csv", csv_of),
        ("disc21-dev1", "disc21-dev1/ground_truth.csv", matches_only),
        ("disc21-dev1", "isc_25k_matching_val_set_gt.json", json_of),
        ("disc21-dev2", "disc21-dev2/isc_25k_matching_dev_set_gt.json", json_of),
        ("disc21-dev", "dev_ground_truth.csv", without_header),
        ("disc21-dev", "disc21-dev/dev_queries_groundtruth.csv", matches_only),
        ("disc21-final", "final_ground_truth.csv", without_header),
        ("disc21-final", "test_queries_groundtruth.csv", matches_only),
    ],
)
def test_published_files_are_found_in_every_dialect(
    tmp_path: Path, pairs: dict[str, Pairs], name: str, file: str, form: Callable[[str, Pairs], str]
) -> None:
    path = put(tmp_path, file, form(name, pairs[name]))
    split = find_split(name, tmp_path)
    assert (split.name, split.source, split.test) == (name, str(path), KNOWN[name].test)
    assert split.query_ids == all_queries(name)
    assert dict(split.truth.pairs) == pairs[name]
    assert not split.truth.matches_only
    assert split.reference_ids == known.reference_ids()
    assert (split.hard_negatives is None) == (name != "ndec")


def test_ndec_tells_its_hard_negatives_by_number(tmp_path: Path, pairs: dict[str, Pairs]) -> None:
    put(tmp_path, "public_ground_truth_h5.csv", csv_of("ndec", pairs["ndec"]))
    split = load("ndec", tmp_path)
    assert split.hard_negatives == frozenset(HARD)
    assert split.parts["isc"] == frozenset(KNOWN["disc21-dev2"].query_ids)
    assert {"Q25000", "Q49999"} <= split.parts["isc"]  # both ends belong


def test_halves_and_wholes_make_up_each_other(tmp_path: Path, pairs: dict[str, Pairs]) -> None:
    put(tmp_path / "a", "dev_queries_groundtruth.csv", matches_only("disc21-dev", pairs["disc21-dev"]))
    for half in ("disc21-dev1", "disc21-dev2"):
        split = load(half, tmp_path / "a")
        assert (split.query_ids, dict(split.truth.pairs)) == (KNOWN[half].query_ids, pairs[half])
        assert split.source is not None
        assert split.source.endswith(
            "dev_queries_groundtruth.csv, of DISC21 dev (phase 1, both halves) its 25,000 queries"
        )
    put(tmp_path / "b", "public_ground_truth.csv", csv_of("disc21-dev1", pairs["disc21-dev1"]))
    with pytest.raises(DataError, match=r"ground truth of DISC21 dev \(phase 1, both halves\) is not under"):
        load("disc21-dev", tmp_path / "b")
    put(tmp_path / "b", "public_ground_truth_h5.csv", csv_of("ndec", pairs["ndec"]))
    assert load("disc21-dev2", tmp_path / "b").truth == load("disc21-dev2", tmp_path / "a").truth
    joined = load("disc21-dev", tmp_path / "b")
    assert joined.sha256 == load("disc21-dev", tmp_path / "a").sha256
    assert joined.source is not None
    assert "public_ground_truth.csv and " in joined.source


@pytest.mark.parametrize("name", KNOWN)
def test_what_is_missing_says_where_it_goes(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        DataError, match=r'get it with "ndec-bench download .* ground-truth", or .*; score .* take .* --ground-truth'
    ):
        load(name, tmp_path)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no known split is called 'disc21'; known: ndec, disc21-dev1"):
        load("disc21", tmp_path)


def test_a_folder_cannot_claim_a_known_name(tmp_path: Path) -> None:
    put(tmp_path, "ndec/split.json", '{"name": "ndec"}')
    put(tmp_path, "ndec/ground_truth.csv", "Q25000,R1\nQ25001,\n")
    with pytest.raises(DataError, match="2 queries, NDEC has 49,252"):
        find_split("ndec", tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Q60000,\n", "", "49,251 queries, NDEC has 49,252"),
        ("Q{n},{r}\n", "Q74252,\n", r"24,999 ISC queries \(Q25000 to Q49999\), NDEC has 25,000"),
        ("Q{n},{r}\n", "Q0{n},{r}\n", "24,999 ISC queries"),
        ("Q60000,\n", "Q60000,R000001\n", "not the ground truth of NDEC: hard negative Q60000 has a reference"),
        ("Q{n},{r}\n", "Q{n},R1000000\n", "reference R1000000 does not exist, ids run from R000000 to R999999"),
        ("Q{n},{r}\n", "Q{n},\n", "5,008 true pairs, NDEC has 5,009"),
        ("Q{n},{r}\n", "Q{n},{other}\n", "the pairs are not those of NDEC: SHA-256 [0-9a-f]+, expected [0-9a-f]+;"),
    ],
)
def test_ndec_is_checked_before_it_is_used(
    tmp_path: Path, pairs: dict[str, Pairs], old: str, new: str, message: str
) -> None:
    query, reference = min(pairs["ndec"].items())
    words = {"n": query[1:], "r": reference, "other": min(pairs["disc21-final"].values())}
    text = csv_of("ndec", pairs["ndec"])
    assert text.count(old.format(**words)) == 1
    put(tmp_path, "ndec/ground_truth.csv", text.replace(old.format(**words), new.format(**words)))
    with pytest.raises(DataError, match=message):
        load("ndec", tmp_path)


def test_a_list_of_matches_is_not_ndec(tmp_path: Path, pairs: dict[str, Pairs]) -> None:
    put(tmp_path, "ndec/ground_truth.csv", matches_only("ndec", pairs["ndec"]))
    with pytest.raises(DataError, match="5,009 queries, NDEC has 49,252; put the file as published, with all its rows"):
        load("ndec", tmp_path)


def test_another_splits_file_is_told(tmp_path: Path, pairs: dict[str, Pairs]) -> None:
    put(tmp_path, "disc21-final/ground_truth.csv", csv_of("ndec", pairs["ndec"]))
    with pytest.raises(
        DataError, match=r"not the ground truth of DISC21 final \(phase 2\): query Q25000 does not belong"
    ):
        load("disc21-final", tmp_path)
    put(tmp_path, "dev_ground_truth.csv", csv_of("disc21-dev1", pairs["disc21-dev1"]))
    with pytest.raises(DataError, match=r"4,991 true pairs, DISC21 dev \(phase 1, both halves\) has 10,000"):
        load("disc21-dev2", tmp_path)


@pytest.mark.parametrize("name", KNOWN)
def test_all_queries_of_a_split_are_recognised(name: str) -> None:
    ids = all_queries(name)
    assert recognise(ids) == name
    assert recognise(reversed(ids), ["R000000", "R999999"]) == name
    assert recognise(ids, ["R000000", "T000001"]) is None
    assert recognise((*ids, "X1")) is None


@pytest.mark.parametrize(
    ("ids", "name"),
    [
        ((), None),
        (("Q25000",), None),  # dev II, dev, NDEC
        (("Q00001",), None),  # dev I, dev
        (("Q00001", "Q49999"), "disc21-dev"),  # both halves, nothing beyond
        (("Q00001", "Q50000"), None),
        (("Q25000", "Q50000"), None),  # NDEC, or dev II and final in one file
        (("Q50000", "Q99999"), None),  # final, or NDEC in part
        (KNOWN["disc21-dev2"].query_ids + KNOWN["disc21-final"].query_ids, None),
        (KNOWN["disc21-final"].query_ids[:-1], None),
        (("Q000001", "Q49999"), None),
    ],
)
def test_in_doubt_nothing_is_recognised(ids: tuple[str, ...], name: str | None) -> None:
    assert recognise(ids) == name


def test_split_folders_are_recognised_by_their_queries(tmp_path: Path) -> None:
    for folder in ("toy-1", "broken"):
        put(tmp_path, f"{folder}/split.json", json.dumps({"name": folder}))
        put(tmp_path, f"{folder}/ground_truth.csv", "Q1,R1\nQ2,\n")
        put(tmp_path, f"{folder}/hard_negatives.txt", "Q2\n")
    put(tmp_path, "toy-1/references.txt", "R1\nR2\n")
    assert recognise(["Q2", "Q1"], ["R2"], tmp_path) == "toy-1"
    assert recognise(["Q2", "Q1"], ["R2"], tmp_path / "toy-1") == "toy-1"
    assert recognise(["Q1"], ["R2"], tmp_path) is None
    assert recognise(["Q1", "Q2"], ["R3"], tmp_path) is None
    assert recognise(["Q1", "Q2"]) is None
    put(tmp_path, "broken/references.txt", "R1\nR2\n")
    assert recognise(["Q1", "Q2"], ["R2"], tmp_path) is None  # two folders with the same queries


@pytest.mark.skipif(not (DEV_1.is_file() and DEV_2.is_file()), reason="the published lists are not at hand")
def test_the_published_lists_have_the_recorded_digests(tmp_path: Path) -> None:
    (tmp_path / "public_ground_truth.csv").symlink_to(DEV_1)
    (tmp_path / "disc21-dev2").mkdir()
    (tmp_path / "disc21-dev2" / "ground_truth.csv").symlink_to(DEV_2)
    for name in ("disc21-dev1", "disc21-dev2", "disc21-dev"):
        split = load(name, tmp_path)
        assert (len(split.query_ids), len(split.truth.pairs)) == (KNOWN[name].queries, KNOWN[name].positives)
    # NDEC as its paper describes it: dev II, and hard negatives without a match.
    text = DEV_2.read_text() + "".join(f"{query},\n" for query in HARD)
    (tmp_path / "public_ground_truth_h5.csv").write_text(text)
    ndec = load("ndec", tmp_path)
    assert (len(ndec.query_ids), len(ndec.hard_negatives or ())) == (49_252, 24_252)
    assert ndec.truth.pairs == load("disc21-dev2", tmp_path).truth.pairs
