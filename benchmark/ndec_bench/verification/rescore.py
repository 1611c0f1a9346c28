"""A row of the leaderboard scored again: its record and card, its file fetched and checked, the recorded choices.

`ndec_bench.results.differences` says whether what comes out is what was recorded.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ndec_bench.descriptors import sha256_of_file
from ndec_bench.download.exchange import DEFAULT_POLICY
from ndec_bench.download.public import fetch_public
from ndec_bench.errors import DataError, UsageError
from ndec_bench.metrics.bootstrap import REPLICATES
from ndec_bench.progress import silent
from ndec_bench.protocol import get_protocol
from ndec_bench.results.record import read_result
from ndec_bench.scoring.score import Options, score_file
from ndec_bench.submissions.card import CARD_FILE, NAME_PATTERN, read_card

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ndec_bench.data.split import Split
    from ndec_bench.descriptors import VectorSource
    from ndec_bench.download.exchange import Policy
    from ndec_bench.progress import Progress
    from ndec_bench.results.record import Result
    from ndec_bench.submissions.card import Files, SubmissionCard

MAX_BYTES = 1 << 37
"""Largest file that is fetched: a million references of 8,192 components in float32 are a quarter of it."""

_SUFFIXES = (".csv", ".h5", ".hdf5", ".parquet")
_DESCRIBED_BY = re.compile(r"([a-z0-9_-]{1,63}) \S{1,40}")
_FLAGS = frozenset({"--no-steps", "--check"})
_VALUES = frozenset({"--split", "--name", "--step", "--asymmetric"})


@dataclass(frozen=True)
class RecordedRun:
    """What a record says of how its descriptors or pairs were made.

    Attributes
    ----------
    baseline
        Name of the baseline.
    steps
        Post-processing that was asked for; None for that of the published system.
    command
        The command of the record; None where there is none, and then ``steps`` is a guess.
    """

    baseline: str
    steps: tuple[str, ...] | None
    command: str | None


def recorded_results(name: str, results: Path, protocol: str | None = None) -> list[Result]:
    """Return the recorded results of the submission ``name`` under the folder ``results``, sorted by protocol.

    Parameters
    ----------
    name
        Name of the submission.
    results
        Folder of the records, ``results/PROTOCOL/NAME.json``.
    protocol
        The one protocol that is asked for; None for all.

    Raises
    ------
    UsageError
        If the name cannot be one.
    DataError
        If there is no such record, or it cannot be read or is of another name or protocol.
    """
    _check_name(name)
    folders = sorted(results.glob("*")) if protocol is None else [results / get_protocol(protocol).name]
    paths = [path for folder in folders if (path := folder / f"{name}.json").is_file()]
    if not paths:
        under = f" under {protocol}" if protocol else ""
        raise DataError(f"{results}: no result of {name}{under}", hint="name the folder of results with --results")
    found = [read_result(path) for path in paths]
    for path, result in zip(paths, found, strict=True):
        if (result.name, result.protocol) != (name, path.parent.name):
            raise DataError(
                f"{path}: holds the result of {result.name[:80]} under {result.protocol[:80]}",
                hint="a record lies at results/PROTOCOL/NAME.json",
            )
    return found


def card_path(name: str, submissions: Path) -> Path:
    """Return where the card of the submission ``name`` lies. Raises UsageError if the name cannot be one."""
    _check_name(name)
    return submissions / name / CARD_FILE


def card_of(name: str, submissions: Path) -> SubmissionCard | None:
    """Return the card of the submission ``name``; None where there is none. Raises UsageError and SubmissionError."""
    path = card_path(name, submissions)
    return read_card(path) if path.is_file() else None


def checked_file(path: Path, sha256: str) -> Path:
    """Return ``path`` if it is the file with the SHA-256 ``sha256``. Raises DataError if it is not or is missing."""
    if not path.is_file():
        raise DataError(f"{path}: missing or not a file", hint="give the submission file with --file")
    found = sha256_of_file(path)
    if found != sha256:
        raise DataError(
            f"{path}: SHA-256, found {found}, expected {sha256}", hint="give the very file that was submitted"
        )
    return path


def fetch(
    files: Files,
    cache: Path,
    *,
    private: bool = False,
    policy: Policy = DEFAULT_POLICY,
    tell: Callable[[str], None] = lambda _: None,
    progress: Progress = silent,
) -> Path:
    """Return the file that a card names, in the folder ``cache`` under its SHA-256; fetched if it is not there.

    See `ndec_bench.download.public.fetch_public` for arguments and errors; it is a DataError, too, if the card names
    no address.
    """
    if files.url is None:
        raise DataError(f"{files.name}: the card names no address", hint="give the file with --file")
    return fetch_public(
        files.url,
        cache / f"{files.sha256}{_suffix(files.name)}",
        name=files.name,
        sha256=files.sha256,
        largest=MAX_BYTES,
        private=private,
        policy=policy,
        tell=tell,
        progress=progress,
    )


def rescore(
    recorded: Result,
    path: Path,
    split: Split,
    *,
    background: VectorSource | None = None,
    backend: str = "auto",
    threads: int | None = None,
    progress: Progress = silent,
) -> Result:
    """Return the result of the submission file ``path``, scored with the choices of ``recorded``.

    Parameters
    ----------
    recorded
        The record; protocol, asymmetric rule, own threshold, precisions, replicates and name are taken from it.
    path
        The submission file.
    split
        The split, see `check_split`.
    background
        Descriptors for the normalisations of a recorded protocol table; None for those in the file.
    backend, threads
        Of the search; no result depends on them.
    progress
        Called as ``progress(stage, done, total)``.

    Raises
    ------
    DataError
        If ``split`` is another than that of the record.
    SubmissionError
        If the file cannot be scored.
    """
    check_split(recorded, split)
    options = replace(choices_of(recorded), background=background, backend=backend, threads=threads)
    return score_file(path, split, options=options, progress=progress)


def choices_of(recorded: Result) -> Options:
    """Return the options that a result was scored with.

    Raises
    ------
    UsageError
        If its protocol or asymmetric rule is not known here.
    DataError
        If it has no part ``all``, or a precision that is not a number.
    """
    everything = recorded.parts.get("all")
    if everything is None:
        raise DataError(f"the record of {recorded.name} has no part all", hint="score the file and record that")
    try:
        precisions = tuple(sorted(map(float, everything.recall_at_precision)))
    except ValueError as error:
        raise DataError(
            f"the record of {recorded.name}: a key of recall_at_precision is not a number",
            hint="score the file and record that",
        ) from error
    replicates = 0 if everything.replicates is None else len(everything.replicates.micro_ap)
    return Options(
        name=recorded.name,
        protocol=get_protocol(recorded.protocol),
        all_protocols=recorded.protocols is not None,
        replicates=min(replicates, REPLICATES),  # nobody has more; a record that claims so differs, and takes no days
        precisions=precisions,
        threshold=recorded.own_threshold,
        asymmetric=recorded.asymmetric,
        describing=recorded.describing,
        command=recorded.provenance.command,
    )


def recorded_run(recorded: Result) -> RecordedRun:
    """Return how the file behind ``recorded`` was made with a baseline of ours.

    Only commands of the form ``ndec-bench run NAME`` with the options that decide about scores are read; they are
    never executed.

    Raises
    ------
    DataError
        If no baseline made it, or its command is another or does not fit the record.
    """
    made_by = _DESCRIBED_BY.fullmatch((recorded.describing.baseline if recorded.describing else None) or "")
    if made_by is None:
        raise DataError(f"the record of {recorded.name} names no baseline", hint="name it with --baseline")
    command = recorded.provenance.command
    if command is None:
        return RecordedRun(made_by[1], None, None)
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if words[:2] != ["ndec-bench", "run"] or words[2:3] != [made_by[1]]:
        raise _no_run(recorded, f'expected "ndec-bench run {made_by[1]}"')
    given: dict[str, list[str]] = {}
    rest = words[3:]
    while rest:
        word = rest.pop(0)
        if word not in _FLAGS and (word not in _VALUES or not rest):
            raise _no_run(recorded, f"{word[:40]!r} is not an option that is repeated")
        given.setdefault(word, []).append("" if word in _FLAGS else rest.pop(0))
    for option, expected in (("--split", recorded.split), ("--asymmetric", recorded.asymmetric)):
        if given.get(option, [expected])[-1] != expected:
            raise _no_run(recorded, f"{option} is {given[option][-1][:40]!r}, in the record {expected!r}")
    steps = () if "--no-steps" in given else tuple(given["--step"]) if "--step" in given else None
    return RecordedRun(made_by[1], steps, command)


def check_split(recorded: Result, split: Split) -> None:
    """Raise DataError if ``split`` is not, digest by digest, the split that ``recorded`` was scored on."""
    for what, expected, found in (
        ("split", recorded.digests.split, split.sha256),
        ("ground truth", recorded.digests.ground_truth, split.truth.sha256),
    ):
        if found != expected:
            raise DataError(
                f"split {split.name}: the digest of the {what}, found {found}, expected {expected} of the record of "
                f"{recorded.name}",
                hint='"ndec-bench data" says what is there; name the right data root with --root',
            )


def _no_run(recorded: Result, reason: str) -> DataError:
    return DataError(
        f"the command of the record of {recorded.name} is not repeated: {reason}",
        hint="say how it was made with --baseline, and --step or --no-steps",
    )


def _check_name(name: str) -> None:
    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(f"{name[:80]!r} cannot name a submission", hint="names are those of folders in submissions/")


def _suffix(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if suffix in _SUFFIXES else ""
