"""Rows of the leaderboard made again, from their file or their images, and compared with the record."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from platformdirs import user_cache_path

from ndec_baselines.registry import card as card_of_baseline
from ndec_baselines.running import DEFAULTS, describe_side, load_runner, quiet, run_on
from ndec_bench import atomic
from ndec_bench.data.images import SelectedSource
from ndec_bench.data.layouts import images_of
from ndec_bench.data.roots import data_root, find_split
from ndec_bench.descriptors import read_attributes, read_background, read_submission
from ndec_bench.download.public import is_public
from ndec_bench.errors import DataError, UsageError
from ndec_bench.progress import silent
from ndec_bench.results.differences import compared
from ndec_bench.scoring.inputs import is_descriptors
from ndec_bench.submissions.card import Verified, with_table
from ndec_bench.verification import redescribe as redescribing
from ndec_bench.verification import rescore as rescoring

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from ndec_baselines.running import RunOptions, Tell
    from ndec_bench.data.split import Split
    from ndec_bench.progress import Progress
    from ndec_bench.results.differences import Comparison, Verdict
    from ndec_bench.results.record import Result
    from ndec_bench.submissions.card import SubmissionCard
    from ndec_bench.verification.redescribe import Agreement, Side

_RECIPE = ("baseline", "baseline_version", "precision", "weights_sha256")


@dataclass(frozen=True)
class ReproduceOptions:
    """What is made again, from what, and whether the card says so.

    Attributes
    ----------
    protocol
        The result under this protocol alone; None for all there are.
    results, submissions
        Folders of the records and of the cards.
    root, images
        Data root, and another one for the images.
    file
        The submission file, in place of the card's address.
    sample, seed
        Number of images that are described again too, and what draws them; without a seed a new one.
    whole
        Describe all images again, in place of a file.
    out
        With ``whole``, folder for what is made, which is kept; None for one in the cache, which is removed.
    baseline
        What to describe with, in place of the one on record.
    background
        With ``sample``, the descriptors that steps were fitted on; without, those for the protocol table.
    run
        How images are described; its ``steps`` take the place of those on record.
    threads, backend
        Of the search.
    public_hosts
        Whether files are fetched from the public network alone, even if a card openly names this machine.
    record
        Whether the card is verified if all is OK.
    day
        Day of the check; None for today.
    """

    protocol: str | None = None
    results: Path = Path("results")
    submissions: Path = Path("submissions")
    root: Path | None = None
    images: Path | None = None
    file: Path | None = None
    sample: int | None = None
    seed: int | None = None
    whole: bool = False
    out: Path | None = None
    baseline: str | None = None
    background: Path | None = None
    run: RunOptions = DEFAULTS
    threads: int | None = None
    backend: str = "auto"
    public_hosts: bool = False
    record: bool = False
    day: date | None = None

    def __post_init__(self) -> None:
        """Raise UsageError if options contradict each other."""
        if self.whole and (self.sample is not None or self.file is not None):
            raise UsageError("--whole does it all again: no --sample, no --file", hint="leave them out")
        if not self.whole and (self.out is not None or self.run.steps is not None):
            raise UsageError("--out, --step and --no-steps are for --whole", hint="add --whole or leave them out")
        if self.sample is None and not self.whole and self.baseline is not None:
            raise UsageError("--baseline is for --sample and --whole", hint="add one of them, or leave it out")
        if self.sample is None and self.seed is not None:
            raise UsageError("--seed is for --sample", hint="add it, or leave --seed out")


@dataclass(frozen=True)
class DescribedSample:
    """A sample of images, described again with ``baseline``, and how it agrees with the file."""

    baseline: str
    seed: int
    agreement: Agreement


@dataclass(frozen=True)
class Reproduction:
    """What came out, by protocol as ``recorded``.

    Attributes
    ----------
    verdict
        The worst of all comparisons and of the sample.
    recorded, found, comparisons
        The records, the results now, and how they compare.
    sample
        None where none was asked for.
    verified
        What the card says now; None where nothing was recorded.
    """

    name: str
    verdict: Verdict
    recorded: Sequence[Result]
    found: Sequence[Result]
    comparisons: Sequence[Comparison]
    sample: DescribedSample | None
    verified: Verified | None


@dataclass(frozen=True)
class _Row:
    """A row with its records, its card, the split it is of, and the same split where the images are."""

    recorded: Sequence[Result]
    card: SubmissionCard | None
    split: Split
    pictured: Split
    options: ReproduceOptions
    progress: Progress
    tell: Tell


def reproduce(
    name: str, options: ReproduceOptions = ReproduceOptions(), *, progress: Progress = silent, tell: Tell = quiet
) -> Reproduction:
    """Return how the submission ``name`` comes out when it is scored again with the choices on record.

    Parameters
    ----------
    progress, tell
        Called as ``progress(stage, done, total)``, and with sentences for people.

    Raises
    ------
    UsageError
        If the record says too little of how the file was made, or the card cannot be verified in this way.
    DataError
        If records, file, split or images are missing or not those of the record.
    SubmissionError, NetworkError
        If the file cannot be scored, or fetched.
    """
    recorded = rescoring.recorded_results(name, options.results, options.protocol)
    card = rescoring.card_of(name, options.submissions)
    if options.record:
        _check_recordable(name, card, recorded, options)
    split = find_split(recorded[0].split, data_root(options.root))
    pictured = split if options.images is None else find_split(recorded[0].split, options.images)
    for one in recorded:
        rescoring.check_split(one, split)
    rescoring.check_split(recorded[0], pictured)
    row = _Row(recorded, card, split, pictured, options, progress, tell)
    sample = None
    if options.whole:
        found = _made_again(row)
    else:
        path = _file(row)
        if options.sample is not None:  # first, for it may lack weights or a background
            sample = _described_again(row, path, options.sample)
        found = _scored_again(row, path)
    comparisons = [compared(before, now) for before, now in zip(recorded, found, strict=True)]
    verdict = _worst(comparisons, sample)
    verified = None
    if options.record and verdict == "OK" and card is not None:
        verified = _verified(row, card, found[0], sample)
    return Reproduction(name, verdict, recorded, found, comparisons, sample, verified)


def _check_recordable(
    name: str, card: SubmissionCard | None, recorded: Sequence[Result], options: ReproduceOptions
) -> None:
    if card is None:
        raise UsageError(f"--record: {name} has no card", hint="name the folder of cards with --submissions")
    if len({one.predictions_sha256 for one in recorded}) > 1:
        raise UsageError(
            f"--record: {name} has several results, and a card is verified for one list", hint="add --protocol"
        )
    has_address = card.descriptors is not None and card.descriptors.url is not None
    if not (options.whole or options.sample or has_address):
        raise UsageError(
            f"--record: the card of {name} names no address, so that nobody else could score the file again",
            hint="describe it again with --sample or --whole",
        )
    if options.file is not None and options.sample is None:
        raise UsageError(
            "--record: with --file nobody looks at what the card's address serves",
            hint="leave --file out, or describe images again with --sample",
        )


def _cache() -> Path:
    return user_cache_path("ndec-bench", appauthor=False)


def _file(row: _Row) -> Path:
    """Return the submission file, given or fetched. Raises DataError if it is not the one of the record."""
    recorded, files = row.recorded[0], row.card.descriptors if row.card else None
    expected = recorded.digests.submission
    if files is not None and files.sha256 != expected:
        raise DataError(
            f"the card of {recorded.name} is about a file with SHA-256 {files.sha256}, the record about {expected}",
            hint="score the file of the card, and record that",
        )
    if row.options.file is not None:
        return rescoring.checked_file(row.options.file, expected)
    if files is None or files.url is None:
        raise DataError(
            f"{recorded.name}: the card names no address of the file",
            hint=f"give the file with --file{_or_whole(recorded)}",
        )
    # An address that openly names this machine is asked; one that leads there by a redirect or a name is not.
    private = not row.options.public_hosts and not is_public(urlsplit(files.url).hostname or "")
    return rescoring.fetch(files, _cache() / "submissions", private=private, tell=row.tell, progress=row.progress)


def _or_whole(recorded: Result) -> str:
    """Return how a file that nobody has can be had, as far as the record says."""
    try:
        run = rescoring.recorded_run(recorded)
    except DataError:
        return ""
    return f", or make it again with --whole (as {run.command or f'ndec-bench run {run.baseline}'} did)"


def _scored_again(row: _Row, path: Path) -> list[Result]:
    options = row.options
    # A sample needs the background before its steps; the protocol table has that after them in the file.
    outside = options.background if options.sample is None else None
    background = None if outside is None else read_background(outside, progress=row.progress)
    return [
        rescoring.rescore(
            one,
            path,
            row.split,
            background=background,
            backend=options.backend,
            threads=options.threads,
            progress=row.progress,
        )
        for one in row.recorded
    ]


def _made_again(row: _Row) -> list[Result]:
    """Return the results of the baseline run on the whole split again."""
    options, recorded = row.options, row.recorded[0]
    baseline, steps = _run_of(recorded, options)
    name = card_of_baseline(baseline).name
    work = options.out or _cache() / "runs" / recorded.name
    took = recorded.describing
    if took is not None and took.seconds is not None:
        row.tell(f"making {recorded.name} again in {work}; on record: {took.seconds:,.0f} s")
    runner = load_runner(baseline, replace(options.run, name=name, steps=steps), row.progress, row.tell)
    found = []
    for one in row.recorded:
        scoring = replace(rescoring.choices_of(one), threads=options.threads, backend=options.backend)
        found.append(run_on(runner, row.pictured, work, scoring))
    if options.out is None:
        shutil.rmtree(work, ignore_errors=True)
    return found


def _run_of(recorded: Result, options: ReproduceOptions) -> tuple[str, tuple[str, ...] | None]:
    """Return baseline and steps: as given, else as recorded; None for the published steps."""
    if options.baseline is not None:
        return options.baseline, options.run.steps
    run = rescoring.recorded_run(recorded)
    if options.run.steps is not None:
        return run.baseline, options.run.steps
    if run.command is None and card_of_baseline(run.baseline).steps:
        raise UsageError(
            f"the record of {recorded.name} has no command, and {run.baseline} has published steps",
            hint="say what was done with --step or --no-steps",
        )
    return run.baseline, run.steps


def _described_again(row: _Row, path: Path, count: int) -> DescribedSample:
    """Return how vectors of ``count`` images, described again, agree with those in the submission file ``path``."""
    options = row.options
    if not is_descriptors(path):
        raise DataError(f"{path}: pairs, of which no image can be described again", hint="take --whole")
    attributes = read_attributes(path)
    baseline = options.baseline or attributes.get("baseline")
    if baseline is None:
        raise DataError(f"{path}: says no baseline that made it", hint="name it with --baseline")
    redescribing.check_background(attributes, options.background)
    precision = options.run.precision or attributes.get("precision")
    chosen = replace(options.run, name=f"sample of {path.stem[:40]}", precision=precision)
    runner = load_runner(baseline, chosen, row.progress, row.tell, matching=False)
    described: dict[Side, Path] = {}
    seed = secrets.randbelow(1 << 32) if options.seed is None else options.seed
    with read_submission(path, progress=row.progress) as submission:
        drawn = redescribing.drawn(submission, count, seed)
        least = redescribing.LEAST_SAMPLE if options.record else 2
        least = min(least, len(submission.queries.ids) + len(submission.references.ids))
        if len(drawn) < least:
            raise UsageError(
                f"--record: a sample of {len(drawn):,} images", hint=f"take --sample {least} or more, up to all"
            )
        row.tell(f"sample of {len(drawn):,} images; --seed {seed} draws the same ones again, after a stop too")
        work = _cache() / "samples" / f"{submission.sha256[:16]}-{count}-{seed}"
        for side in ("queries", "references"):
            source = SelectedSource(images_of(row.pictured, side, progress=row.progress), drawn.of(side))
            described[side], _ = describe_side(runner, source, work, side=side, split=row.pictured)
            if options.baseline is None:
                _check_recipe(path, attributes, read_attributes(described[side]))
        stepped = redescribing.stepped(
            described, attributes, background=options.background, work=work, progress=row.progress
        )
        agreement = redescribing.agreement(submission, stepped)
    shutil.rmtree(work, ignore_errors=True)
    return DescribedSample(baseline, seed, agreement)


def _check_recipe(path: Path, expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    for key in _RECIPE:
        if key in expected and expected[key] != found.get(key):
            raise DataError(
                f"{key} is {found.get(key, 'none')[:80]!r} here, but {expected[key][:80]!r} in {path}",
                hint="give the weights and the precision that made the file, or name another baseline with --baseline",
            )


def _worst(comparisons: Sequence[Comparison], sample: DescribedSample | None) -> Verdict:
    verdicts = {one.verdict for one in comparisons}
    if "FAIL" in verdicts or (sample is not None and not sample.agreement.passed):
        return "FAIL"
    return "close" if "close" in verdicts else "OK"


def _verified(row: _Row, card: SubmissionCard, found: Result, sample: DescribedSample | None) -> Verified:
    """Return what the card now says, after it was written: the table ``[verified]`` and nothing else changes."""
    day = row.options.day or datetime.now(UTC).date()
    verified = Verified(level="re-scored", predictions_sha256=row.recorded[0].predictions_sha256, date=day.isoformat())
    changes: dict[str, object] = {}
    if row.options.whole and found.describing is not None:
        note = f"all images described again with {found.describing.baseline}"
        changes = {"level": "re-described", "images": found.describing.images, "note": note}
    elif sample is not None:
        changes = {
            "level": "re-described",
            "images": sample.agreement.images,
            "lowest_cosine": round(sample.agreement.lowest_cosine, 6),
            "note": f"a sample, drawn with seed {sample.seed}, described again with {sample.baseline}",
        }
    verified = verified.model_copy(update=changes)
    path, before = rescoring.card_path(row.recorded[0].name, row.options.submissions), card.verified
    same_list = before is not None and before.predictions_sha256 == verified.predictions_sha256
    if before is not None and same_list and (before.level, verified.level) == ("re-described", "re-scored"):
        row.tell(f"{path}: stays re-described, which is more than re-scored")
        return before
    after = card.model_copy(update={"verified": verified})
    atomic.write_text(path, with_table(path.read_text(encoding="utf-8"), after, "verified"))
    row.tell(f"{path}: [verified] written, {verified.level}")
    return verified
