"""The text files of a built split: truth, look-alikes, edits, digests; sorted, without a clock."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from typing import TYPE_CHECKING

from ndec_bench.data.split import EDITS_FILE, GROUND_TRUTH_FILE, HARD_NEGATIVES_FILE, REFERENCES_FILE, SPLIT_FILE
from ndec_bench.mini.scenes import Scene

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from ndec_bench.data.split import SplitInfo
    from ndec_bench.mini.making import Made
    from ndec_bench.mini.plan import Item, Plan

LOOK_ALIKES_FILE = "look_alikes.csv"
TRAINING_PAIRS_FILE = "training_pairs.csv"
PIXELS_FILE = "pixels.csv"
FILES_FILE = "files.csv"
GROUPS = ("photos", "scenes", "edits", "truth")


def texts(plan: Plan, made: dict[str, Made]) -> dict[str, str]:
    """Return file name to content of everything but ``split.json`` and ``files.csv``."""
    ids, items = plan.ids, plan.items
    queries = [item for item in items if item.folder == "queries"]
    truth = sorted((ids[q.key], ids[q.partner] if q.role == "copy" else "") for q in queries)
    alike = sorted((ids[i.key], ids[i.partner], i.why) for i in items if i.role in ("hard", "look-alike"))
    pairs = sorted((ids[i.key], ids[i.partner], i.why) for i in items if i.role == "train look-alike")
    pixels = sorted((m.path, m.width, m.height, m.pixels) for m in made.values())
    return {
        GROUND_TRUTH_FILE: table(("query_id", "reference_id"), truth),
        HARD_NEGATIVES_FILE: lines(ids[q.key] for q in queries if q.role == "hard"),
        REFERENCES_FILE: lines(ids[i.key] for i in items if i.folder == "references"),
        EDITS_FILE: table(
            ("query_id", "step", "kind", "strength", "remaining_area", "reference_id", "parameters"),
            sorted(row for query in queries for row in _edit_rows(plan, query, made[query.key])),
        ),
        LOOK_ALIKES_FILE: table(("image_id", "reference_id", "why"), alike),
        TRAINING_PAIRS_FILE: table(("image_id", "look_alike_of", "why"), pairs),
        PIXELS_FILE: table(("path", "width", "height", "sha256"), pixels),
    }


def _edit_rows(plan: Plan, query: Item, made: Made) -> list[tuple[object, ...]]:
    reference = plan.ids[query.partner] if query.role == "copy" else ""
    return [
        (plan.ids[query.key], n, step.kind, step.strength, f"{made.remaining:.6f}", reference,
         json.dumps(dict(step.parameters), sort_keys=True))
        for n, step in enumerate(query.chain, start=1)
    ]  # fmt: skip


def group_digests(plan: Plan, made: dict[str, Made], contents: dict[str, str]) -> dict[str, str]:
    """Return one SHA-256 (hex) per group: decoded pixels of photographs, scenes, edited pictures; the truth files."""
    rows: dict[str, list[str]] = {"photos": [], "scenes": [], "edits": []}
    for item in plan.items:
        group = "edits" if item.chain else "scenes" if isinstance(item.source, Scene) else "photos"
        rows[group].append(f"{made[item.key].path} {made[item.key].pixels}")
    digests = {group: hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest() for group, found in rows.items()}
    truth = "".join(contents[name] for name in sorted(contents) if name != PIXELS_FILE)
    return {**digests, "truth": hashlib.sha256(truth.encode()).hexdigest()}


def pixels_digest(contents: dict[str, str]) -> str:
    """Return the digest of the split: SHA-256 (hex) of ``pixels.csv``."""
    return hashlib.sha256(contents[PIXELS_FILE].encode()).hexdigest()


def counts(items: Sequence[Item]) -> dict[str, int]:
    """Return how many pictures there are of each folder and of each role, by name."""
    names = [f"{item.folder}" for item in items] + [f"{item.folder}: {item.role}" for item in items]
    return {name: names.count(name) for name in sorted(set(names))}


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a CSV text with LF line ends."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue()


def lines(ids: Iterable[str]) -> str:
    """Return sorted ids, one per line."""
    return "".join(f"{identifier}\n" for identifier in sorted(ids))


def write_texts(folder: Path, contents: dict[str, str], info: SplitInfo, made: dict[str, Made]) -> None:
    """Write all text files of a split into ``folder``; ``split.json`` last."""
    for name, content in sorted(contents.items()):
        (folder / name).write_text(content, encoding="utf-8", newline="")
    files = sorted((m.path, m.size, m.file) for m in made.values())
    (folder / FILES_FILE).write_text(table(("path", "bytes", "sha256"), files), encoding="utf-8", newline="")
    (folder / SPLIT_FILE).write_text(info.model_dump_json(indent=1) + "\n", encoding="utf-8", newline="")
