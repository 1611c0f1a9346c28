"""The splits of NDEC and DISC21 as data: ids, counts, digests, and the files in which their ground truth is published.

Facts: Douze et al., "The 2021 Image Similarity Dataset and Challenge" (arXiv 2106.09672), for DISC21; Wang et al.,
arXiv 2205.12358, for NDEC (49,252 queries, 24,252 of them hard negatives). The ISC queries of NDEC are the second half
of the DISC21 dev queries, so both have the same true pairs.

NDEC's hard negatives are numbered where DISC21 final has its queries, from Q50000 on, but show other pictures. The two
id spaces never meet here: NDEC's queries come from NDEC's own list, and no id alone is taken for one or the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from ndec_bench.data.ground_truth import GroundTruth, read_ground_truth
from ndec_bench.data.ids import bare
from ndec_bench.data.split import GROUND_TRUTH_FILE, Split
from ndec_bench.errors import DataError, MissingDataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

REFERENCES = 1_000_000
_REFERENCE = re.compile(r"R[0-9]{6}")
_QUERY = re.compile(r"Q([0-9]{5,18})")
_ISC = range(25_000, 50_000)

DERIVED_FILE = "derived_ground_truth.csv"
"""Ground truth of NDEC made from that of DISC21 dev, in the folder of NDEC."""

DISC21_FOLDER = "disc21"

_SHARED_IMAGES = {"references": ("disc21", "references"), "train": ("disc21", "training")}

DEV_1_PAIRS = "12ded59f36d10bae884a91915914f6e2d93a4118396febec5d65db1861b26689"
DEV_2_PAIRS = "f9542e3f7dba905711c7138c8c43da4951b3327630e3e4e5b217011ef696ad83"
DEV_PAIRS = "ba7e7d987fa7c3fa67ae453984865a8b98b7b833173a5787ce502583dedd6eb5"
FINAL_PAIRS = "3e0bf48a8d4d8ab80ed761418768a78511fd3ba018e522be8a46e6edbc4eaaf5"


@dataclass(frozen=True)
class KnownSplit:
    """What is known of a split before any file is read.

    Attributes
    ----------
    name, title
        Name in results, and in words.
    numbers
        Numbers of its queries, of which the ids are made; of NDEC, those of its ISC queries.
    positives
        Number of true pairs.
    pairs_sha256
        SHA-256 of the sorted lines ``query_id,reference_id`` with LF.
    test
        Whether nothing may be trained, tuned or selected on it.
    files
        Names under which its ground truth is published.
    within
        Known splits that hold it whole, from whose ground truth it can be taken.
    halves
        Known splits that make it up.
    hard_negatives
        Number of queries beyond ``numbers``; 0 where the ids of all queries are known.
    images
        Image set that holds its queries: (data set, part).
    """

    name: str
    title: str
    numbers: range
    positives: int
    pairs_sha256: str
    test: bool
    files: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    halves: tuple[str, ...] = ()
    hard_negatives: int = 0
    images: tuple[str, str] = ("disc21", "dev-queries")

    @property
    def queries(self) -> int:
        """Return the number of labelled queries."""
        return len(self.numbers) + self.hard_negatives

    @property
    def query_ids(self) -> tuple[str, ...]:
        """Return the ids of the queries with ``numbers``, sorted; of NDEC, those of its ISC queries."""
        return tuple(f"Q{number:05d}" for number in self.numbers)


KNOWN: Mapping[str, KnownSplit] = {
    known.name: known
    for known in (
        KnownSplit(
            name="ndec",
            title="NDEC",
            numbers=_ISC,
            positives=5_009,
            pairs_sha256=DEV_2_PAIRS,
            test=True,
            files=("public_ground_truth_h5.csv",),
            hard_negatives=24_252,
            images=("ndec", "queries"),
        ),
        KnownSplit(
            name="disc21-dev1",
            title="DISC21 dev I (phase 1, public half)",
            numbers=range(25_000),
            positives=4_991,
            pairs_sha256=DEV_1_PAIRS,
            test=False,
            files=("public_ground_truth.csv", "isc_25k_matching_val_set_gt.json"),
            within=("disc21-dev",),
        ),
        KnownSplit(
            name="disc21-dev2",
            title="DISC21 dev II (phase 1, private half)",
            numbers=_ISC,
            positives=5_009,
            pairs_sha256=DEV_2_PAIRS,
            test=True,
            files=("isc_25k_matching_dev_set_gt.json",),
            within=("disc21-dev", "ndec"),
        ),
        KnownSplit(
            name="disc21-dev",
            title="DISC21 dev (phase 1, both halves)",
            numbers=range(50_000),
            positives=10_000,
            pairs_sha256=DEV_PAIRS,
            test=True,  # holds dev II
            files=("dev_ground_truth.csv", "dev_queries_groundtruth.csv"),
            halves=("disc21-dev1", "disc21-dev2"),
        ),
        KnownSplit(
            name="disc21-final",
            title="DISC21 final (phase 2)",
            numbers=range(50_000, 100_000),
            positives=10_000,
            pairs_sha256=FINAL_PAIRS,
            test=True,
            files=("final_ground_truth.csv", "test_queries_groundtruth.csv", "isc_matching_test_set_gt.json"),
            images=("disc21", "final-queries"),
        ),
    )
}


def load(name: str, root: Path, *, without: str | None = None) -> Split:
    """Return the known split ``name`` with its ground truth from the data root ``root``.

    The ground truth is ``NAME/ground_truth.csv``, or a published file (`KnownSplit.files`) in ``root``, ``root/NAME``
    or ``root/disc21``, or, of NDEC, the one that was derived (`ndec_bench.data.truth`), or that of a split which holds
    this one, or both halves. Whichever it is, it is checked as what it is before anything is taken from it.
    ``Split.source`` names it.

    Parameters
    ----------
    name, root
        The split, and where to look.
    without
        A known split whose files are not asked, for a second opinion on them.

    Raises
    ------
    DataError
        If ``name`` is not known, no ground truth is there, or it is not the published one: the message says what was
        found and what expected. MissingDataError if nothing was found.
    """
    if name not in KNOWN:
        raise DataError(f"no known split is called {name!r}", hint=f"known: {', '.join(KNOWN)}")
    known = KNOWN[name]
    found = _find(known, root, without)
    if found is None:
        raise MissingDataError(f"the ground truth of {known.title} is not under {root}", hint=_how_to_get(known, root))
    truth, source = found
    hard = frozenset(query for query in truth.query_ids if not is_isc(query)) if known.hard_negatives else None
    return Split(
        name=name,
        truth=truth,
        hard_negatives=hard,
        reference_ids=reference_ids(),
        test=known.test,
        source=source,
        images_root=root,
        image_sets={"queries": known.images, **_SHARED_IMAGES},
    )


def recognise(query_ids: Iterable[str], reference_sample: Iterable[str] = (), root: Path | None = None) -> str | None:
    """Return the name of the split that a submission is for, by the ids of its queries; None when in doubt.

    All queries of a known split and no other, or, with ``root``, all queries of a split folder there, make it that
    split; a folder and the suffix of a picture do not matter. NDEC is known by its ISC queries with 24,252 others from
    Q50000 on. Of lists that miss queries, as lists of pairs may, only those with ids from both halves of dev and none
    beyond are sure: dev II, dev and NDEC share ids, and so do NDEC and final.

    Parameters
    ----------
    query_ids
        Ids of all queries of the submission.
    reference_sample
        Some of its reference ids, which must be of the split too.
    root
        Where split folders lie; they are read.
    """
    exact, references = frozenset(query_ids), tuple(reference_sample)
    return _recognised(exact, references, root) or _recognised(frozenset(map(bare, exact)), references, root)


def _recognised(ids: frozenset[str], references: tuple[str, ...], root: Path | None) -> str | None:
    names = set(_in_folders(ids, references, root)) if root is not None else set()
    if all(_REFERENCE.fullmatch(reference) for reference in references):
        by_ids = _by_ids(ids)
        names |= {by_ids} if by_ids else set()
    return names.pop() if len(names) == 1 else None


def read(name: str, path: Path) -> GroundTruth:
    """Return the ground truth of the known split ``name`` from the file ``path``, with all its queries.

    Raises
    ------
    DataError
        If the file cannot be read or is not the published ground truth of that split, in one of its forms.
    """
    return _checked(KNOWN[name], path, read_ground_truth(path))


@cache
def reference_ids() -> tuple[str, ...]:
    """Return the reference ids of NDEC and all of DISC21, R000000 to R999999, sorted."""
    return tuple(f"R{number:06d}" for number in range(REFERENCES))


def _number(query: str) -> int | None:
    """Return n for an id as the data sets write it, Qn with at least five digits; None for any other."""
    found = _QUERY.fullmatch(query)
    number = int(found[1]) if found else None
    return number if number is not None and f"Q{number:05d}" == query else None


def is_isc(query: str) -> bool:
    """Return whether a query of NDEC is one of its 25,000 from DISC21; the others are hard negatives.

    No file of NDEC says which is which: the rule is the number in the id, from 25000 to 49999.
    """
    number = _number(query)
    return number is not None and number in _ISC


def _by_ids(ids: frozenset[str]) -> str | None:
    numbers = [_number(query) for query in ids]
    if not ids or None in numbers:
        return None
    whole = [number for number in numbers if number is not None]
    first, last = min(whole), max(whole)
    for known in KNOWN.values():
        if not known.hard_negatives and (len(ids), first, last) == (known.queries, known.numbers[0], known.numbers[-1]):
            return known.name
    isc = sum(number in _ISC for number in whole)
    if len(ids) == KNOWN["ndec"].queries and isc == len(_ISC) and first >= _ISC.start:
        return "ndec"
    return "disc21-dev" if first < _ISC.start <= last < _ISC.stop else None


def _in_folders(ids: frozenset[str], references: tuple[str, ...], root: Path) -> Iterator[str]:
    for path in (root / "split.json", *sorted(root.glob("*/split.json"))):
        if path.is_file():
            try:
                split = Split.from_folder(path.parent)
            except DataError:  # reported when that split is asked for
                continue
            if ids == frozenset(split.query_ids) and set(references) <= set(split.reference_ids or ()):
                yield split.name


def published_file(name: str, root: Path) -> Path | None:
    """Return the ground truth of the known split ``name`` under ``root``, not one that was derived; None if none is."""
    places = (path for path in _places(KNOWN[name], KNOWN[name], root) if path.name != DERIVED_FILE)
    return next((path for path in places if path.is_file()), None)


def _find(known: KnownSplit, root: Path, without: str | None = None) -> tuple[GroundTruth, str] | None:
    """Return the checked ground truth of ``known`` and where it came from; None if there is none."""
    for holder in (known, *(KNOWN[name] for name in known.within if name != without)):
        for path in _places(holder, known, root):
            if path.is_file():
                truth = _checked(holder, path, read_ground_truth(path))
                if holder is known:
                    return truth, str(path)
                return _part_of(truth, known), f"{path}, of {holder.title} its {len(known.numbers):,} queries"
    halves = [_find(KNOWN[name], root) for name in known.halves]
    if not halves or None in halves:
        return None
    return _joined([half for half in halves if half is not None])


def _places(holder: KnownSplit, known: KnownSplit, root: Path) -> Iterator[Path]:
    yield root / holder.name / GROUND_TRUTH_FILE
    for name in holder.files:
        folders = (root, root / holder.name, root / known.name, root / DISC21_FOLDER)
        yield from dict.fromkeys(folder / name for folder in folders)
    if holder.hard_negatives:
        yield root / holder.name / DERIVED_FILE


def _part_of(truth: GroundTruth, known: KnownSplit) -> GroundTruth:
    own = frozenset(known.query_ids)
    pairs = tuple(pair for pair in truth.pairs if pair[0] in own)
    return GroundTruth(tuple(query for query in truth.query_ids if query in own), pairs, listed=True)


def _joined(halves: list[tuple[GroundTruth, str]]) -> tuple[GroundTruth, str]:
    queries = tuple(sorted(query for truth, _ in halves for query in truth.query_ids))
    pairs = tuple(sorted(pair for truth, _ in halves for pair in truth.pairs))
    return GroundTruth(queries, pairs, listed=True), " and ".join(source for _, source in halves)


def _checked(known: KnownSplit, path: Path, truth: GroundTruth) -> GroundTruth:
    """Return ``truth`` with all queries of ``known``, those that a file of matches left out included."""
    if known.hard_negatives:
        _check_ndec(known, path, truth)
        complete = truth
    else:
        own = frozenset(known.query_ids)
        _refuse(path, known, "query {} does not belong to it", (q for q in truth.query_ids if q not in own))
        complete = replace(truth, query_ids=known.query_ids)
    strange = (r for _, r in truth.pairs if not _REFERENCE.fullmatch(r))
    _refuse(path, known, "reference {} does not exist, ids run from R000000 to R999999", strange)
    _expect(path, known, "true pairs", len(truth.pairs), known.positives)
    if truth.sha256 != known.pairs_sha256:
        raise DataError(
            f"{path}: the pairs are not those of {known.title}: SHA-256 {truth.sha256}, expected {known.pairs_sha256}",
            hint="the file was changed or damaged: fetch it again",
        )
    return replace(complete, listed=True)


def _check_ndec(known: KnownSplit, path: Path, truth: GroundTruth) -> None:
    isc = [query for query in truth.query_ids if is_isc(query)]
    _expect(path, known, "queries", len(truth.query_ids), known.queries)
    _expect(path, known, "ISC queries (Q25000 to Q49999)", len(isc), len(known.numbers))
    _expect(path, known, "hard negatives", len(truth.query_ids) - len(isc), known.hard_negatives)
    matched = (query for query, _ in truth.pairs if not is_isc(query))
    _refuse(path, known, "hard negative {} has a reference, which none can have", matched)


def _expect(path: Path, known: KnownSplit, what: str, found: int, expected: int) -> None:
    if found != expected:
        raise DataError(
            f"{path}: {found:,} {what}, {known.title} has {expected:,}",
            hint="put the file as published, with all its rows; check that it is not of another split",
        )


def _refuse(path: Path, known: KnownSplit, message: str, bad: Iterable[str]) -> None:
    first = next(iter(bad), None)
    if first is not None:
        raise DataError(
            f"{path}: not the ground truth of {known.title}: {message.format(first)}",
            hint="put the file as published; check that it is not of another split",
        )


def _how_to_get(known: KnownSplit, root: Path) -> str:
    names = [name for split in (known, *map(KNOWN.__getitem__, known.within)) for name in split.files]
    dataset = "ndec" if known.hard_negatives else "disc21"
    return (
        f'get it with "ndec-bench download {dataset} ground-truth", or put the published {" or ".join(names)} into '
        f"{root}; score and validate also take your own with --ground-truth GT.csv"
    )
