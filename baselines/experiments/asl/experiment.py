"""ASL's claim on ndec-mini: trains, describes, scores and records everything that docs/asl.md shows.

Usage: python baselines/experiments/asl/experiment.py [--work DIR] [--seeds 1 2 3] [--jobs N] [--record]

Three settings, each with every seed: (a) classification and triplets, (b) and look-alikes pushed apart, (c) and the
norm-ratio loss. (d) is c scored with the ratio rule, (e) c with the smooth rule, of several, that is best on the
parts held out of the training images. For comparison a and b are scored with such a rule too, and so is (c1), c with
a tenth of the loss's weight. What is finished in DIR is used again. Each training computes on one thread, so that its
bytes do not depend on the number of cores; ``--jobs`` of them run at a time.

``--record`` writes results/, submissions/, the tables of docs/asl.md and docs/img/asl-*.svg.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import report

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
SPLIT = "ndec-mini-1"
SETTINGS = ("a", "b", "c", "c1")


# glibc gives large blocks back to the system after each step, and gets them again page by page: a fifth of the time.
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}


def main() -> None:
    """Run what is missing and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=REPOSITORY / "build" / "asl")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    work: Path = options.work.resolve()
    prepare(work)
    runs = [(setting, seed) for seed in options.seeds for setting in SETTINGS]
    with ThreadPoolExecutor(options.jobs) as several:
        reports = several.map(lambda run: train(work, HERE / f"{run[0]}.toml", folder(work, *run), run[1]), runs)
        trained = dict(zip(runs, reports, strict=True))
        list(several.map(lambda run: describe(work, *run), runs))
    smooth = {setting: best_rule([trained[setting, seed] for seed in options.seeds]) for setting in SETTINGS}
    ruled = {"d": ("c", "ratio"), **{row: (setting, smooth[setting]) for setting, row in report.SMOOTH.items()}}
    for row, (setting, rule) in ruled.items():
        for seed in options.seeds:
            rescore(work, seed, setting, row, rule)
    lists = {**{setting: (setting, "none") for setting in "abc"}, "d": ruled["d"], "e": ruled["e"]}
    for row, (setting, rule) in lists.items():
        for seed in options.seeds:
            save_list(work, seed, setting, row, rule)
    report.write(work, options.seeds, smooth, trained, repository=REPOSITORY if options.record else None)


def prepare(work: Path) -> None:
    """Build the benchmark in ``work`` unless it is there."""
    work.mkdir(parents=True, exist_ok=True)
    if not (work / SPLIT / "split.json").is_file():
        call("mini", "build", "--out", work / SPLIT, "--size", "full")


def train(work: Path, settings: Path, out: Path, seed: int) -> dict[str, Any]:
    """Return what the training run with ``settings`` reports about itself."""
    told = out / "trained.json"
    if not told.is_file():
        said = call(
            *("train", "asl", "--config", settings, "--seed", seed, "--out", out),
            *("--root", work, "--device", "cpu", "--threads", 1, "--json"),
        )
        told.write_text(said, encoding="utf-8")
    return dict(json.loads(told.read_text(encoding="utf-8")))


def describe(work: Path, setting: str, seed: int) -> None:
    """Describe and score the test part with the network of a run."""
    name = report.row_name(setting, seed)
    if not result_of(work, name).is_file():
        call(
            *("run", "asl-small", "--split", SPLIT, "--root", work, "--out", work, "--name", name, "--workers", 1),
            *("--device", "cpu", "--weights", folder(work, setting, seed) / "model.pt"),
        )


def rescore(work: Path, seed: int, setting: str, row: str, rule: str) -> None:
    """Score the descriptors of a setting under a rule, as ``row``."""
    name = report.row_name(row, seed)
    made = report.row_name(setting, seed)
    if not result_of(work, name).is_file():
        call(
            *("score", work / "submissions" / made / f"{made}.h5", "--split", SPLIT, "--root", work),
            *("--asymmetric", rule, "--name", name, "--out", result_of(work, name)),
        )


def save_list(work: Path, seed: int, setting: str, row: str, rule: str) -> None:
    """Keep the scored list behind a result: which hard negatives are hit."""
    target, made = report.matches_of(work, row, seed), report.row_name(setting, seed)
    target.parent.mkdir(exist_ok=True)
    if not target.is_file():
        call(
            *("score", work / "submissions" / made / f"{made}.h5", "--split", SPLIT, "--root", work),
            *("--asymmetric", rule, "--no-bootstrap", "--save-matches", target, "--json"),
        )


def best_rule(trained: list[dict[str, Any]]) -> str:
    """Return the smooth rule with the highest mean µAP on the parts held out; of equals the weaker."""
    tables = [one["rules"] for one in trained]
    means = {rule: sum(table[rule] for table in tables) / len(tables) for rule in tables[0] if ":" in rule}
    return max(means, key=lambda rule: (means[rule], -float(rule.partition(":")[2])))


def folder(work: Path, setting: str, seed: int) -> Path:
    """Return the folder of a training run."""
    return work / "runs" / f"{setting}-{seed}"


def result_of(work: Path, name: str) -> Path:
    """Return the file of a result."""
    return work / "results" / "ndec-1" / f"{name}.json"


def call(*arguments: object) -> str:
    """Return what ``ndec-bench`` printed; end the run if it failed."""
    command = [str(Path(sys.executable).with_name("ndec-bench")), *map(str, arguments)]
    sys.stderr.write(f"$ ndec-bench {' '.join(command[1:])}\n")
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env={**KEEP_MEMORY, **os.environ})
    if done.returncode:
        sys.exit(f"ended with exit code {done.returncode}: ndec-bench {' '.join(command[1:])}")
    return done.stdout


if __name__ == "__main__":
    main()
