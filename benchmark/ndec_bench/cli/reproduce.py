"""``ndec-bench reproduce``: a row of the leaderboard made again, and compared with what is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ndec_bench.cli import console
from ndec_bench.cli.options import Root, folder
from ndec_bench.cli.reproduce_view import content, show
from ndec_bench.cli.reproduce_ways import Given, described_again, file_of, how_of, made_again, scored_again

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.cli.reproduce_ways import Sampled
    from ndec_bench.results.differences import Comparison, Verdict
    from ndec_bench.results.record import Result
    from ndec_bench.submissions.card import SubmissionCard, Verified


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
        typer.Option(help="Describe so many images again too, half of them queries.", min=2, metavar="N"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="With --sample: draws the images (default: a new one, which is told).",
            min=0,
            metavar="N",
            show_default=False,
        ),
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
    public_hosts: Annotated[
        bool, typer.Option("--public-hosts", help="Fetch from the public network alone, whatever the card says.")
    ] = False,
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
    from ndec_bench.data.roots import data_root, find_split
    from ndec_bench.results.differences import compared
    from ndec_bench.verification import redescribe as redescribing
    from ndec_bench.verification import rescore as rescoring

    given = Given(file, sample, whole, out, baseline, tuple(step or ()), no_steps, background, seed)
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
    how = how_of(weights, weights_sha256, device, precision, workers, detections)
    sampled = None
    if whole:
        found = made_again(recorded, pictured, given, how, threads, backend)
    else:
        path = file_of(given, card, recorded[0], public=public_hosts)
        if sample is not None:  # first, for it may lack weights or a background
            least = redescribing.LEAST_SAMPLE if record else 2
            sampled = described_again(path, pictured, sample, given, how, least, has_precision=precision is not None)
        found = scored_again(recorded, path, split, given, threads, backend)
    comparisons = [compared(before, now) for before, now in zip(recorded, found, strict=True)]
    verdict = _worst(comparisons, sampled)
    verified = None
    if record and verdict == "OK" and card is not None:
        verified = _recorded(card, rescoring.card_path(name, submissions), recorded[0], found[0], given, sampled, day)
    elif record:
        console.note(f"not recorded: {verdict}, and only OK is")
    if json:
        console.out_json(content(name, verdict, recorded, comparisons, sampled, verified))
    else:
        show(recorded, found, comparisons, sampled)
    _finish(name, verdict, as_json=json)


def _day(date: str | None) -> str:
    from datetime import UTC, datetime

    from ndec_bench.errors import UsageError

    if date is None:
        return datetime.now(UTC).date().isoformat()
    try:
        return datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=UTC).date().isoformat()
    except ValueError:
        raise UsageError(f"--date {date[:40]!r}", hint="write the day as YYYY-MM-DD") from None


def _check_recordable(name: str, card: SubmissionCard | None, recorded: Sequence[Result], given: Given) -> None:
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
    if given.file is not None and given.sample is None:
        raise UsageError(
            "--record: with --file nobody looks at what the card's address serves",
            hint="leave --file out, or describe images again with --sample",
        )


def _worst(comparisons: Sequence[Comparison], sampled: Sampled | None) -> Verdict:
    verdicts = {one.verdict for one in comparisons}
    if "FAIL" in verdicts or (sampled is not None and not sampled.agreement.passed):
        return "FAIL"
    return "close" if "close" in verdicts else "OK"


def _recorded(
    card: SubmissionCard,
    path: Path,
    recorded: Result,
    found: Result,
    given: Given,
    sampled: Sampled | None,
    day: str,
) -> Verified:
    """Return what the card now says, after it was written: the table ``[verified]`` and nothing else changes."""
    from ndec_bench import atomic
    from ndec_bench.submissions.card import Verified, with_table

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
                "note": f"a sample, drawn with seed {sampled.seed}, described again with {sampled.baseline}",
            }
        )
    before = card.verified
    same_list = before is not None and before.predictions_sha256 == verified.predictions_sha256
    if before is not None and same_list and (before.level, verified.level) == ("re-described", "re-scored"):
        console.note(f"{path}: stays re-described, which is more than re-scored")
        return before
    after = card.model_copy(update={"verified": verified})
    atomic.write_text(path, with_table(path.read_text(encoding="utf-8"), after, "verified"))
    console.note(f"{path}: [verified] written, {verified.level}")
    return verified


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
