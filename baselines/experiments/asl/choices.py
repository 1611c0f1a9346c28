"""Choice of the settings of the ASL experiment: short runs of (c), judged on the part held out alone.

Usage: python baselines/experiments/asl/choices.py [--work DIR] [--jobs N] [--record]

Each run changes one setting of c.toml, takes 240 steps with seed 1, and looks at a fifth of ndec-mini's training
images. Of the test part nothing is read. ``--record`` writes the table into docs/asl.md. What is finished in DIR is
used again.
"""

from __future__ import annotations

import argparse
import os
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import tomli_w
from experiment import HERE, REPOSITORY, prepare, train
from report import put, table

STEPS = 240
CHANGES: tuple[tuple[str, str, object], ...] = (
    ("", "", None),
    ("losses", "norm_ratio", 1),
    ("losses", "norm_ratio", 4),
    ("losses", "norm_ratio", 40),
    ("losses", "sampled", True),
    ("edits", "scale", "area"),
    ("network", "norm", "pooled"),
    ("network", "descriptor", "projected"),
)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=REPOSITORY / "build" / "asl")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    work: Path = options.work.resolve()
    prepare(work)
    with ThreadPoolExecutor(options.jobs) as several:
        found = list(several.map(lambda change: tried(work, *change), CHANGES))
    text = table(
        f"**Choices**: (c) with one setting changed, {STEPS} steps, seed 1, on the part held out of the training part. "
        "The first line is what was taken; the weight of the loss is that of the highest µAP with `ratio`, as in (d).",
        [line(change, one) for change, one in zip(CHANGES, found, strict=True)],
    )
    put(work / "choices.md", text, REPOSITORY / "docs" / "asl.md" if options.record else None, "choices")


def tried(work: Path, section: str, key: str, value: object) -> dict[str, Any]:
    """Return what the run with one change reports about itself."""
    settings = tomllib.loads((HERE / "c.toml").read_text(encoding="utf-8"))
    settings["schedule"] |= {"steps": STEPS, "validate_every": 80}
    if key:
        settings[section][key] = value
    name = f"{key or 'taken'}-{value if key else 'c'}"
    file = work / "choices" / f"{name}.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(tomli_w.dumps(settings), encoding="utf-8")
    return train(work, file, work / "choices" / name, seed=1)


def line(change: tuple[str, str, object], found: dict[str, Any]) -> dict[str, str]:
    """Return the cells of a run by column."""
    section, key, value = change
    held, rules = found["held_out"], found["rules"]
    smooth = max((rule for rule in rules if ":" in rule), key=lambda rule: rules[rule])
    said = str(value).lower() if isinstance(value, bool) else value
    return {
        "setting": f"`{section}.{key} = {said}`" if key else "as taken",
        "µAP": f"{held['micro_ap']:.4f}",
        "with `ratio`": f"{rules['ratio']:.4f}",
        "best smooth rule": f"{rules[smooth]:.4f} (`{smooth}`)",
        "true pairs kept": f"{100 * held['kept']:.1f} %",
        "AUC": f"{held['auc']:.4f}",
        "hard negatives kept": f"{100 * held['hard_kept']:.1f} %",
    }


if __name__ == "__main__":
    main()
