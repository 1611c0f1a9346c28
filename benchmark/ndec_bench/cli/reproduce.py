"""``ndec-bench reproduce``: a row of the leaderboard made again, and compared with what is recorded."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ndec_bench.cli import console
from ndec_bench.cli.root import Root, folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ndec_bench.cli.run_baseline import How
    from ndec_bench.data.split import Split
    from ndec_bench.redescribing import Agreement, Side
    from ndec_bench.report import Result
    from ndec_bench.reproduction import Comparison, Verdict
    from ndec_bench.submission import SubmissionCard, Verified

_MOST_DIFFERENCES = 20
_SHOWN = ("micro_ap", "recall_at_p90", "recall_at_1")
_RECIPE = ("baseline", "baseline_version", "precision", "weights_sha256")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(reproduce)


def reproduce(
    name: Annotated[str, typer.Argument(help="Name of the submission.", show_default=False)],
    protocol: Annotated[
        str | None, typer.Option(help="The result under this protocol alone (default: all there are).")
    ] = None,
    results: Annotated[Path, typer.Option(help="Folder of the records.")] = Path("results"),
    submissions: Annotated[Path, typer.Option(help="Folder of the cards.")] = Path("submissions"),
    root: Root = None,
    file: Annotated[
        Path | None, typer.Option(help="The submission file, in place of the card's address.", show_default=False)
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(help="Describe so many images again too, drawn by the digest of the file.", min=2, metavar="N"),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="In place of a file: run the baseline on the whole split again.")
    ] = False,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Data root with the images (default: --root).", metavar="ROOT", parser=folder, show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="With --whole: folder for what is made (default: removed in the end).", show_default=False),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="The baseline to describe with (default: the one on record).")
    ] = None,
    step: Annotated[
        list[str] | None,
        typer.Option(
            help="With --whole: post-processing in place of that on record; may be repeated.", show_default=False
        ),
    ] = None,
    no_steps: Annotated[bool, typer.Option("--no-steps", help="With --whole: no post-processing.")] = False,
    weights: Annotated[
        Path | None, typer.Option(help="File of trained weights, or folder of them.", show_default=False)
    ] = None,
    weights_sha256: Annotated[
        str | None, typer.Option(help="Digest of weights of your own, in place of the published one.")
    ] = None,
    background: Annotated[
        Path | None,
        typer.Option(
            help="With --sample: descriptors of the background that steps were fitted on.", show_default=False
        ),
    ] = None,
    detections: Annotated[
        Path | None, typer.Option(help="CSV of detected overlays that queries are cut to.", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="float32, float16 or bfloat16 (default: that of the file, else float32).")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Threads that describe.", min=1, show_default="one per core")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of the search.", min=1, show_default="one per core")
    ] = None,
    backend: Annotated[
        Literal["auto", "blas", "faiss", "torch"],
        typer.Option(help="Library of the fast pass; no result depends on it."),
    ] = "auto",
    record: Annotated[
        bool, typer.Option("--record", help="If all is OK, write the table [verified] of the card.")
    ] = False,
    date: Annotated[
        str | None, typer.Option(help="With --record: day of the check, YYYY-MM-DD (default: today).")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Score a submission again with the recorded choices, and say OK, close or FAIL (exit code 3).

    The file is fetched from the card's address, or given with --file. --sample describes some of the images again and
    compares the vectors; --whole needs no file and describes all of them.
    """
    from ndec_bench import rescoring
    from ndec_bench.data.roots import data_root, find_split
    from ndec_bench.reproduction import compared

    given = _Given(file, sample, whole, out, baseline, tuple(step or ()), no_steps, background)
    given.check()
    day = _day(date)
    recorded = rescoring.recorded_results(name, results, protocol)
    card = rescoring.card_of(name, submissions)
    if record:
        _check_recordable(name, card, recorded, given)
    split = find_split(recorded[0].split, data_root(root))
    for one in recorded:
        rescoring.check_split(one, split)
    pictured = split if images is None else find_split(recorded[0].split, images)
    rescoring.check_split(recorded[0], pictured)
    how = _how(weights, weights_sha256, device, precision, workers, detections)
    sampled = None
    if whole:
        found = _made_again(recorded, pictured, given, how, threads, backend)
    else:
        path = _file(given, card, recorded[0])
        if sample is not None:  # first, for it may lack weights or a background
            sampled = _described_again(path, pictured, sample, given, how, has_precision=precision is not None)
        found = _scored_again(recorded, path, split, given, threads, backend)
    comparisons = [compared(before, now) for before, now in zip(recorded, found, strict=True)]
    verdict = _worst(comparisons, sampled)
    verified = None
    if record and verdict == "OK" and card is not None:
        verified = _recorded(card, rescoring.card_path(name, submissions), recorded[0], found[0], given, sampled, day)
    elif record:
        console.note(f"not recorded: {verdict}, and only OK is")
    if json:
        console.out_json(_content(name, verdict, recorded, comparisons, sampled, verified))
    else:
        _show(recorded, found, comparisons, sampled)
    _finish(name, verdict, as_json=json)


@dataclass(frozen=True)
class _Given:
    """What is to be made again, and from what."""

    file: Path | None
    sample: int | None
    whole: bool
    out: Path | None
    baseline: str | None
    step: tuple[str, ...]
    no_steps: bool
    background: Path | None

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


def _how(
    weights: Path | None,
    weights_sha256: str | None,
    device: str,
    precision: str | None,
    workers: int | None,
    detections: Path | None,
) -> How:
    from ndec_bench.cli.run_baseline import How

    return How(weights, weights_sha256, device, precision or "float32", workers, detections=detections)


def _day(date: str | None) -> str:
    from datetime import UTC, datetime

    from ndec_bench.errors import UsageError

    if date is None:
        return datetime.now(UTC).date().isoformat()
    try:
        return datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC).date().isoformat()
    except ValueError:
        raise UsageError(f"--date {date[:40]!r}", hint="write the day as YYYY-MM-DD") from None


def _check_recordable(name: str, card: SubmissionCard | None, recorded: Sequence[Result], given: _Given) -> None:
    from ndec_bench.errors import UsageError

    if card is None:
        raise UsageError(f"--record: {name} has no card", hint="name the folder of cards with --submissions")
    if len({one.predictions_sha256 for one in recorded}) > 1:
        raise UsageError(
            f"--record: {name} has several results, and a card is verified for one list", hint="add --protocol"
        )
    public = card.descriptors is not None and card.descriptors.url is not None
    if not (given.whole or given.sample or public):
        raise UsageError(
            f"--record: the card of {name} names no address, so that nobody else could score the file again",
            hint="describe it again with --sample or --whole",
        )


def _file(given: _Given, card: SubmissionCard | None, recorded: Result) -> Path:
    """Return the submission file, given or fetched. Raises DataError if it is not the one of the record."""
    from platformdirs import user_cache_path

    from ndec_bench import rescoring
    from ndec_bench.errors import DataError

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
    with console.progress() as progress:
        return rescoring.fetch(files, cache, tell=console.note, progress=progress)


def _or_whole(recorded: Result) -> str:
    """Return how a file that nobody has can be had, as far as the record tells."""
    from ndec_bench import rescoring
    from ndec_bench.errors import DataError

    try:
        run = rescoring.recorded_run(recorded)
    except DataError:
        return ""
    return f", or make it again with --whole (as {run.command or f'ndec-bench run {run.baseline}'} did)"


def _scored_again(
    recorded: Sequence[Result], path: Path, split: Split, given: _Given, threads: int | None, backend: str
) -> list[Result]:
    from ndec_bench import rescoring
    from ndec_bench.descriptors import read_background

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


def _made_again(
    recorded: Sequence[Result], split: Split, given: _Given, how: How, threads: int | None, backend: str
) -> list[Result]:
    """Return the results of the baseline run on the whole split again, with the choices of each record."""
    from platformdirs import user_cache_path

    import ndec_baselines
    from ndec_bench import pipeline, rescoring
    from ndec_bench.cli.run_baseline import method_of
    from ndec_bench.descriptors import sha256_of_file

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


def _run_of(recorded: Result, given: _Given) -> tuple[str, tuple[str, ...] | None]:
    """Return baseline and steps: as given, else as recorded; None for the published steps."""
    import ndec_baselines
    from ndec_bench import rescoring
    from ndec_bench.errors import UsageError

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


@dataclass(frozen=True)
class _Sampled:
    """A sample described again."""

    baseline: str
    agreement: Agreement


def _described_again(path: Path, split: Split, count: int, given: _Given, how: How, *, has_precision: bool) -> _Sampled:
    """Return how vectors of a sample, described again, agree with those in the submission file ``path``."""
    from platformdirs import user_cache_path

    from ndec_bench import redescribing
    from ndec_bench.cli.run_baseline import describer
    from ndec_bench.data.images import SelectedSource
    from ndec_bench.data.split_images import images_of
    from ndec_bench.descriptors import read_attributes, read_submission
    from ndec_bench.errors import DataError
    from ndec_bench.pipeline import image_attributes
    from ndec_bench.scoring import is_descriptors

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
    with console.progress() as progress, read_submission(path, progress=progress) as submission:
        drawn = redescribing.drawn(submission, count)
        work = user_cache_path("ndec-bench", appauthor=False) / "samples" / f"{submission.sha256[:16]}-{count}"
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
    return _Sampled(baseline, agreement)


def _check_recipe(path: Path, expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    from ndec_bench.errors import DataError

    for key in _RECIPE:
        if key in expected and expected[key] != found.get(key):
            raise DataError(
                f"{key} is {found.get(key, 'none')[:80]!r} here, but {expected[key][:80]!r} in {path}",
                hint="give the weights and the precision that made the file, or name another baseline with --baseline",
            )


def _worst(comparisons: Sequence[Comparison], sampled: _Sampled | None) -> Verdict:
    verdicts = {one.verdict for one in comparisons}
    if "FAIL" in verdicts or (sampled is not None and not sampled.agreement.passed):
        return "FAIL"
    return "close" if "close" in verdicts else "OK"


def _recorded(
    card: SubmissionCard,
    path: Path,
    recorded: Result,
    found: Result,
    given: _Given,
    sampled: _Sampled | None,
    day: str,
) -> Verified:
    """Return what the card now says, after it was written: the table ``[verified]`` and nothing else changes."""
    from ndec_bench import atomic
    from ndec_bench.submission import Verified, write_card

    verified = Verified(level="re-scored", predictions_sha256=recorded.predictions_sha256, date=day)
    if given.whole and found.describing is not None:
        note = f"all images described again with {found.describing.baseline}"
        verified = verified.model_copy(
            update={"level": "re-described", "images": found.describing.images, "note": note}
        )
    elif sampled is not None:
        agreement = sampled.agreement
        verified = verified.model_copy(
            update={
                "level": "re-described",
                "images": agreement.images,
                "lowest_cosine": round(agreement.lowest_cosine, 6),
                "note": f"a sample described again with {sampled.baseline}",
            }
        )
    before = card.verified
    same_list = before is not None and before.predictions_sha256 == verified.predictions_sha256
    if before is not None and same_list and (before.level, verified.level) == ("re-described", "re-scored"):
        console.note(f"{path}: stays re-described, which is more than re-scored")
        return before
    atomic.write_text(path, write_card(card.model_copy(update={"verified": verified})))
    console.note(f"{path}: [verified] written, {verified.level}")
    return verified


def _show(
    recorded: Sequence[Result], found: Sequence[Result], comparisons: Sequence[Comparison], sampled: _Sampled | None
) -> None:
    for before, now, comparison in zip(recorded, found, comparisons, strict=True):
        console.table(
            f"{before.name} on {before.split}, protocol {before.protocol}: {comparison.verdict}",
            ["", "recorded", "now", "difference"],
            [*_rows(before, now), *_other_rows(comparison)],
            caption=_caption(comparison),
        )
    if sampled is not None:
        agreement = sampled.agreement
        console.summary(
            {
                "described again": f"{agreement.images:,} images with {sampled.baseline}",
                "lowest cosine": f"{agreement.lowest_cosine:.6f} ({agreement.lowest_id})",
                "mean cosine": f"{agreement.mean_cosine:.6f}",
                "length apart": f"{100 * agreement.length:.3f} % at most ({agreement.length_id})",
                **(
                    {}
                    if agreement.norm is None
                    else {"norm apart": f"{100 * agreement.norm:.3f} % at most ({agreement.norm_id})"}
                ),
                "verdict": "OK" if agreement.passed else "FAIL",
            }
        )


def _rows(before: Result, now: Result) -> list[list[str]]:
    rows = [["list of pairs", before.predictions_sha256[:12], now.predictions_sha256[:12], ""]]
    for part in before.parts:
        if part in now.parts:
            for measure in _SHOWN:
                first, second = (getattr(one.parts[part], measure) for one in (before, now))
                apart = "" if None in (first, second) else f"{second - first:+.6f}"
                rows.append([f"parts.{part}.{measure}", _number(first), _number(second), apart])
    return rows


def _other_rows(comparison: Comparison) -> list[list[str]]:
    """Return rows of differing values that `_rows` does not show."""
    shown = tuple(f".{measure}" for measure in _SHOWN)
    others = [
        one
        for one in comparison.differences
        if not (one.field.startswith("parts.") and one.field.count(".") == 2 and one.field.endswith(shown))
    ]
    return [[_value(one.field), _value(one.recorded), _value(one.found), ""] for one in others[:_MOST_DIFFERENCES]]


def _caption(comparison: Comparison) -> str:
    from ndec_bench.reproduction import RESCORED

    if comparison.verdict == "OK":
        return "the same list of pairs and the same scores"
    same = "the same list of pairs" if comparison.same_list else "another list of pairs"
    return f"{same}, {len(comparison.differences):,} values differ; close: µAP and recall@P90 within {RESCORED}"


def _number(value: float | None) -> str:
    return "not reached" if value is None else f"{value:.6f}"


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6f}"
    plain = "".join(sign if sign.isprintable() else " " for sign in str(value))
    return "none" if value is None else plain[:80]


def _content(
    name: str,
    verdict: Verdict,
    recorded: Sequence[Result],
    comparisons: Sequence[Comparison],
    sampled: _Sampled | None,
    verified: Verified | None,
) -> dict[str, Any]:
    from dataclasses import asdict

    results = [
        {"protocol": one.protocol, **asdict(comparison)} for one, comparison in zip(recorded, comparisons, strict=True)
    ]
    sample = None
    if sampled is not None:
        sample = {"baseline": sampled.baseline, "passed": sampled.agreement.passed, **asdict(sampled.agreement)}
    return {
        "name": name,
        "verdict": verdict,
        "results": results,
        "sample": sample,
        "verified": None if verified is None else verified.model_dump(mode="json"),
    }


def _finish(name: str, verdict: Verdict, *, as_json: bool) -> None:
    """Print the verdict, end with 3 if it is FAIL."""
    from ndec_bench.errors import SubmissionError

    if not as_json:
        console.out(verdict)
    if verdict != "FAIL":
        return
    if as_json:  # the verdict is printed; a second JSON object would spoil the first
        raise typer.Exit(SubmissionError.exit_code)
    raise SubmissionError(
        f"{name} does not reproduce", hint="check weights, images and versions against the record's provenance"
    )
