"""Ways to a second result for ``ndec-bench reproduce``: a file given or fetched, all images, or a sample of them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ndec_bench.cli import console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ndec_bench.cli.run_baseline import How
    from ndec_bench.data.split import Split
    from ndec_bench.results.record import Result
    from ndec_bench.submissions.card import SubmissionCard
    from ndec_bench.verification.redescribe import Agreement, Side

_RECIPE = ("baseline", "baseline_version", "precision", "weights_sha256")


@dataclass(frozen=True)
class Given:
    """What is to be made again, and from what."""

    file: Path | None
    sample: int | None
    whole: bool
    out: Path | None
    baseline: str | None
    step: tuple[str, ...]
    no_steps: bool
    background: Path | None
    seed: int | None

    def check(self) -> None:
        """Raise UsageError if options contradict each other, before any work."""
        from ndec_bench.errors import UsageError

        if self.whole and (self.sample is not None or self.file is not None):
            raise UsageError("--whole does it all again: no --sample, no --file", hint="leave them out")
        if not self.whole and (self.out is not None or self.step or self.no_steps):
            raise UsageError("--out, --step and --no-steps are for --whole", hint="add --whole or leave them out")
        if self.step and self.no_steps:
            raise UsageError("--step and --no-steps contradict each other", hint="give one of them")
        if self.sample is None and not self.whole and self.baseline is not None:
            raise UsageError("--baseline is for --sample and --whole", hint="add one of them, or leave it out")
        if self.sample is None and self.seed is not None:
            raise UsageError("--seed is for --sample", hint="add it, or leave --seed out")


@dataclass(frozen=True)
class Sampled:
    """A sample described again."""

    baseline: str
    seed: int
    agreement: Agreement


def how_of(
    weights: Path | None,
    weights_sha256: str | None,
    device: str,
    precision: str | None,
    workers: int | None,
    detections: Path | None,
) -> How:
    """Return how images are described, float32 where nothing else is said."""
    from ndec_bench.cli.run_baseline import How

    return How(weights, weights_sha256, device, precision or "float32", workers, detections=detections)


def file_of(given: Given, card: SubmissionCard | None, recorded: Result, *, public: bool) -> Path:
    """Return the submission file, given or fetched. Raises DataError if it is not the one of the record.

    ``public`` fetches from the public network alone. Else an address that openly names this machine or its network is
    asked as well; one that leads there by a redirect or a name is not.
    """
    from platformdirs import user_cache_path

    from ndec_bench.download.public import is_public
    from ndec_bench.errors import DataError
    from ndec_bench.verification import rescore as rescoring

    files = card.descriptors if card else None
    expected = recorded.digests.submission
    if files is not None and files.sha256 != expected:
        raise DataError(
            f"the card of {recorded.name} is about a file with SHA-256 {files.sha256}, the record about {expected}",
            hint="score the file of the card, and record that",
        )
    if given.file is not None:
        return rescoring.checked_file(given.file, expected)
    if files is None or files.url is None:
        raise DataError(
            f"{recorded.name}: the card names no address of the file",
            hint=f"give the file with --file{_or_whole(recorded)}",
        )
    cache = user_cache_path("ndec-bench", appauthor=False) / "submissions"
    private = not public and not is_public(urlsplit(files.url).hostname or "")
    with console.progress() as progress:
        return rescoring.fetch(files, cache, private=private, tell=console.note, progress=progress)


def _or_whole(recorded: Result) -> str:
    """Return how a file that nobody has can be had, as far as the record tells."""
    from ndec_bench.errors import DataError
    from ndec_bench.verification import rescore as rescoring

    try:
        run = rescoring.recorded_run(recorded)
    except DataError:
        return ""
    return f", or make it again with --whole (as {run.command or f'ndec-bench run {run.baseline}'} did)"


def scored_again(
    recorded: Sequence[Result], path: Path, split: Split, given: Given, threads: int | None, backend: str
) -> list[Result]:
    """Return the results of the submission file ``path``, with the choices of each record."""
    from ndec_bench.descriptors import read_background
    from ndec_bench.verification import rescore as rescoring

    with console.progress() as progress:
        # A sample needs the background before its steps; the protocol card has that after them in the file.
        outside = given.background if given.sample is None else None
        normalising = None if outside is None else read_background(outside, progress=progress)
        return [
            rescoring.rescore(
                one, path, split, background=normalising, backend=backend, threads=threads, progress=progress
            )
            for one in recorded
        ]


def made_again(
    recorded: Sequence[Result], split: Split, given: Given, how: How, threads: int | None, backend: str
) -> list[Result]:
    """Return the results of the baseline run on the whole split again, with the choices of each record."""
    from platformdirs import user_cache_path

    import ndec_baselines
    from ndec_bench import pipeline
    from ndec_bench.cli.run_baseline import method_of
    from ndec_bench.descriptors import sha256_of_file
    from ndec_bench.verification import rescore as rescoring

    baseline, steps = _run_of(recorded[0], given)
    name = ndec_baselines.card(baseline).name
    if how.weights is not None and how.weights.is_file():  # runs with other weights must not meet in one folder
        name = f"{name}-{sha256_of_file(how.weights)[:12]}"
    work = given.out or user_cache_path("ndec-bench", appauthor=False) / "runs" / recorded[0].name
    took = recorded[0].describing
    if took is not None and took.seconds is not None:
        console.note(f"making {recorded[0].name} again in {work}; on record: {took.seconds:,.0f} s")
    found = []
    with console.progress() as progress:
        method = method_of(baseline, split.name, name=name, steps=steps, how=how)
        for one in recorded:
            options = replace(rescoring.choices_of(one), threads=threads, backend=backend)
            found.append(pipeline.run(method, split, work, options=options, progress=progress))
    if given.out is None:
        shutil.rmtree(work, ignore_errors=True)
    return found


def _run_of(recorded: Result, given: Given) -> tuple[str, tuple[str, ...] | None]:
    """Return baseline and steps: as given, else as recorded; None for the published steps."""
    import ndec_baselines
    from ndec_bench.errors import UsageError
    from ndec_bench.verification import rescore as rescoring

    steps = () if given.no_steps else given.step or None
    if given.baseline is not None:
        return given.baseline, steps
    run = rescoring.recorded_run(recorded)
    if given.no_steps or given.step:
        return run.baseline, steps
    if run.command is None and ndec_baselines.card(run.baseline).steps:
        raise UsageError(
            f"the record of {recorded.name} has no command, and {run.baseline} has published steps",
            hint="say what was done with --step or --no-steps",
        )
    return run.baseline, run.steps


def described_again(
    path: Path, split: Split, count: int, given: Given, how: How, least: int, *, has_precision: bool
) -> Sampled:
    """Return how vectors of a sample, described again, agree with those in the submission file ``path``.

    Raises UsageError if it would have fewer than ``least`` images and is not all of them.
    """
    import secrets

    from platformdirs import user_cache_path

    from ndec_bench.cli.run_baseline import describer
    from ndec_bench.data.images import SelectedSource
    from ndec_bench.data.layouts import images_of
    from ndec_bench.descriptors import read_attributes, read_submission
    from ndec_bench.errors import DataError, UsageError
    from ndec_bench.pipeline import image_attributes
    from ndec_bench.scoring.score import is_descriptors
    from ndec_bench.verification import redescribe as redescribing

    if not is_descriptors(path):
        raise DataError(f"{path}: pairs, of which no image can be described again", hint="take --whole")
    attributes = read_attributes(path)
    baseline = given.baseline or attributes.get("baseline")
    if baseline is None:
        raise DataError(f"{path}: says no baseline that made it", hint="name it with --baseline")
    redescribing.check_background(attributes, given.background)
    if not has_precision:
        how = replace(how, precision=attributes.get("precision", "float32"))
    describe = describer(baseline, f"sample of {path.stem[:40]}", how)
    described: dict[Side, Path] = {}
    seed = secrets.randbelow(1 << 32) if given.seed is None else given.seed
    with console.progress() as progress, read_submission(path, progress=progress) as submission:
        drawn = redescribing.drawn(submission, count, seed)
        least = min(least, len(submission.queries.ids) + len(submission.references.ids))
        if len(drawn) < least:
            raise UsageError(
                f"--record: a sample of {len(drawn):,} images", hint=f"take --sample {least} or more, up to all"
            )
        console.note(f"sample of {len(drawn):,} images; --seed {seed} draws the same ones again, after a stop too")
        name = f"{submission.sha256[:16]}-{count}-{seed}"
        work = user_cache_path("ndec-bench", appauthor=False) / "samples" / name
        for side in ("queries", "references"):
            source = SelectedSource(images_of(split, side, progress=progress), drawn.of(side))
            described[side] = work / f"{side}.h5"
            describe(source, described[side], side=side, attributes=image_attributes(split), progress=progress)
            if given.baseline is None:
                _check_recipe(path, attributes, read_attributes(described[side]))
        described = redescribing.stepped(
            described, attributes, background=given.background, work=work, progress=progress
        )
        agreement = redescribing.agreement(submission, described)
    shutil.rmtree(work, ignore_errors=True)
    return Sampled(baseline, seed, agreement)


def _check_recipe(path: Path, expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    from ndec_bench.errors import DataError

    for key in _RECIPE:
        if key in expected and expected[key] != found.get(key):
            raise DataError(
                f"{key} is {found.get(key, 'none')[:80]!r} here, but {expected[key][:80]!r} in {path}",
                hint="give the weights and the precision that made the file, or name another baseline with --baseline",
            )
