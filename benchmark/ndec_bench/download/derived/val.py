"""``ndec-val-1``: a split like NDEC to select on, made of other images, so that nobody selects on the test set.

The rule, frozen under this name:

1. Copies: the 4,991 matched queries of DISC21 dev I.
2. Plain distractors: of the other queries of dev I the 5,000 with the smallest SHA-256 of ``"ndec-val-1 ID"``.
3. Hard negatives: the first 5,000 folders of ``negative_pair`` in the order of the archive (chunk aa, of which only
   the beginning is needed) that hold one DISC21 training image (``T`` with digits) and one other image. The other
   image is the query, called ``N`` and the folder's name; the training image joins the references. Folders with other
   images are passed over and listed; files that are not images do not count, wherever they lie.
4. References: those matched in dev I, the training images of rule 3, and of all other references, R000000 to R999999,
   the 20,000 with the smallest SHA-256 of ``"ndec-val-1 ID"``.

Why the look-alike is the query: NDEC's pairs are labelled in one direction. The second image is not a copy of the
first, while the first may be a copy of the second (paper, figure 4: arXiv 2205.12358). The other way round some of the
hard negatives could be copies.

No label of the test set is used: the rule looks at dev I and at training images alone. Some of the 20,000 other
references may be matched in dev II or in final; nothing here says which, and they are distractors in both splits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ndec_bench import atomic
from ndec_bench.data import known
from ndec_bench.data.ground_truth import GroundTruth, read_ids, sha256_of_lines, write_ground_truth
from ndec_bench.data.own_splits import VAL_NAME, chosen, picture_lines
from ndec_bench.data.registry import META_HOST, RemoteFile, Source
from ndec_bench.data.split import (
    GROUND_TRUTH_FILE,
    HARD_NEGATIVES_FILE,
    REFERENCES_FILE,
    SPLIT_FILE,
    SplitInfo,
    read_split_info,
)
from ndec_bench.download.cost import Planned, State
from ndec_bench.download.derived.pairs import (
    PAIR_BYTES,
    TRAINING_ID,
    Pair,
    drop_prefix,
    first_chunk,
    pairs_stage,
    prefix_of,
    take_pairs,
)
from ndec_bench.download.derived.pieces import DIRECTORY_BYTES, MEAN_BYTES, all_here, take
from ndec_bench.errors import DataError, os_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from ndec_bench.download.jobs import Run

NAME = VAL_NAME
PAIRS_FILE = "negative_pairs.txt"
"""Folders of ``negative_pair`` that the split uses, one per line: a trainer leaves them out."""

QUERIES_SHA256 = "2de1cdac687ed4f4e1c8903f595315e368f032d1d0c10aeab55709e4742a3d7c"
"""SHA-256 of the lines of the 9,991 queries from dev I, by rules 1 and 2."""

REFERENCES_SHA256 = "430cba0dd5295efbe067bef227c1967562acae32b96743a2856e3240a7008452"
"""SHA-256 of the lines of the 24,991 references from DISC21, by rule 4 without the training images."""


@dataclass(frozen=True)
class ValRule:
    """The counts of the rule; those of ndec-val-1 are the defaults."""

    distractors: int = 5_000
    folders: int = 5_000
    others: int = 20_000


RULE = ValRule()


@dataclass(frozen=True)
class ValIds:
    """What rules 1, 2 and 4 choose of DISC21: copies with their references, distractors, other references."""

    pairs: tuple[tuple[str, str], ...]
    distractors: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def queries(self) -> tuple[str, ...]:
        """Return copies and distractors, sorted."""
        return tuple(sorted({query for query, _ in self.pairs}.union(self.distractors)))

    @property
    def references(self) -> tuple[str, ...]:
        """Return matched and other references, sorted."""
        return tuple(sorted({reference for _, reference in self.pairs}.union(self.others)))


@dataclass(frozen=True)
class ValReport:
    """What was made: the split folder, what its description says, and the folders that were passed over."""

    folder: Path
    info: SplitInfo
    passed_over: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def describe(self) -> str:
        """Return lines for people."""
        counts = ", ".join(f"{count:,} {what}" for what, count in sorted(self.info.counts.items()))
        over = f"\npassed over: {', '.join(self.passed_over[:10])}" if self.passed_over else ""
        notes = "".join(f"{note}\n" for note in self.notes)
        return f"{notes}{NAME}: {counts}; ids {self.info.digests['ids']}: {self.folder}{over}"

    def as_json(self) -> dict[str, object]:
        """Return name, place, counts, digests and what was passed over."""
        return {
            "name": NAME,
            "path": str(self.folder),
            "counts": dict(self.info.counts),
            "digests": dict(self.info.digests),
            "passed_over": list(self.passed_over),
            "notes": list(self.notes),
        }


def val_ids(dev1: GroundTruth, rule: ValRule = RULE) -> ValIds:
    """Return what the rule chooses of DISC21, from the ground truth of dev I.

    Raises
    ------
    DataError
        If the choice by the frozen rule has another digest than the frozen one; both are shown.
    """
    matched = {query for query, _ in dev1.pairs}
    taken = {reference for _, reference in dev1.pairs}
    ids = ValIds(
        pairs=dev1.pairs,
        distractors=chosen((query for query in dev1.query_ids if query not in matched), rule.distractors, NAME),
        others=chosen((each for each in known.reference_ids() if each not in taken), rule.others, NAME),
    )
    for what, chosen_ids, expected in (
        ("queries of dev I", ids.queries, QUERIES_SHA256),
        ("references", ids.references, REFERENCES_SHA256),
    ):
        found = sha256_of_lines(chosen_ids)
        if rule == RULE and found != expected:
            raise DataError(
                f"{NAME}: the {what} chosen have SHA-256 {found}, frozen is {expected}",
                hint="the ground truth of dev I is not the published one",
            )
    return ids


def excluded_folders(root: Path) -> frozenset[str]:
    """Return the folders of ``negative_pair`` that ndec-val-1 under ``root`` uses; none where it was not built."""
    path = root / NAME / PAIRS_FILE
    return frozenset(read_ids(path)) if path.is_file() else frozenset()


def excluded_images(root: Path) -> frozenset[str]:
    """Return the DISC21 training images among the references of ndec-val-1 under ``root``: no trainer may use them."""
    path = root / NAME / REFERENCES_FILE
    return frozenset(i for i in read_ids(path) if TRAINING_ID.fullmatch(i)) if path.is_file() else frozenset()


def plan_val(root: Path, rule: ValRule = RULE) -> tuple[Planned, ...]:
    """Return what the split would fetch, as files of a plan: their sizes are estimates."""
    positives = known.KNOWN["disc21-dev1"].positives
    folder = root / NAME
    there = (folder / SPLIT_FILE).is_file()
    work = _work(root)
    wanted = (
        ("queries", "dev-queries", "dev_queries.zip", positives + rule.distractors, 1),
        ("references", "references", "references_0.zip", positives + rule.others, 20),
    )
    planned = []
    for side, part, archive, images, archives in wanted:
        address = f"image_similarity_challenge/public/{archive}"
        file = RemoteFile(
            name=_stage(images, part),
            dataset="disc21",
            part=part,
            bytes=images * MEAN_BYTES + archives * DIRECTORY_BYTES,
            bytes_exact=False,
            licence="DISC21",
            images=images,
            sources=(Source(kind="meta", url=f"{META_HOST}{address}", address=address),),
        )
        done = sum(path.stat().st_size for path in (work / "images" / side).glob("[QR]*.jpg"))
        state: State = "present" if there else "partial" if done else "missing"
        planned.append(Planned(file, folder, state, done, None if there else all_here(root, part)))
    chunk = first_chunk()
    file = chunk.model_copy(
        update={"name": pairs_stage(rule.folders), "bytes": rule.folders * PAIR_BYTES, "images": 2 * rule.folders}
    )
    here = chunk.path(root).is_file()
    done = prefix_of(work).stat().st_size if prefix_of(work).is_file() else 0
    state = "present" if there or here else "partial" if done else "missing"
    return (*planned, Planned(file, folder, state, min(done, file.bytes)))


def build_val(run: Run, *, jobs: int, rule: ValRule = RULE) -> ValReport:
    """Return the split ``ndec-val-1`` under the data root, built unless it is there.

    Raises
    ------
    DataError
        If the ground truth of dev I is missing (MissingDataError), an image is missing or damaged, or the ids are
        not those recorded before: both digests are shown.
    NetworkError
        If no source serves.
    InterruptedRun
        If the run is stopped; what was received is kept.
    """
    folder, work = run.root / NAME, _work(run.root)
    if (folder / SPLIT_FILE).is_file():
        drop_prefix(folder)
        return ValReport(folder, read_split_info(folder))
    if folder.is_dir() and any(folder.iterdir()):
        raise DataError(
            f"{folder}: is there, but holds no finished split", hint="move it away: the split is built under that name"
        )
    ids = val_ids(known.load("disc21-dev1", run.root).truth, rule)
    images = work / "images"
    pairs, passed_over = take_pairs(run, work, rule.folders)
    notes: list[str] = []
    for side, part, wanted in (("queries", "dev-queries", ids.queries), ("references", "references", ids.references)):
        taken = take(run, part, wanted, images / side, jobs=jobs, stage=_stage(len(wanted), part))
        notes += taken.notes
    info = _describe(work, ids, pairs)
    _must_be_as_recorded(run.root, info.digests["ids"])
    atomic.write_text(work / SPLIT_FILE, json.dumps(info.model_dump(mode="json"), indent=2, sort_keys=True) + "\n")
    with os_errors(f"{folder}: the split cannot be moved there", hint="check the folder, run again"):
        work.replace(folder)
    drop_prefix(folder)  # not before: it is gigabytes, and a build that fails at the last step goes on with it
    return ValReport(folder, info, passed_over, tuple(notes))


def _describe(work: Path, ids: ValIds, pairs: Sequence[Pair]) -> SplitInfo:
    """Write the lists of the split into ``work`` and return its description."""
    hard = tuple(sorted(pair.query for pair in pairs))
    references = tuple(sorted({*ids.references, *(pair.training for pair in pairs)}))
    queries = tuple(sorted((*ids.queries, *hard)))
    pictures = [
        *_pictures(work / "images" / "queries", ids.queries, (pair.query_name for pair in pairs)),
        *_pictures(work / "images" / "references", ids.references, (pair.training_name for pair in pairs)),
    ]
    truth = GroundTruth(queries, ids.pairs, listed=True)
    atomic.write_text(work / GROUND_TRUTH_FILE, write_ground_truth(truth))
    for name, lines in (
        (HARD_NEGATIVES_FILE, hard),
        (REFERENCES_FILE, references),
        (PAIRS_FILE, tuple(pair.folder for pair in pairs)),
    ):
        atomic.write_text(work / name, "".join(f"{line}\n" for line in lines))
    looks = [f"look-alike {pair.query} of {pair.training}: {pair.look_alike}" for pair in pairs]
    everything = [*(f"query {each}" for each in queries), *(f"reference {each}" for each in references), *looks]
    return SplitInfo(
        name=NAME,
        built_by="ndec-bench download ndec-val",
        test=False,
        digests={"ids": sha256_of_lines(everything), "pictures": sha256_of_lines(pictures)},
        counts={
            "copies": len(ids.pairs),
            "plain distractors": len(ids.distractors),
            "hard negatives": len(hard),
            "references": len(references),
        },
        provenance={"rule": f"{NAME}, see the module ndec_bench.download.derived.val", "truth": "DISC21 dev I"},
    )


def _pictures(folder: Path, disc21: Iterable[str], others: Iterable[str]) -> Iterator[str]:
    """Yield a line per picture with its SHA-256: ``disc21`` are ids, ``others`` file names; remove all else."""
    wanted = {f"{each}.jpg" for each in disc21}.union(others)
    for path in sorted(folder.iterdir()):
        if path.name not in wanted:  # of another version of the chunk, or left by a run that was killed
            path.unlink()
            continue
        yield from picture_lines([path])


def _must_be_as_recorded(root: Path, digest: str) -> None:
    """Record the digest of all ids at the first build; at a later one it must be the same."""
    path = root / f"{NAME}.ids"
    if path.is_file():
        before = path.read_text(encoding="utf-8").strip()
        if before != digest:
            raise DataError(
                f"{NAME}: ids {digest}, but {before} at the first build here",
                hint=f"the training pairs changed; remove {path} to take the new ones as right",
            )
        return
    atomic.write_text(path, f"{digest}\n")


def _stage(images: int, part: str) -> str:
    return f"{images:,} pictures of {part}"


def _work(root: Path) -> Path:
    return root / f"{NAME}.partial"
