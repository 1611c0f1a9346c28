"""NDEC's ground truth without its single point of failure: the published file, or one derived from DISC21 dev's.

NDEC's ISC queries are the second half of the DISC21 dev queries, Q25000 to Q49999, with the same true pairs; no other
query of NDEC has a reference. Facts: WangWenhao0716/ASL README.md for the published file, facebookresearch/isc2021 for
dev.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ndec_bench import atomic
from ndec_bench.data import known
from ndec_bench.data.ground_truth import GroundTruth, write_ground_truth
from ndec_bench.errors import DataError, MissingDataError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

_NDEC = known.KNOWN["ndec"]


@dataclass(frozen=True)
class NdecTruth:
    """Which ground truth of NDEC is used, and why.

    Attributes
    ----------
    used
        ``published``, ``derived``, or None while there is none.
    path
        Its file.
    note
        One sentence for people.
    """

    used: Literal["published", "derived"] | None
    path: Path | None
    note: str


def derive(dev2: GroundTruth, query_ids: Collection[str]) -> GroundTruth:
    """Return NDEC's ground truth: the pairs of ``dev2``, and all of ``query_ids`` as its queries.

    Parameters
    ----------
    dev2
        Ground truth of DISC21 dev II.
    query_ids
        Ids of all images in NDEC's query archive.

    Raises
    ------
    DataError
        If ``query_ids`` are not 25,000 ISC queries and 24,252 others: the message gives both counts.
    """
    own = frozenset(query_ids)
    missing = [query for query in dev2.query_ids if query not in own]
    hard = sorted(query for query in own if not known.is_isc(query))
    if missing or len(hard) != _NDEC.hard_negatives:
        first = f"; the first ISC query missing is {missing[0]}" if missing else ""
        raise DataError(
            f"NDEC's query images: {len(own) - len(hard):,} ISC queries and {len(hard):,} others, expected "
            f"{len(_NDEC.numbers):,} and {_NDEC.hard_negatives:,}{first}",
            hint="the query archive is not NDEC's or not whole: fetch it again",
        )
    return GroundTruth(tuple(sorted(own)), dev2.pairs, listed=True)


def settle(root: Path, query_ids: Collection[str] | None) -> NdecTruth:
    """Return which ground truth of NDEC is used under ``root``; derive it where the published file is missing.

    The published file comes first, and where that of DISC21 dev is there too, both must agree. The derived one is
    written to ``ndec/derived_ground_truth.csv``. Query images that do not fit are named in the note: a wrong archive
    makes no ground truth wrong.

    Parameters
    ----------
    root
        Data root.
    query_ids
        Ids of all images in NDEC's query archive; None while it is not there.

    Raises
    ------
    DataError
        If the two disagree, or one is not what it must be.
    """
    published, dev2 = known.published_file(_NDEC.name, root), _dev2(root)
    if published is not None:
        return _published(published, dev2, query_ids, root)
    if dev2 is None:
        return NdecTruth(None, None, "ground truth of NDEC: none, and that of DISC21 dev is missing too")
    if query_ids is None:
        waiting = "not complete before the query archive is there, which lists the hard negatives"
        return NdecTruth(None, None, f"ground truth of NDEC: {waiting}; split disc21-dev2 works")
    try:
        derived = derive(dev2, query_ids)
    except DataError as error:
        return NdecTruth(None, None, f"ground truth of NDEC: cannot be derived: {error}")
    path = root / _NDEC.name / known.DERIVED_FILE
    atomic.write_text(path, write_ground_truth(derived))
    return NdecTruth("derived", path, "ground truth of NDEC: derived from DISC21 dev; the published file is not here")


def _published(published: Path, dev2: GroundTruth | None, query_ids: Collection[str] | None, root: Path) -> NdecTruth:
    truth = known.read(_NDEC.name, published)
    if dev2 is not None and dev2.pairs != truth.pairs:
        raise DataError(
            f"{published}: pairs with SHA-256 {truth.sha256}, "
            f"those of DISC21 dev II, which are here too, {dev2.sha256}",
            hint="one is damaged: fetch both again",
        )
    (root / _NDEC.name / known.DERIVED_FILE).unlink(missing_ok=True)
    note = f"ground truth of NDEC: published file, {published.name}"
    note += "; DISC21 dev agrees with it" if dev2 is not None else ""
    strange = sorted(set(truth.query_ids).symmetric_difference(query_ids)) if query_ids is not None else []
    if strange:
        where = "only among the images" if strange[0] in set(query_ids or ()) else "only in the file"
        note += (
            f". WARNING: {len(strange):,} queries of the file and of the query archive differ ({strange[0]} is "
            f'{where}): run "ndec-bench data verify"'
        )
    return NdecTruth("published", published, note)


def _dev2(root: Path) -> GroundTruth | None:
    try:
        # Without NDEC's own file: an opinion taken from it would be no second one.
        return known.load("disc21-dev2", root, without=_NDEC.name).truth
    except MissingDataError:
        return None
