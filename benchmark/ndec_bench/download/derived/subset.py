"""A part of NDEC's references for checking a pipeline: the matched ones and some others, the same for everybody."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndec_bench import atomic
from ndec_bench.data import known
from ndec_bench.data.ground_truth import sha256_of_lines
from ndec_bench.data.own_splits import SUBSET_FILE, SUBSET_PREFIX, chosen, picture_lines
from ndec_bench.data.registry import META_HOST, RemoteFile, Source
from ndec_bench.download.cost import Planned
from ndec_bench.download.derived.pieces import DIRECTORY_BYTES, MEAN_BYTES, all_here, take
from ndec_bench.errors import DataError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_bench.download.jobs import Run

SUBSET_WARNING = (
    "Figures on hard negatives are invalid on a subset: it drops the very references that the hard negatives resemble. "
    "Use it to check a pipeline. Results on it are marked partial and never rank."
)
_RULE = re.compile(r"matched(?:\+([0-9]{1,6}))?")
_POSITIVES = known.KNOWN["disc21-dev2"].positives
_SHARDS = 20


@dataclass(frozen=True)
class SubsetRule:
    """All matched references, and so many ``distractors`` among the others."""

    distractors: int

    def __str__(self) -> str:
        return f"matched+{self.distractors}"

    @property
    def images(self) -> int:
        """Return how many references that are."""
        return _POSITIVES + self.distractors


@dataclass(frozen=True)
class SubsetReport:
    """What was made: the folder, what ``subset.json`` in it says, which sources served now, and notes for people."""

    folder: Path
    content: dict[str, object]
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return lines for people."""
        return "".join(f"{note}\n" for note in self.notes) + (
            f"{self.folder.name}: {self.content['images']:,} references, ids {self.content['ids_sha256']}\n"
            f"{SUBSET_WARNING}\n"
            f"Use it as a split: ndec-bench run BASELINE --split {self.folder.name} --out DIR"
        )

    def as_json(self) -> dict[str, object]:
        """Return the content of ``subset.json`` with the place of the folder."""
        return {"path": str(self.folder), **self.content, "sources": list(self.sources), "notes": list(self.notes)}


def parse_subset(text: str) -> SubsetRule:
    """Return the rule written ``matched+N`` or ``matched``.

    Raises
    ------
    UsageError
        If it is not so written, or N is more than the 994,991 references that are not matched.
    """
    found = _RULE.fullmatch(text)
    count = int(found[1] or 0) if found else -1
    most = known.REFERENCES - _POSITIVES
    if not 0 <= count <= most:
        raise UsageError(
            f"no subset is called {text[:80]!r}", hint=f"write matched+N with N from 0 to {most:,}: matched+20000"
        )
    return SubsetRule(count)


def subset_ids(matched: frozenset[str], rule: SubsetRule, seed: int) -> tuple[str, ...]:
    """Return the references of a subset, sorted: ``matched``, and the others with the smallest hashes.

    The hash is SHA-256 of ``"ndec-subset-1 SEED ID"``. A larger subset of the same seed holds a smaller one whole.
    """
    others = (each for each in known.reference_ids() if each not in matched)
    return tuple(sorted(matched.union(chosen(others, rule.distractors, f"ndec-subset-1 {seed}"))))


def folder_of(root: Path, rule: SubsetRule, seed: int) -> Path:
    """Return where a subset lies under the data root."""
    return root / f"{SUBSET_PREFIX}{rule}-seed{seed}"


def plan_subset(root: Path, rule: SubsetRule, seed: int) -> tuple[Planned, ...]:
    """Return what a subset would fetch, as one file of a plan: its size is an estimate."""
    url = f"{META_HOST}image_similarity_challenge/public/references_0.zip"
    file = RemoteFile(
        name=f"{rule.images:,} pictures of references_*.zip",
        dataset="disc21",
        part="references",
        bytes=rule.images * MEAN_BYTES + _SHARDS * DIRECTORY_BYTES,
        bytes_exact=False,
        licence="DISC21",
        images=rule.images,
        sources=(Source(kind="meta", url=url, address="image_similarity_challenge/public/references_0.zip"),),
    )
    folder = folder_of(root, rule, seed)
    if (folder / SUBSET_FILE).is_file():
        return (Planned(file, folder, "present", file.bytes),)
    done = sum(path.stat().st_size for path in (folder / "images" / "references").glob("*.jpg"))
    return (Planned(file, folder, "partial" if done else "missing", done, all_here(root, "references")),)


def fetch_subset(run: Run, rule: SubsetRule, seed: int, *, jobs: int) -> SubsetReport:
    """Return the subset: pictures under ``images/references`` of its folder, complete with ``subset.json``.

    Raises
    ------
    DataError
        If NDEC's true pairs are missing, a picture is missing or wrong, or the subset that is there is another.
    NetworkError
        If no source serves.
    InterruptedRun
        If the run is stopped; what was received is kept.
    """
    folder = folder_of(run.root, rule, seed)
    matched = frozenset(reference for _, reference in known.load("disc21-dev2", run.root).truth.pairs)
    ids = subset_ids(matched, rule, seed)
    digest = sha256_of_lines(ids)
    if (folder / SUBSET_FILE).is_file():
        return SubsetReport(folder, _present(folder / SUBSET_FILE, digest))
    (stage,) = (planned.file.name for planned in plan_subset(run.root, rule, seed))
    taken = take(run, "references", ids, folder / "images" / "references", jobs=jobs, stage=stage)
    atomic.write_text(folder / "references.txt", "".join(f"{each}\n" for each in ids))
    content: dict[str, object] = {
        "rule": str(rule),
        "seed": seed,
        "images": len(ids),
        "matched": len(matched),
        "distractors": rule.distractors,
        "ids_sha256": digest,
        "pictures_sha256": sha256_of_lines(picture_lines(taken.folder / f"{each}.jpg" for each in ids)),
        "partial": True,
        "warning": SUBSET_WARNING,
    }
    atomic.write_text(folder / SUBSET_FILE, json.dumps(content, indent=2, sort_keys=True) + "\n")
    return SubsetReport(folder, content, tuple(sorted(taken.sources)), tuple(taken.notes))


def _present(path: Path, digest: str) -> dict[str, object]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: damaged", hint="remove it and run again") from error
    found = content.get("ids_sha256") if isinstance(content, dict) else None
    if found != digest:
        raise DataError(f"{path}: ids {found}, expected {digest}", hint="remove the folder and run again")
    return dict(content)
