"""Print how commands that write fare where the disk is full, a folder cannot be written, or they are stopped.

``python tests/bench/write_faults.py`` runs each command in a process of its own, with everything imported before, and
spoils it: the system lets no file grow beyond a size (as a full disk does), the folder cannot be written, signals come
at random moments, memory is short, a second one writes the same. Then these must hold, or a line says what did not:

- it ends with a documented exit code and without a traceback;
- what has the final name is whole: what was there before, or what a run without faults writes;
- nothing else is left, except by SIGKILL, and what that leaves is gone after the next run;
- the next run succeeds.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "servers"))

import faiss  # noqa: F401
import numpy as np
import pandas as pd  # noqa: F401
import pyarrow.parquet  # noqa: F401
import scipy.stats  # noqa: F401
from small_archives import disc21_images, jpeg, zip_of

from ndec_baselines import running  # noqa: F401
from ndec_bench import cli, gallery, scoring, site  # noqa: F401
from ndec_bench.data.trust import read_trust
from ndec_bench.descriptors import Descriptors, read_descriptors, read_submission, write_descriptors
from ndec_bench.results.record import read_result
from ndec_bench.submissions.card import read_card

if TYPE_CHECKING:
    from collections.abc import Callable

KILLS = 4
DOCUMENTED = {0, 2, 3, 4, 6}
# Work that a later run takes up.
KEPT = (".partial",)
REPOSITORY = Path(__file__).parents[2]
SPLIT = "toy-1"


class Command(NamedTuple):
    """A command, the name that it writes in a folder, what reads it, and the name of what it writes next to it."""

    arguments: Callable[[Path, Path], list[str]]
    target: str
    read: Callable[[Path], object]
    record: str = ""


def _site(path: Path) -> object:
    return (path / "index.html").read_text(encoding="utf-8")


def _json(path: Path) -> object:
    return json.loads(path.read_bytes())


def _page(path: Path) -> None:
    assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")


def _run(path: Path) -> None:
    readers = {"descriptors/*/*.h5": read_descriptors, "submissions/*/*.h5": read_submission, "results/*/*.json": _json}
    for pattern, read in readers.items():
        for file in path.glob(pattern):
            read(file)


COMMANDS = {
    "score --out": Command(lambda given, out: [*_scored(given), "--out", str(out / "r.json")], "r.json", read_result),
    "score --record": Command(
        lambda given, out: [*_scored(given)[:-1], "--record", "--results", str(out / "results")],
        "results/ndec-1/ok.json",
        read_result,
    ),
    "describe": Command(
        lambda given, out: ["describe", "thumbnail", "--images", str(given / "images"), "--out", str(out / "d.h5")],
        "d.h5",
        read_descriptors,
        "d.h5.json",
    ),
    "postprocess": Command(
        lambda given, out: ["postprocess", str(given / "ok.h5"), str(out / "p.h5"), "--step", "l2"],
        "p.h5",
        read_submission,
    ),
    "pack": Command(
        lambda given, out: [
            *("pack", "--query", str(given / "q.h5"), "--reference", str(given / "r.h5")),
            *("--split", "toy", "--out", str(out / "s.h5")),
        ],
        "s.h5",
        read_submission,
    ),
    "submit new": Command(
        lambda given, out: [
            *("submit", "new", "mine", "--author", "A", "--title", "T", "--split", "ndec", "--no-input"),
            *("--submissions", str(out / "submissions")),
        ],
        "submissions/mine/submission.toml",
        read_card,
    ),
    "site": Command(
        lambda given, out: [
            *("site", "--results", str(given / "results"), "--submissions", str(REPOSITORY / "submissions")),
            *("--out", str(out / "site")),
        ],
        "site",
        _site,
    ),
    "run": Command(lambda given, out: _whole_run(given, out / "runs"), "runs", _run),
    "gallery": Command(
        lambda given, out: [
            *("gallery", str(given / "runs" / "results" / "ndec-1" / "thumbnail.json"), "--split", SPLIT),
            *("--file", str(given / "runs" / "submissions" / "thumbnail" / "thumbnail.h5")),
            *("--images", str(given / "data"), "--out", str(out / "g.html")),
        ],
        "g.html",
        _page,
    ),
    "download --from": Command(
        lambda given, out: [
            *("download", "disc21", "dev-queries", "--offline", "--from", str(given / "archives")),
            *("--root", str(out / "root")),
        ],
        "root",
        read_trust,
    ),
    "data card": Command(
        lambda given, out: ["data", "card", "--root", str(given / "data"), "--out", str(out / "card.json")],
        "card.json",
        _json,
    ),
}
SINGLE = ("submit new",)  # it refuses a card that is there


def _scored(given: Path) -> list[str]:
    return ["score", str(given / "ok.h5"), "--ground-truth", str(given / "gt.csv"), "--no-bootstrap"]


def _whole_run(given: Path, out: Path) -> list[str]:
    return ["run", "thumbnail", "--split", SPLIT, "--root", str(given / "data"), "--out", str(out), "--device", "cpu"]


def _split(folder: Path) -> None:
    """Write a split, as ``ndec-bench mini build`` leaves it."""
    for side, name in (("queries", "Q{:05d}"), ("references", "R{:06d}")):
        (folder / "images" / side).mkdir(parents=True)
        for number in range(12):
            (folder / "images" / side / f"{name.format(number)}.jpg").write_bytes(jpeg(number, (72, 54)))
    texts = {
        "split.json": json.dumps({"name": SPLIT, "digest": "a" * 64}),
        "ground_truth.csv": "query_id,reference_id\n"
        + "".join(f"Q{row:05d},{f'R{row:06d}' if row % 2 else ''}\n" for row in range(12)),
        "hard_negatives.txt": "Q00002\n",
        "references.txt": "".join(f"R{row:06d}\n" for row in range(12)),
    }
    for file, text in texts.items():
        (folder / file).write_text(text)


def prepare(given: Path) -> None:
    """Write what the commands read."""
    chance = np.random.default_rng(1)
    (given / "images").mkdir(parents=True)
    for number in range(20):
        (given / "images" / f"R{number:06d}.jpg").write_bytes(jpeg(number))
    for letter, rows in (("q", 400), ("r", 3000)):
        ids = tuple(f"{letter.upper()}{row:05d}" for row in range(rows))
        vectors = chance.normal(size=(rows, 64)).astype(np.float32)
        write_descriptors(given / f"{letter}.h5", Descriptors(ids, vectors), {"recipe": "random"})
    (given / "gt.csv").write_text("".join(f"Q{row:05d},{f'R{row:05d}' if row % 2 else ''}\n" for row in range(400)))
    shutil.copytree(REPOSITORY / "results", given / "results")
    _split(given / "data" / SPLIT)
    (given / "archives").mkdir()
    (given / "archives" / "dev_queries.zip").write_bytes(zip_of(disc21_images("Q", range(5))))
    packed = ["pack", "--query", str(given / "q.h5"), "--reference", str(given / "r.h5")]
    for command in ([*packed, "--split", "toy", "--out", str(given / "ok.h5")], _whole_run(given, given / "runs")):
        ended = run(command)
        assert ended.code == 0, ended.text


class Ended(NamedTuple):
    """How a run ended: its exit code, negative for a signal, what it printed, and after how many seconds."""

    code: int
    text: str
    seconds: float


def start(arguments: list[str], limits: dict[int, int] | None = None) -> tuple[int, int]:
    """Start a command in a process of its own; return its number and where its output can be read."""
    read, write = os.pipe()
    number = os.fork()
    if number:
        os.close(write)
        return number, read
    code = 1
    try:
        os.dup2(write, 1)
        os.dup2(write, 2)
        for which, most in (limits or {}).items():
            resource.setrlimit(which, (most, resource.getrlimit(which)[1]))
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
        code = cli.run(arguments)
    except KeyboardInterrupt:
        code = 6
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def wait(number: int, read: int, began: float) -> Ended:
    """Wait for a process that `start` gave."""
    with os.fdopen(read, errors="replace") as output:
        text = output.read()
    return Ended(os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]), text, time.monotonic() - began)


def run(arguments: list[str], limits: dict[int, int] | None = None) -> Ended:
    """Run a command to its end."""
    began = time.monotonic()
    return wait(*start(arguments, limits), began)


class Case(NamedTuple):
    """A command under one fault: what it was, how it ended, and what did not hold."""

    fault: str
    ended: Ended
    wrong: list[str]


class Trial:
    """One command under all faults, in folders of its own under ``work``."""

    def __init__(self, name: str, given: Path, work: Path) -> None:
        self.name, self.command, self.given, self.work = name, COMMANDS[name], given, work
        whole = self.arguments(self.folder())
        self.undisturbed = run(whole)
        assert self.undisturbed.code == 0, self.undisturbed.text
        written = [path for path in self.out.rglob("*") if path.is_file() and not path.is_symlink()]
        self.size = max(path.stat().st_size for path in written)

    def folder(self) -> Path:
        """Make a new folder to write to."""
        self.out = Path(tempfile.mkdtemp(dir=self.work))
        return self.out

    def arguments(self, out: Path) -> list[str]:
        """Return the command that writes to ``out``."""
        return self.command.arguments(self.given, out)

    def full(self, most: int) -> Case:
        """No file grows beyond ``most`` bytes."""
        out = self.folder()
        return self._judged("disk full", run(self.arguments(out), {resource.RLIMIT_FSIZE: most}), {4})

    def unwritable(self) -> Case:
        """The folder is one that nobody can write to."""
        ended = run(self.arguments(Path("/proc/nothing")))
        wrong = [] if ended.code == 4 else [f"exit code {ended.code}"]
        return Case("unwritable folder", ended, [*wrong, *_in_text(ended)])

    def stopped(self, number: signal.Signals, after: float) -> Case:
        """A signal comes after so many seconds."""
        out, began = self.folder(), time.monotonic()
        process, read = start(self.arguments(out))
        time.sleep(after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)
        allowed = {0, -9} if number == signal.SIGKILL else {0, 6, -number}
        return self._judged(number.name, wait(process, read, began), allowed)

    def short(self, bytes_left: int) -> Case:
        """Only so much more memory can be had than is taken."""
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        ended = run(self.arguments(self.folder()), {resource.RLIMIT_AS: taken + bytes_left})
        # OpenBLAS has no way to report it: it ends the process.
        allowed = DOCUMENTED | {1} if "OpenBLAS error" in ended.text else DOCUMENTED
        return self._judged("memory short", ended, allowed)

    def twice(self) -> Case:
        """Two write the same at once."""
        out, began = self.folder(), time.monotonic()
        both = [start(self.arguments(out)) for _ in range(2)]
        one, other = (wait(*each, began) for each in both)
        worse = max(one, other, key=lambda ended: abs(ended.code))
        return self._judged("two at once", worse, {0, 2, 3, 4})

    def _judged(self, fault: str, ended: Ended, allowed: set[int]) -> Case:
        wrong = [] if ended.code in allowed else [f"exit code {ended.code}: {ended.text}"]
        wrong += _in_text(ended)
        target = self.out / self.command.target
        if ended.code == 0 and not target.exists():
            wrong.append("nothing written")
        wrong += self._unsound(target)
        if fault != "SIGKILL":
            wrong += [f"left {path.name}" for path in self._stray()]
        if ended.code and not (self.name in SINGLE and target.exists()):
            again = run(self.arguments(self.out))
            if again.code:
                wrong.append(f"the next run ends with {again.code}: {again.text}")
        wrong += self._unsound(target)
        wrong += [f"left after the next run: {path.name}" for path in self._stray(kept=())]
        return Case(fault, ended, wrong)

    def _unsound(self, target: Path) -> list[str]:
        if not target.exists():
            return []
        try:
            self.command.read(target)
        except Exception as error:
            return [f"{target.name} is not whole: {error}"]
        return []

    def _stray(self, kept: tuple[str, ...] = KEPT) -> list[Path]:
        """Return files and folders that are neither the target nor on the way to it, and halves of files in it."""
        target = self.out / self.command.target
        way = {target, *target.parents}
        found = [path for path in self.out.rglob("*") if path not in way]
        found = [path for path in found if target not in path.parents or path.suffix == ".part"]
        found = [path for path in found if path.name != self.command.record]
        return [path for path in found if not any(end in str(path.relative_to(self.out)) for end in kept)]


def _in_text(ended: Ended) -> list[str]:
    return ["traceback:\n" + ended.text] if "Traceback" in ended.text else []


def cases(name: str, given: Path, work: Path, kills: int) -> list[Case]:
    """Return all faults of one command, tried."""
    trial, chance = Trial(name, given, work), random.Random(name)  # noqa: S311
    sizes = sorted({0, 100, trial.size // 2, *(max(0, trial.size - less) for less in (1, 100, 2000))})
    found = [trial.full(size) for size in sizes]
    found.append(trial.unwritable())
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        found += [trial.stopped(number, chance.uniform(0.02, trial.undisturbed.seconds)) for _ in range(kills)]
    found += [trial.short(mib << 20) for mib in (32, 128, 512)]
    found += [trial.twice() for _ in range(2)]
    return found


def main() -> int:
    """Print the table; return 1 if something did not hold."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else KILLS
    names = sys.argv[2:] or list(COMMANDS)
    faults = ("disk full", "unwritable folder", "SIGTERM", "SIGINT", "SIGKILL", "memory short", "two at once")
    print("| Command | " + " | ".join(faults) + " |")
    print("| --- |" + " ---: |" * len(faults))
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        given, work = Path(folder) / "given", Path(folder) / "work"
        work.mkdir()
        prepare(given)
        for name in names:
            found = cases(name, given, work, kills)
            counts = [sum(case.fault == fault for case in found) for fault in faults]
            print(f"| {name} | " + " | ".join(map(str, counts)) + " |", flush=True)
            for case in found:
                bad += bool(case.wrong)
                for wrong in case.wrong:
                    print(f"{name}, {case.fault}: {wrong}", file=sys.stderr, flush=True)
    print(f"{bad} did not hold", file=sys.stderr)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
