"""A split: which queries and references there are, which pairs are true, which queries are hard negatives."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ndec_bench.data.ground_truth import GroundTruth, read_ground_truth, read_ids, sha256_of_lines
from ndec_bench.data.ids import note_of, other_forms
from ndec_bench.data.tables import read_table, read_text
from ndec_bench.errors import DataError, os_errors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SPLIT_FILE = "split.json"
GROUND_TRUTH_FILE = "ground_truth.csv"
HARD_NEGATIVES_FILE = "hard_negatives.txt"
REFERENCES_FILE = "references.txt"
PARTS_FOLDER = "parts"
EDITS_FILE = "edits.csv"
_PART_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_RESERVED = ("all", "isc")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class SplitInfo(BaseModel):
    """The content of ``split.json``: what a split folder holds and how it was made. Only the name is required."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", description="Name and version")]
    version: int = Field(default=1, description="Version of this file's form")
    built_by: str | None = Field(default=None, description="Builder, if it was built")
    test: bool = Field(default=True, description="Nothing may be trained, tuned or selected on it")
    plan: Sha256 | None = Field(default=None, description="Digest of the plan: pictures, edits, roles, ids")
    digest: Sha256 | None = Field(default=None, description="Digest of the decoded pixels of all pictures")
    digests: dict[str, Sha256] = Field(default_factory=dict, description="Digests by group of files")
    counts: dict[str, int] = Field(default_factory=dict, description="Pictures by folder and role")
    provenance: dict[str, object] = Field(default_factory=dict, description="Where the pictures come from")
    dedup: dict[str, object] = Field(default_factory=dict, description="Report of the search for undeclared copies")


@dataclass(frozen=True)
class Split:
    """Queries, references and truth of one benchmark.

    Attributes
    ----------
    name
        Name and version, for example ``ndec-mini-1``.
    truth
        Labelled queries and true pairs.
    hard_negatives
        Queries that resemble a reference without being a copy; None where the split does not know them.
    reference_ids
        All references, sorted; None where only the ground truth is known (then any reference id is accepted).
    edits
        Query id to the names of the edits that made it; empty where the split does not know them.
    folder
        Where the images of a split that was built lie.
    images_root, image_sets
        Data root of a known split, and by part (queries, references, train) the image set there, (data set, part), or
        a folder that stands for it.
    images_sha256
        Digest of their decoded pixels, if the split records one.
    test
        True for splits that rank: nothing may be trained, tuned or selected on them.
    own_parts
        Further parts to score: name to labelled query ids.
    source
        The files the truth was read from, and what was derived, in words; None if it came from elsewhere.
    notes
        What a reader of a result should know of these files, in sentences.
    """

    name: str
    truth: GroundTruth
    hard_negatives: frozenset[str] | None = None
    reference_ids: tuple[str, ...] | None = None
    edits: Mapping[str, tuple[str, ...]] | None = None
    folder: Path | None = None
    images_root: Path | None = None
    image_sets: Mapping[str, tuple[str, str] | Path] = field(default_factory=dict)
    images_sha256: str | None = None
    test: bool = True
    own_parts: Mapping[str, frozenset[str]] = field(default_factory=dict)
    source: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the names and members of the parts. Raises DataError."""
        for name, members in self.own_parts.items():
            _check_part(name, members, self.truth)

    @property
    def query_ids(self) -> tuple[str, ...]:
        """Return all labelled queries, sorted."""
        return self.truth.query_ids

    @cached_property
    def parts(self) -> dict[str, frozenset[str]]:
        """Return the parts that are scored, by name, in the order of results.

        First ``all``, then ``isc`` (all but the hard negatives) if these are known, then own parts by name.
        """
        everything = frozenset(self.query_ids)
        parts = {"all": everything}
        if self.hard_negatives is not None:
            parts["isc"] = everything - self.hard_negatives
        return parts | {name: self.own_parts[name] for name in sorted(self.own_parts)}

    @cached_property
    def sha256(self) -> str:
        """Return the SHA-256 (hex) over everything that decides a score.

        These are queries, pairs, hard negatives, references, and own parts if there are any.
        """
        lines = [f"query {query}" for query in self.query_ids]
        lines += [f"pair {query} {reference}" for query, reference in self.truth.pairs]
        lines += [f"hard {query}" for query in sorted(self.hard_negatives or ())]
        lines += [f"reference {reference}" for reference in self.reference_ids or ()]
        lines += [f"part {name} {query}" for name in sorted(self.own_parts) for query in sorted(self.own_parts[name])]
        return sha256_of_lines(lines)

    @classmethod
    def from_ground_truth(
        cls,
        path: Path,
        *,
        hard_negatives: Path | None = None,
        name: str | None = None,
        multi: bool = False,
        queries: Path | None = None,
        parts: Mapping[str, Path] | None = None,
    ) -> Split:
        """Return the split of a user's ground truth, in any form that `read_ground_truth` reads.

        Parameters
        ----------
        path
            The ground truth.
        hard_negatives, queries
            Its hard negatives, and all labelled queries, one id per line.
        name
            Name of the split; by default one made from the digest of the pairs.
        multi
            Accept several references for one query.
        parts
            Further parts to score: name to a file of labelled queries, one id per line.

        Raises
        ------
        DataError
            If a file is unusable, a hard negative or a member of a part is not a labelled query, a hard negative has
            a true reference, or a part is called ``all`` or ``isc``.
        """
        truth = read_ground_truth(path, multi=multi, queries=queries)
        notes: list[str] = []
        return cls(
            name=name or f"user-{truth.sha256[:8]}",
            truth=truth,
            hard_negatives=None if hard_negatives is None else _hard_negatives(hard_negatives, truth, notes),
            test=False,
            own_parts={part: _members(part, file, truth, notes) for part, file in (parts or {}).items()},
            source=str(path),
            notes=(*truth.notes, *notes),
        )

    @classmethod
    def from_folder(cls, folder: Path) -> Split:
        """Return the split that lies in ``folder`` as ``ndec-bench mini build`` leaves it.

        Raises
        ------
        DataError
            If a file of the split is missing or unusable, or the folder holds none.
        """
        info = read_split_info(folder)
        references = tuple(sorted(read_ids(folder / REFERENCES_FILE)))
        truth = replace(read_ground_truth(folder / GROUND_TRUTH_FILE, references=frozenset(references)), listed=True)
        _check_references(folder, truth, references)
        return cls(
            name=info.name,
            truth=truth,
            hard_negatives=_hard_negatives(folder / HARD_NEGATIVES_FILE, truth, [], may_be_empty=True),
            reference_ids=references,
            edits=_read_edits(folder / EDITS_FILE),
            folder=folder,
            images_sha256=info.digest,
            test=info.test,
            own_parts=_parts_in(folder / PARTS_FOLDER, truth),
            source=str(folder / GROUND_TRUTH_FILE),
        )


def read_split_info(folder: Path) -> SplitInfo:
    """Return the content of ``split.json`` in ``folder``.

    Raises
    ------
    DataError
        If the file is missing or not a description of a split.
    """
    path = folder / SPLIT_FILE
    expected = 'expected a split folder; "ndec-bench mini build --out DIR" makes one'
    with os_errors(f"{path}: cannot be read", hint=expected):
        content = path.read_bytes()
    try:
        return SplitInfo.model_validate_json(content)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()[:5])
        raise DataError(f"{path}: not a split description ({problems})", hint="build the split again") from error


def _check_references(folder: Path, truth: GroundTruth, references: tuple[str, ...]) -> None:
    known = frozenset(references)
    for query, reference in truth.pairs:
        if reference not in known:
            raise DataError(
                f"{folder / GROUND_TRUTH_FILE}: {query} names reference {reference}, "
                f"which {REFERENCES_FILE} does not list",
                hint="build the split again",
            )


def _hard_negatives(path: Path, truth: GroundTruth, notes: list[str], *, may_be_empty: bool = False) -> frozenset[str]:
    queries, matched = frozenset(truth.query_ids), {query for query, _ in truth.pairs}
    ids = _listed(path, truth, notes)
    if not ids and not may_be_empty:
        raise DataError(f"{path}: no hard negative is listed", hint="list them, one id per line, or leave the list out")
    for query in ids:
        if query not in queries:
            raise DataError(f"{path}: {query} is not a labelled query", hint="list queries of the ground truth only")
        if query in matched:
            raise DataError(f"{path}: {query} has a true reference", hint="a hard negative copies nothing")
    return frozenset(ids)


def _parts_in(folder: Path, truth: GroundTruth) -> dict[str, frozenset[str]]:
    """Return the parts listed in the text files of ``folder``, by the names of the files; none without the folder."""
    return {path.stem: _members(path.stem, path, truth, []) for path in sorted(folder.glob("*.txt"))}


def _listed(path: Path, truth: GroundTruth, notes: list[str]) -> list[str]:
    """Return the queries that ``path`` lists, with the ids of ``truth``; ids in another form add to ``notes``."""
    ids = read_ids(path)
    forms = other_forms(ids, truth.query_ids, str(path), "query", kind=DataError)
    if forms:
        notes.append(f"{path}: {note_of('query', forms)}")
    return [forms.get(query, query) for query in ids]


def _members(name: str, path: Path, truth: GroundTruth, notes: list[str]) -> frozenset[str]:
    members = frozenset(_listed(path, truth, notes))
    _check_part(name, members, truth, where=str(path))
    return members


def _check_part(name: str, members: frozenset[str], truth: GroundTruth, where: str = "split") -> None:
    if name in _RESERVED or not _PART_NAME.fullmatch(name):
        raise DataError(
            f"{where}: a part cannot be called {name[:80]!r}",
            hint=f"use a-z, 0-9, _ and -; {' and '.join(_RESERVED)} are parts of their own",
        )
    if not members:
        raise DataError(f"{where}: part {name} has no query", hint="list its labelled queries, one id per line")
    strange = members.difference(truth.query_ids)
    if strange:
        raise DataError(
            f"{where}: part {name} names {min(strange)}, which is not a labelled query ({len(strange):,} such ids)",
            hint="list queries of the ground truth only",
        )


def _read_edits(path: Path) -> dict[str, tuple[str, ...]]:
    """Return query id to edit kinds from the CSV ``query_id,step,kind,...`` of a built split; empty without file."""
    if not path.exists():
        return {}
    table = read_table(read_text(path, DataError, "build the split again"))
    header = table.header()
    if not {"query_id", "kind"} <= set(header):
        table.file.refuse("columns query_id and kind expected")
    table.check_widths(len(header))
    edits = table.below(1).frame({name: header.index(name) for name in ("query_id", "kind")})
    kinds: dict[str, list[str]] = {}
    for query, kind in zip(edits["query_id"], edits["kind"], strict=True):
        kinds.setdefault(query, []).append(kind)
    return {query: tuple(names) for query, names in sorted(kinds.items())}
