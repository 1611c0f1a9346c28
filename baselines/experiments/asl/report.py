"""Tables and figures of the ASL experiment, from result files, descriptor files and the split's record of edits."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ndec_baselines.asl.baseline import SMALL
from ndec_bench.atomic import write_text
from ndec_bench.matches import read_pairs
from ndec_bench.metrics import bootstrap
from ndec_bench.submissions.card import read_card, write_card

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SPLIT = "ndec-mini-1"
ROWS = {
    "a": "baseline losses",
    "b": "a, and look-alikes pushed apart",
    "c": "b, and the norm-ratio loss",
    "d": "c, with the ratio rule",
    "e": "c, with the smooth rule",
}
TITLES = {
    "a": "baseline losses",
    "b": "look-alikes",
    "c": "norm ratio",
    "d": "norm ratio, ratio rule",
    "e": "norm ratio, smooth rule",
}

LOSSES = {
    "a": "classification and triplets",
    "b": "classification, triplets and look-alikes pushed apart",
    "c": "classification, triplets, look-alikes pushed apart and the norm-ratio loss",
}

SMOOTH = {"a": "a-smooth", "b": "b-smooth", "c": "e", "c1": "c1-smooth"}
"""Name of a setting's results with the smooth rule that is best for it on the part held out."""

STEPS = (("b", "a"), ("c", "b"), ("d", "c"), ("e", "c"), ("d", "a"), ("e", "a"), ("a-smooth", "a"), ("e", "a-smooth"))
AREAS = (0.0, 0.4, 0.6, 0.8, 0.9, 0.999, 1.0)
FEWEST = 20


def row_name(row: str, seed: int) -> str:
    """Return the name of a result."""
    return f"mini-asl-{row}-{seed}"


@dataclass(frozen=True)
class Row:
    """The results of one setting, seed by seed.

    Attributes
    ----------
    results
        Result records as JSON, in the order of the seeds.
    """

    results: tuple[dict[str, Any], ...]

    def values(self, *path: str) -> NDArray[np.float64]:
        """Return the number at ``path`` of each seed's record; not a number where it was not reached."""
        found = []
        for record in self.results:
            value: Any = record
            for key in path:
                value = None if value is None else value[key]
            found.append(np.nan if value is None else value)
        return np.array(found, dtype=np.float64)

    def replicates(self, measure: str) -> NDArray[np.float64]:
        """Return (seeds, replicates) of part ``all``."""
        return np.array([record["parts"]["all"]["replicates"][measure] for record in self.results], dtype=np.float64)


def write(
    work: Path,
    seeds: Sequence[int],
    smooth: Mapping[str, str],
    trained: Mapping[tuple[str, int], Mapping[str, Any]],
    *,
    repository: Path | None,
) -> None:
    """Write the report to ``work``, and into the repository if one is given."""
    rows = {
        row: Row(tuple(_result(work, row_name(row, seed)) for seed in seeds)) for row in (*ROWS, "c1", *SMOOTH.values())
    }
    pairs = {row: [_pairs(work, row, seed) for seed in seeds] for row in "abc"}
    text = "\n\n".join(
        (
            _scores(rows, len(seeds)),
            _differences(rows),
            _recalls(rows),
            _hits(work, rows, seeds),
            _directions(rows, smooth),
            _at_threshold(rows),
            _areas(pairs),
            _kinds(pairs["c"]),
            _runs(trained, seeds),
        )
    )
    put(work / "report.md", text, None if repository is None else repository / "docs" / "asl.md", "measured")
    _figures(work, rows, pairs, seeds)
    if repository is None:
        return
    for figure in ("asl-scores.svg", "asl-norms.svg"):
        shutil.copyfile(work / figure, repository / "docs" / "img" / figure)
    for row in ROWS:
        for seed in seeds:
            _record(work, repository, row, seed)


def _result(work: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((work / "results" / "ndec-1" / f"{name}.json").read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Pairs:
    """The true pairs of the test part: parallel lists."""

    ratios: NDArray[np.float64]
    areas: NDArray[np.float64]
    kinds: tuple[tuple[str, ...], ...]


def _pairs(work: Path, row: str, seed: int) -> Pairs:
    name = row_name(row, seed)
    with h5py.File(work / "submissions" / name / f"{name}.h5") as file:
        norms = {
            side: dict(
                zip((i.decode() for i in file[f"{side}_ids"][()]), file[f"{side}_norms"][()].tolist(), strict=True)
            )
            for side in ("query", "reference")
        }
    with (work / SPLIT / "ground_truth.csv").open(encoding="utf-8", newline="") as file:
        true = [(line["query_id"], line["reference_id"]) for line in csv.DictReader(file) if line["reference_id"]]
    kinds: dict[str, list[str]] = {}
    areas: dict[str, float] = {}
    with (work / SPLIT / "edits.csv").open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            kinds.setdefault(line["query_id"], []).append(line["kind"])
            areas[line["query_id"]] = float(line["remaining_area"])
    return Pairs(
        np.array([norms["query"][query] / norms["reference"][reference] for query, reference in true]),
        np.array([areas[query] for query, _ in true]),
        tuple(tuple(kinds[query]) for query, _ in true),
    )


def _scores(rows: Mapping[str, Row], seeds: int) -> str:
    lines = []
    for row, words in ROWS.items():
        found = rows[row]
        hits = found.values("hard_negatives", "at_p90_isc", "hard_negatives_hit", "rate")
        rule = f" (`{found.results[0]['asymmetric']}`)" if row in "de" else ""
        low, high = np.percentile(found.replicates("micro_ap").mean(axis=0), (2.5, 97.5))
        lines.append(
            [
                f"({row}) {words}{rule}",
                _spread(found.values("parts", "all", "micro_ap")),
                f"{low:.4f} to {high:.4f}",
                _spread(found.values("parts", "isc", "micro_ap")),
                _spread(found.values("parts", "all", "recall_at_p90")),
                _spread(found.values("hard_negatives", "cost")),
                _spread(hits, percent=True),
            ]
        )
    return table(
        f"**Scores on {SPLIT}**, mean ± standard deviation of {seeds} seeds; the interval is over queries, of the "
        "mean. Cost is what the hard negatives take from µAP.",
        ["setting", "µAP", "95 % over queries", "µAP, ISC part", "recall@P90", "cost", "hard negatives hit at P90"],
        lines,
    )


def _differences(rows: Mapping[str, Row]) -> str:
    lines = []
    for better, base in STEPS:
        of_seeds = rows[better].values("parts", "all", "micro_ap") - rows[base].values("parts", "all", "micro_ap")
        replicates = rows[better].replicates("micro_ap").mean(axis=0) - rows[base].replicates("micro_ap").mean(axis=0)
        lines.append([f"{better} − {base}", *_difference(of_seeds, replicates)])
    return table(
        "**Paired differences of µAP**: the mean over seeds with its 95 % interval over queries (the same replicates "
        "on both sides), each seed by itself, the half width with seeds and queries both counted as drawn, and the "
        "smallest true difference that such a test finds four times in five (2.8 standard errors); *a-smooth* is (a) "
        "with the smooth rule that is best for it.",
        HEAD,
        lines,
    )


HEAD = ["difference", "mean", "95 % over queries", "by seed", "half width, both", "smallest effect"]


def _difference(of_seeds: NDArray[np.float64], replicates: NDArray[np.float64]) -> list[str]:
    """Return the cells of a difference: (seeds,) as measured, (replicates,) of the mean over seeds."""
    low, high = np.percentile(replicates, (2.5, 97.5))
    spread = of_seeds.std(ddof=1) if len(of_seeds) > 1 else 0.0
    error = np.hypot(replicates.std(ddof=1), spread / np.sqrt(len(of_seeds)))
    return [
        f"{of_seeds.mean():+.4f}",
        f"{low:+.4f} to {high:+.4f}",
        ", ".join(f"{value:+.4f}" for value in of_seeds),
        f"{1.96 * error:.4f}",
        f"{2.8 * error:.4f}",
    ]


def _recalls(rows: Mapping[str, Row]) -> str:
    path = ("parts", "all", "recall_at_p90")
    lines = [
        [
            f"{better} − {base}",
            *_difference(
                rows[better].values(*path) - rows[base].values(*path),
                rows[better].replicates(path[-1]).mean(axis=0) - rows[base].replicates(path[-1]).mean(axis=0),
            ),
        ]
        for better, base in STEPS
    ]
    return table("**Paired differences of recall@P90**, in the same way.", HEAD, lines)


def _hits(work: Path, rows: Mapping[str, Row], seeds: Sequence[int]) -> str:
    """Return the paired differences of the share of hard negatives hit; the replicates are those of the scorer."""
    ids = (work / SPLIT / "hard_negatives.txt").read_text(encoding="utf-8").split()
    weights = bootstrap.weights(bootstrap.query_keys(ids), 0, bootstrap.REPLICATES).astype(np.float64)
    hits = {
        row: np.array([_hit(work, row, seed, rows, place, ids) for place, seed in enumerate(seeds)]) for row in ROWS
    }
    lines = []
    for better, base in STEPS:
        if better in ROWS and base in ROWS:
            apart = hits[better] - hits[base]
            replicates = apart.mean(axis=0) @ weights / weights.sum(axis=0)
            lines.append([f"{better} − {base}", *_difference(apart.mean(axis=1), replicates)])
    return table(
        "**Paired differences of the share of hard negatives hit**, each list at its own threshold of 90 % precision "
        "on the ISC part, which the replicates leave as it is; below 0 is better.",
        HEAD,
        lines,
    )


def _hit(
    work: Path, row: str, seed: int, rows: Mapping[str, Row], place: int, ids: Sequence[str]
) -> NDArray[np.float64]:
    """Return (hard negatives,) 1 where a query has a pair at the threshold; none of these pairs is true."""
    matches = read_pairs(matches_of(work, row, seed))
    account = rows[row].results[place]["hard_negatives"]["at_p90_isc"]
    above = set(matches.query_ids[matches.scores >= account["threshold"]].tolist())
    found = np.array([float(query in above) for query in ids])
    if int(found.sum()) != account["hard_negatives_hit"]["hits"]:
        raise ValueError(f"{matches_of(work, row, seed)} is not the list behind {row_name(row, seed)}")
    return found


def matches_of(work: Path, row: str, seed: int) -> Path:
    """Return the file of the scored list of a result."""
    return work / "matches" / f"{row_name(row, seed)}.csv"


def _directions(rows: Mapping[str, Row], smooth: Mapping[str, str]) -> str:
    lines = []
    for row, moved in SMOOTH.items():
        found, ruled = rows[row], rows[moved]
        lines.append(
            [
                f"({row}) {ROWS.get(row, 'c, a tenth of the weight')}",
                _spread(found.values("direction", "direction_auc")),
                _spread(found.values("direction", "true_pairs_kept", "rate"), percent=True),
                _spread(found.values("direction", "true_pairs_kept_if_swapped", "rate"), percent=True),
                _spread(found.values("direction", "dropped", "hard_negative_pairs", "rate"), percent=True),
                _spread(found.values("parts", "all", "micro_ap")),
                _spread(found.values("direction", "parts", "all", "with_rule", "micro_ap")),
                f"{_spread(ruled.values('parts', 'all', 'micro_ap'))} (`{smooth[row]}`)",
                _spread(ruled.values("direction", "swap_gap", "mean")),
            ]
        )
    return table(
        "**Direction.** What the norms tell about the true pairs of the test part, and what rules make of each "
        "network, those included that no norm-ratio loss trained: AUC of telling copy from original; true pairs "
        "that `ratio` keeps (the query's norm is not above the reference's), and would keep if swapped; listed "
        "pairs of hard negatives that it drops; µAP without a rule, with `ratio`, and with the smooth rule that is "
        "best on the part held out; the swap gap of that rule.",
        ["network", "AUC", "kept", "if swapped", "hard negatives dropped", "µAP", "`ratio`", "smooth", "swap gap"],
        lines,
    )


def _at_threshold(rows: Mapping[str, Row]) -> str:
    views = [("c", "at_p90_isc", "without_rule", "(c) at its threshold")]
    for row in "de":
        views.append((row, "at_p90_isc", "with_rule", f"({row}) at the threshold of c"))
        views.append((row, "at_own_p90_isc", "with_rule", f"({row}) at its own threshold"))
    lines = []
    for row, where, which, words in views:
        groups = ("copies_found", "hard_negatives_hit", "plain_distractors_hit")
        found = [rows[row].values("direction", where, which, group, "rate") for group in groups]
        lines.append([words, *(_spread(values, percent=True) for values in found)])
    return table(
        "**Copies and hard negatives apart**, at the thresholds that reach 90 % precision on the ISC part of the list.",
        ["setting", "copies found", "hard negatives hit", "plain distractors hit"],
        lines,
    )


def _areas(pairs: Mapping[str, Sequence[Pairs]]) -> str:
    lines = []
    for low, high in pairwise(AREAS):
        cells = [f"{100 * low:.0f} to {100 * high:.0f} %" if high < 1 else "all of it"]
        for row in "abc":
            inside = [(one.ratios[_within(one.areas, low, high)]) for one in pairs[row]]
            if row == "a":
                cells.append(f"{len(inside[0]):,}")
            cells.append(f"{np.median(np.concatenate(inside)):.3f}")
            cells.append(f"{100 * np.mean(np.concatenate(inside) <= 1):.1f} %")
        lines.append(cells)
    head = ["original's area that is left", "true pairs"]
    for row in "abc":
        head += [f"({row}) n_q / n_r", "kept"]
    return table(
        "**Norms against remaining area**: median ratio of the query's norm to the reference's, over all seeds, and "
        "the share of true pairs that the ratio rule keeps.",
        head,
        lines,
    )


def _within(areas: NDArray[np.float64], low: float, high: float) -> NDArray[np.bool_]:
    return (areas > low) & (areas <= high) if high < 1 else areas > low


def _kinds(pairs: Sequence[Pairs]) -> str:
    """Return the edits, alone in their chain, by how often the ratio rule keeps the true pair."""
    kept: dict[str, list[float]] = {}
    for one in pairs:
        for ratio, kinds in zip(one.ratios, one.kinds, strict=True):
            if len(kinds) == 1:
                kept.setdefault(kinds[0], []).append(float(ratio <= 1))
    enough = {kind: values for kind, values in kept.items() if len(values) >= FEWEST * len(pairs)}
    order = sorted(enough, key=lambda kind: (np.mean(enough[kind]), kind))
    lines = [[kind, f"{len(enough[kind]) // len(pairs)}", f"{100 * np.mean(enough[kind]):.1f} %"] for kind in order]
    return table(
        f"**Where it fails**: true pairs of a single edit that the ratio rule keeps in (c), worst first; edits with "
        f"{FEWEST} or more such copies.",
        ["edit", "copies", "kept"],
        lines,
    )


def _runs(trained: Mapping[tuple[str, int], Mapping[str, Any]], seeds: Sequence[int]) -> str:
    lines = []
    for setting in ("a", "b", "c", "c1"):
        for seed in seeds:
            one = trained[setting, seed]
            lines.append(
                [
                    f"({setting}) {seed}",
                    f"{one['best_step']} of {one['steps']}",
                    f"{one['held_out']['micro_ap']:.4f}",
                    f"{one['held_out']['auc']:.4f}",
                    f"`{one['sha256']}`",
                ]
            )
    return table(
        "**Runs**: the step that is kept, what it reaches on the part held out (of the training images; not comparable "
        "with the scores above), and the digest of its weights.",
        ["setting, seed", "step", "µAP held out", "AUC held out", "SHA-256 of `model.pt`"],
        lines,
    )


def _spread(values: NDArray[np.float64], *, percent: bool = False) -> str:
    if np.isnan(values).any():
        return "not reached by all"
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    return f"{100 * values.mean():.1f} ± {100 * spread:.1f} %" if percent else f"{values.mean():.4f} ± {spread:.4f}"


def table(title: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown, the first column to the left, the others to the right, under its title."""
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join([title, "", *(f"| {' | '.join(line)} |" for line in (head, rule, *lines))])


def put(copy: Path, text: str, page: Path | None, place: str) -> None:
    """Write ``text`` to ``copy`` and, if a page is given, between the page's marks of ``place``."""
    write_text(copy, text + "\n")
    if page is None:
        return
    begin, end = (f"<!-- {place}: {word} -->" for word in ("begin", "end"))
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    write_text(page, f"{before}{begin}\n\n{text}\n\n{end}{rest.partition(end)[2]}")


def _record(work: Path, repository: Path, row: str, seed: int) -> None:
    name = row_name(row, seed)
    source = row_name("c", seed) if row in "de" else name
    card = read_card(work / "submissions" / source / "submission.toml")
    rule = _result(work, name)["asymmetric"]
    words = TITLES[row].replace("smooth rule", rule)
    licence = None if SMALL.weights is None else SMALL.weights.licence
    title = f"ASL small ({row}) {words}"
    method = card.method.model_copy(
        update={
            "title": f"{title}; trained here",
            "description": (
                "MobileNetV2 from ImageNet weights at 112 pixels; the pooled features, with the norms of the projected "
                f"ones. Trained here, by tox -e asl, on ndec-mini's training part: {LOSSES.get(row, LOSSES['c'])}; "
                f"asymmetric rule: {rule}. docs/asl.md has the experiment."
            ),
            "weights_licence": licence,
        }
    )
    made = card.model_copy(update={"name": name, "runs_of": title, "seed": seed, "method": method})
    folder = repository / "submissions" / name
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "submission.toml", write_card(made))
    shutil.copyfile(work / "results" / "ndec-1" / f"{name}.json", repository / "results" / "ndec-1" / f"{name}.json")


def _figures(work: Path, rows: Mapping[str, Row], pairs: Mapping[str, Sequence[Pairs]], seeds: Sequence[int]) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "asl", "svg.fonttype": "none", "font.size": 10, "axes.spines.top": False})
    mpl.rcParams["axes.spines.right"] = False
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 2.6), layout="constrained")
    for place, row in enumerate(ROWS):
        values = rows[row].values("parts", "all", "micro_ap")
        low, high = np.percentile(rows[row].replicates("micro_ap").mean(axis=0), (2.5, 97.5))
        axes.plot([low, high], [place, place], color="#2b5c8a", linewidth=1.5, zorder=1)
        axes.scatter(values, [place] * len(seeds), s=22, facecolors="white", edgecolors="#2b5c8a", zorder=2)
        axes.scatter([values.mean()], [place], s=36, color="#2b5c8a", zorder=3)
    axes.set_yticks(range(len(ROWS)), [f"({row}) {words}" for row, words in ROWS.items()])
    axes.invert_yaxis()
    axes.set_xlabel("µAP on ndec-mini-1: seeds (open), mean, 95 % over queries")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    _save(figure, work / "asl-scores.svg")

    figure, axes = pyplot.subplots(figsize=(7, 3.6), layout="constrained")
    borders = np.array([0.1, 0.3, 0.45, 0.6, 0.7, 0.8, 0.88, 0.95, 0.999, 1.001])
    middles = [*((borders[:-2] + borders[1:-1]) / 2), 1.0]
    for row, colour in (("a", "#9a9a9a"), ("b", "#c98a2b"), ("c", "#2b5c8a")):
        ratios = np.concatenate([one.ratios for one in pairs[row]])
        areas = np.concatenate([one.areas for one in pairs[row]])
        inside = [ratios[(areas > low) & (areas <= high)] for low, high in pairwise(borders)]
        quartiles = np.array([np.percentile(some, (25, 50, 75)) for some in inside])
        axes.fill_between(middles, quartiles[:, 0], quartiles[:, 2], color=colour, alpha=0.18, linewidth=0)
        axes.plot(middles, quartiles[:, 1], color=colour, marker="o", markersize=4, label=f"({row}) {ROWS[row]}")
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xlabel("share of the original's area that is left")
    axes.set_ylabel("norm of query / norm of reference")
    axes.legend(frameon=False)
    _save(figure, work / "asl-norms.svg")


def _save(figure: Any, path: Path) -> None:  # noqa: ANN401 -- matplotlib's figure
    from matplotlib import pyplot

    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
