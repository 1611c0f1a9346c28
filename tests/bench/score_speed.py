"""Time ``ndec-bench score`` beside the bare float32 matrix product of the same shapes, and beside its peers.

Usage: python tests/bench/score_speed.py [--quick | --full | --references 100000] [--evaluator] [--large]
       [--backends auto faiss torch] [--isc2021 SCRIPT] [--drivendata SCRIPT] [--markdown | --json]

Every run is a process of its own; the runs of a case take turns, and medians are reported. docs/performance.md says
what each row means. Progress goes to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import sys
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from timing import Run, cores, describe, run, show, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HERE = Path(__file__).parent
LIBRARY_SETTINGS = re.compile(r"(OPENBLAS|OMP|MKL|GOTO|BLIS)_")
EPOCH = (10_000, 25_000)
QUICK, BASE, LARGE = 20_000, 100_000, 1_000_000
FLOOR_SHARE = 10  # the floor of the largest case is measured on one in so many references

Cell = tuple[float, str]  # seconds, note


@dataclass(frozen=True)
class Job:
    """A command to time in a case.

    Attributes
    ----------
    name
        Its row.
    read
        Gives the seconds to report and a note, from a run.
    floor
        It is a bare product: the fastest of these is the floor.
    most
        Most repetitions.
    """

    name: str
    command: Sequence[str]
    read: Callable[[Run], Cell]
    environment: dict[str, str] = field(default_factory=dict)
    floor: bool = False
    most: int = 99


@dataclass(frozen=True)
class Row:
    """A row of the table; None where a number says nothing.

    Attributes
    ----------
    seconds, best
        Median and least.
    to_floor, best_to_floor
        Median by the median of the floor, and least by its least, which other work on the machine disturbs less.
    peak
        Largest resident size of the runs in bytes.
    runs, note
        Number of runs; what the best of them told.
    """

    name: str
    seconds: float | None = None
    best: float | None = None
    to_floor: float | None = None
    best_to_floor: float | None = None
    peak: int | None = None
    runs: int = 1
    note: str = ""


@dataclass(frozen=True)
class Table:
    """One case: its shape in words, its rows."""

    title: str
    rows: list[Row]


def main() -> int:
    """Print the tables; return 1 if a command of this package failed."""
    arguments = _arguments()
    setting = _library_settings(keep=not arguments.clean_environment)
    sizes = _sizes(arguments)
    tables = []
    for references in sizes:
        tables.append(_case(arguments, references, small=len(sizes) > 1 and references == QUICK))
        if not arguments.json:  # what is there is shown, should a later case be interrupted
            if len(tables) == 1:
                print(f"{describe()}\n\n{setting}\n")
            _show(tables[-1], markdown=arguments.markdown)
    if arguments.evaluator:
        tables.append(_epochs(arguments))
        if not arguments.json:
            _show(tables[-1], markdown=arguments.markdown)
    if arguments.json:
        print(
            json.dumps(
                {"machine": describe(), "environment": setting, "tables": [asdict(table) for table in tables]}, indent=1
            )
        )
    failed = [row.name for table in tables for row in table.rows if row.seconds is None and not _is_peer(row.name)]
    for name in failed:
        print(f"failed: {name}", file=sys.stderr)
    return int(bool(failed))


def _library_settings(*, keep: bool) -> str:
    """Return in words what the environment tells the libraries; take it away for all runs unless it is to be kept.

    A setting such as OPENBLAS_CORETYPE=Haswell halves the speed of floor and search alike on wider processors.
    """
    found = {name: value for name, value in sorted(os.environ.items()) if LIBRARY_SETTINGS.match(name)}
    if not found:
        return "The environment sets nothing for OpenBLAS, OpenMP or MKL."
    for name in () if keep else found:
        del os.environ[name]
    texts = ", ".join(f"{name}={value}" for name, value in found.items())
    return f"The environment sets {texts}; {'kept' if keep else 'taken away for all runs'}."


def _sizes(arguments: argparse.Namespace) -> list[int]:
    if arguments.quick:
        return [QUICK]
    if arguments.full:
        return [QUICK, BASE, LARGE]
    return [arguments.references, *([LARGE] if arguments.large else [])]


def _case(arguments: argparse.Namespace, references: int, *, small: bool) -> Table:
    """Return the timings of all jobs at one number of references."""
    large = references >= LARGE
    jobs = [*_floors(arguments, references), *_own_jobs(arguments, references, small=small)]
    if not large:
        jobs += _peers(arguments, references)
    repetitions = 1 if large else arguments.repetitions
    title = f"{arguments.queries:,} queries × {references:,} references × {arguments.dimension} dimensions"
    rows = _timed(title, jobs, repetitions)
    if arguments.drivendata:  # its script leaves a list of pairs beside the submission
        Path(_files(arguments, references)["submission"]).with_suffix(".csv").unlink(missing_ok=True)
    return Table(title, rows)


def _floors(arguments: argparse.Namespace, references: int) -> list[Job]:
    share = FLOOR_SHARE if references >= LARGE else 1
    shape = ["--queries", arguments.queries, "--references", references // share, "--dimension", arguments.dimension]

    def read(done: Run) -> Cell:
        facts = done.facts
        part = f"; a tenth of the references, times {share}" if share > 1 else ""
        return facts["seconds"] * share, f"{facts['library']}; {facts['gflops']:.0f} GFLOP/s{part}"

    def product(library: str) -> list[str]:
        return _script("score_parts.py", "product", "--library", library, *shape, "--threads", arguments.threads)

    jobs = [Job("bare product, NumPy", product("numpy"), read, floor=True)]
    if _installed("torch"):
        jobs.append(Job("bare product, torch", product("torch"), read, floor=True))
    return jobs


def _own_jobs(arguments: argparse.Namespace, references: int, *, small: bool) -> list[Job]:
    files = _files(arguments, references)
    labels = ["--ground-truth", files["ground_truth"], "--hard-negatives", files["hard_negatives"]]
    threads = ["--threads", str(arguments.threads)]
    backends = ("auto", "faiss", "torch") if small else arguments.backends
    jobs = []
    for backend in backends:
        if backend in ("auto", "blas") or _installed(backend):
            options = [*threads, "--backend", backend, "--no-bootstrap", "--json"]
            command = [_ndec_bench(), "score", files["submission"], *labels, *options]
            jobs.append(Job(f"ndec-bench score --no-bootstrap, {backend}", command, _read_score))
    full = _script("score_parts.py", "after", "--submission", files["submission"], *labels, *threads)
    jobs.append(Job("score with bootstrap and protocol table", full, _read_whole, most=1))
    return jobs


def _peers(arguments: argparse.Namespace, references: int) -> list[Job]:
    files = _files(arguments, references)
    threads = {"OMP_NUM_THREADS": str(arguments.threads)}
    jobs = []
    if _installed("faiss"):
        command = _script(
            "score_parts.py", "faiss", "--submission", files["submission"], "--threads", arguments.threads
        )
        jobs.append(Job("peer: faiss.IndexFlatL2, 10 per query, no score", command, _read_whole))
    if arguments.isc2021:
        script = arguments.isc2021 / "scripts/compute_metrics.py" if arguments.isc2021.is_dir() else arguments.isc2021
        parted = _files(arguments, references, parted=True)
        options = ["--query_descs", parted["query"], "--db_descs", parted["reference"]]
        options += ["--gt_filepath", parted["ground_truth"], "--track2", "--max_dim", str(arguments.dimension)]
        environment = threads | {"PYTHONPATH": str(script.resolve().parent.parent), "MPLBACKEND": "Agg"}
        command = [arguments.peer_python, str(script), *options]
        jobs.append(Job("peer: isc2021 compute_metrics.py", command, _read_peer, environment, most=1))
    if arguments.drivendata:
        options = [files["submission"], files["ground_truth"], "--descriptor", "--ngpu", "0"]
        command = [arguments.peer_python, str(arguments.drivendata), *options]
        jobs.append(Job("peer: DrivenData eval_metrics.py", command, _read_peer, threads, most=1))
    return jobs


def _epochs(arguments: argparse.Namespace) -> Table:
    """Return the timings of the Evaluator, each beside the product in its own process."""
    queries, references = EPOCH
    command = _script(
        "score_parts.py",
        "evaluator",
        *("--queries", queries, "--references", references, "--dimension", arguments.dimension),
        *("--threads", arguments.threads, "--repetitions", max(5, arguments.repetitions)),
    )
    title = f"Evaluator, {queries:,} queries × {references:,} references × {arguments.dimension} dimensions"
    tell(title)
    done = run(command)
    facts = done.facts
    if not facts:
        return Table(title, [_failed("Evaluator", done)])
    calls, products = facts["calls"], facts["products"]
    rows = [
        _row("bare product, NumPy", products, note=facts["library"]),
        _row("Evaluator", calls, floor=products, peak=done.peak, note="calls and products in turn"),
    ]
    return Table(title, rows)


def _timed(title: str, jobs: Sequence[Job], repetitions: int) -> list[Row]:
    """Return a row per job; the jobs take turns."""
    runs: dict[str, list[Run]] = {job.name: [] for job in jobs}
    for turn in range(repetitions):
        for job in jobs:
            if turn < job.most and all(done.code == 0 for done in runs[job.name]):
                tell(f"{title}: {job.name}, run {turn + 1} of {min(repetitions, job.most)}")
                runs[job.name].append(run(job.command, job.environment))
    cells = {job.name: [job.read(done) for done in runs[job.name] if done.code == 0] for job in jobs}
    products = [[seconds for seconds, _ in cells[job.name]] for job in jobs if job.floor and cells[job.name]]
    floor = min(products, key=statistics.median) if products else None
    return [row for job in jobs for row in _rows(job, runs[job.name], cells[job.name], floor)]


def _rows(job: Job, runs: Sequence[Run], cells: Sequence[Cell], floor: Sequence[float] | None) -> list[Row]:
    if len(cells) < len(runs):
        return [_failed(job.name, next(done for done in runs if done.code))]
    peak = None if job.floor else max(done.peak for done in runs)
    times, note = [seconds for seconds, _ in cells], min(cells)[1]
    rows = [_row(job.name, times, floor=floor, peak=peak, note=note)]
    after = [done.facts["after"] for done in runs if "after" in done.facts]
    if after:
        rows.append(_row("of these, everything after the search", after, note="target 15 s"))
    return rows


def _row(
    name: str,
    times: Sequence[float],
    *,
    floor: Sequence[float] | None = None,
    peak: int | None = None,
    note: str = "",
) -> Row:
    median, best = statistics.median(times), min(times)
    return Row(
        name=name,
        seconds=median,
        best=best,
        to_floor=median / statistics.median(floor) if floor else None,
        best_to_floor=best / min(floor) if floor else None,
        peak=peak,
        runs=len(times),
        note=note,
    )


def _failed(name: str, done: Run) -> Row:
    return Row(name, note=f"failed: {done.complaint}")


def _read_score(done: Run) -> Cell:
    facts = done.facts
    score = facts["parts"]["all"]["micro_ap"]
    return done.seconds, f"µAP {score:.6f}, predictions {facts['predictions_sha256'][:16]}"


def _read_whole(done: Run) -> Cell:
    return done.seconds, f"the search took {done.facts['search']:.1f} s"


def _read_peer(done: Run) -> Cell:
    found = re.search(r"average[ _]precision\W+([0-9.]+)", done.out, re.IGNORECASE)
    return done.seconds, f"µAP {float(found[1]):.6f}" if found else ""


def _is_peer(name: str) -> bool:
    return name.startswith("peer:")


def _files(arguments: argparse.Namespace, references: int, *, parted: bool = False) -> dict[str, str]:
    """Return the paths of the data; a child makes them, so that this process stays small."""
    shape = ["--queries", arguments.queries, "--references", references, "--dimension", arguments.dimension]
    done = run(_script("synthetic.py", arguments.folder, *shape, *(["--parted"] if parted else [])))
    if not done.facts:
        sys.exit(f"the data could not be made: {done.complaint}")
    return {str(name): str(path) for name, path in done.facts.items()}


def _script(name: str, *arguments: object) -> list[str]:
    return [sys.executable, str(HERE / name), *map(str, arguments)]


def _ndec_bench() -> str:
    command = shutil.which("ndec-bench", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    if command is None:
        sys.exit('ndec-bench is not installed here; run "tox -e bench"')
    return command


@cache
def _installed(library: str) -> bool:
    return run([sys.executable, "-c", f"import {library}"]).code == 0


def _show(table: Table, *, markdown: bool) -> None:
    head = ["", "median s", "best s", "× floor", "× floor, best", "peak MiB", "runs", ""]
    lines = [head, *(_texts(row) for row in table.rows)]
    told = [at for at in range(len(head)) if at == 0 or any(cells[at] for cells in lines[1:])]
    lines = [[cells[at] for at in told] for cells in lines]
    if markdown:
        lines.insert(1, ["---", *["---:"] * (len(told) - 2), "---"])
        print(f"### {table.title}\n")
        print("\n".join("| " + " | ".join(cells) + " |" for cells in lines))
    else:
        show(table.title, lines, left=(0, -1))
    print(flush=True)


def _texts(row: Row) -> list[str]:
    numbers = (row.seconds, row.best, row.to_floor, row.best_to_floor)
    peak = "" if row.peak is None else f"{row.peak / 2**20:,.0f}"
    return [row.name, *("" if one is None else f"{one:.2f}" for one in numbers), peak, str(row.runs), row.note]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help=f"{QUICK:,} references and the Evaluator, some minutes")
    extent.add_argument(
        "--full",
        action="store_true",
        help=f"{QUICK:,} references with every backend, {BASE:,}, {LARGE:,}, and the Evaluator",
    )
    extent.add_argument("--references", type=int, default=BASE)
    parser.add_argument("--queries", type=int, default=49_252)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--backends", nargs="+", default=["auto"], choices=("auto", "blas", "faiss", "torch"))
    parser.add_argument("--large", action="store_true", help=f"{LARGE:,} references as well; writes a file of 1 GiB")
    parser.add_argument("--evaluator", action="store_true", help="time an epoch's Evaluator as well")
    parser.add_argument(
        "--isc2021", type=Path, metavar="PATH", help="isc2021's scripts/compute_metrics.py, or its folder"
    )
    parser.add_argument("--drivendata", type=Path, metavar="PATH", help="the competition's scorer, eval_metrics.py")
    parser.add_argument(
        "--peer-python", default=sys.executable, metavar="PYTHON", help="the Python that has what they need"
    )
    parser.add_argument(
        "--clean-environment", action="store_true", help="take settings for OpenBLAS, OpenMP and MKL away for all runs"
    )
    parser.add_argument("--folder", type=Path, default=Path("build/bench"), help="where the data is kept between runs")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--markdown", action="store_true", help="print the tables in Markdown")
    shown.add_argument("--json", action="store_true", help="print everything as JSON")
    arguments = parser.parse_args()
    arguments.evaluator |= arguments.quick or arguments.full
    return arguments


if __name__ == "__main__":
    sys.exit(main())
