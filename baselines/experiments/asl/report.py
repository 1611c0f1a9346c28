"""Tables and figures of the ASL experiment, from result files, descriptor files and the split's record of edits."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd

import ndec_baselines
from ndec_bench.atomic import write_text
from ndec_bench.matches import read_pairs
from ndec_bench.metrics import bootstrap
from ndec_bench.submissions.card import read_card, write_card

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Cells = Mapping[str, str]

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
AREAS = (0.0, 0.4, 0.6, 0.8, 0.9, 0.999, np.inf)
FEWEST = 20


def row_name(row: str, seed: int) -> str:
    """Return the name of a result."""
    return f"mini-asl-{row}-{seed}"


def matches_of(work: Path, row: str, seed: int) -> Path:
    """Return the file of the scored list of a result."""
    return work / "matches" / f"{row_name(row, seed)}.csv"


def write(
    work: Path,
    seeds: Sequence[int],
    smooth: Mapping[str, str],
    trained: Mapping[tuple[str, int], Mapping[str, Any]],
    *,
    repository: Path | None,
) -> None:
    """Write the report to ``work``, and into the repository if one is given."""
    rows = tuple(dict.fromkeys((*ROWS, "c1", *SMOOTH.values())))
    results = pd.concat({row: pd.json_normalize([_result(work, row, seed) for seed in seeds]) for row in rows})
    pairs = pd.concat({(row, seed): _pairs(work, row, seed) for row in "abc" for seed in seeds}, names=["row", "seed"])
    text = "\n\n".join(
        (
            _scores(results, len(seeds)),
            _differences(results, "micro_ap", _ABOUT_DIFFERENCES),
            _differences(results, "recall_at_p90", "**Paired differences of recall@P90**, in the same way."),
            _hits(work, results, seeds),
            _directions(results, smooth),
            _at_threshold(results),
            _areas(pairs, len(seeds)),
            _kinds(pairs.loc["c"], len(seeds)),
            _runs(trained, seeds),
        )
    )
    put(work / "report.md", text, None if repository is None else repository / "docs" / "asl.md", "measured")
    _figures(work, results, pairs)
    if repository is None:
        return
    for figure in ("asl-scores.svg", "asl-norms.svg"):
        shutil.copyfile(work / figure, repository / "docs" / "img" / figure)
    for row in ROWS:
        for seed in seeds:
            _record(work, repository, row, seed)


def _result(work: Path, row: str, seed: int) -> dict[str, Any]:
    path = work / "results" / "ndec-1" / f"{row_name(row, seed)}.json"
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _pairs(work: Path, row: str, seed: int) -> pd.DataFrame:
    """Return the true pairs of the test part: ratio of norms, area that is left, kinds of edits (a tuple)."""
    name = row_name(row, seed)
    with h5py.File(work / "submissions" / name / f"{name}.h5") as file:
        query, reference = (
            pd.Series(file[f"{side}_norms"][()].astype(np.float64), index=file[f"{side}_ids"].asstr()[()])
            for side in ("query", "reference")
        )
    truth = pd.read_csv(work / SPLIT / "ground_truth.csv", dtype=str, keep_default_na=False)
    truth = truth[truth["reference_id"] != ""]
    edits = pd.read_csv(work / SPLIT / "edits.csv", dtype=str, keep_default_na=False).groupby("query_id")
    known = edits.agg(area=("remaining_area", "last"), kinds=("kind", tuple)).loc[truth["query_id"]]
    ratios = query.loc[truth["query_id"]].to_numpy() / reference.loc[truth["reference_id"]].to_numpy()
    return known.assign(area=known["area"].astype(float), ratio=ratios)


def _values(results: pd.DataFrame, row: str, path: str) -> NDArray[np.float64]:
    """Return the number at ``path`` for each seed; not a number where it was not reached."""
    return results.loc[row, path].to_numpy(dtype=np.float64)


def _replicates(results: pd.DataFrame, row: str, measure: str) -> NDArray[np.float64]:
    """Return (replicates,) of the mean over seeds, part ``all``."""
    found = np.array(results.loc[row, f"parts.all.replicates.{measure}"].tolist(), dtype=np.float64)
    return np.asarray(found.mean(axis=0))


def _scores(results: pd.DataFrame, seeds: int) -> str:
    lines = []
    for row, words in ROWS.items():
        rule = f" (`{results.loc[row, 'asymmetric'].iloc[0]}`)" if row in "de" else ""
        low, high = np.percentile(_replicates(results, row, "micro_ap"), (2.5, 97.5))
        lines.append(
            {
                "setting": f"({row}) {words}{rule}",
                "µAP": _spread(results, row, "parts.all.micro_ap"),
                "95 % over queries": f"{low:.4f} to {high:.4f}",
                "µAP, ISC part": _spread(results, row, "parts.isc.micro_ap"),
                "recall@P90": _spread(results, row, "parts.all.recall_at_p90"),
                "cost": _spread(results, row, "hard_negatives.cost"),
                "hard negatives hit at P90": _share(results, row, "hard_negatives.at_p90_isc.hard_negatives_hit.rate"),
            }
        )
    return table(
        f"**Scores on {SPLIT}**, mean ± standard deviation of {seeds} seeds; the interval is over queries, of the "
        "mean. Cost is what the hard negatives take from µAP.",
        lines,
    )


_ABOUT_DIFFERENCES = (
    "**Paired differences of µAP**: the mean over seeds with its 95 % interval over queries (the same replicates "
    "on both sides), each seed by itself, the half width with seeds and queries both counted as drawn, and the "
    "smallest true difference that such a test finds four times in five (2.8 standard errors); *a-smooth* is (a) "
    "with the smooth rule that is best for it."
)


def _differences(results: pd.DataFrame, measure: str, title: str) -> str:
    path = f"parts.all.{measure}"
    lines = [
        _difference(
            f"{better} − {base}",
            _values(results, better, path) - _values(results, base, path),
            _replicates(results, better, measure) - _replicates(results, base, measure),
        )
        for better, base in STEPS
    ]
    return table(title, lines)


def _difference(name: str, of_seeds: NDArray[np.float64], replicates: NDArray[np.float64]) -> Cells:
    """Return the cells of a difference: (seeds,) as measured, (replicates,) of the mean over seeds."""
    low, high = np.percentile(replicates, (2.5, 97.5))
    spread = of_seeds.std(ddof=1) if len(of_seeds) > 1 else 0.0
    error = np.hypot(replicates.std(ddof=1), spread / np.sqrt(len(of_seeds)))
    return {
        "difference": name,
        "mean": f"{of_seeds.mean():+.4f}",
        "95 % over queries": f"{low:+.4f} to {high:+.4f}",
        "by seed": ", ".join(f"{value:+.4f}" for value in of_seeds),
        "half width, both": f"{1.96 * error:.4f}",
        "smallest effect": f"{2.8 * error:.4f}",
    }


def _hits(work: Path, results: pd.DataFrame, seeds: Sequence[int]) -> str:
    """Return the paired differences of the share of hard negatives hit; the replicates are those of the scorer."""
    ids = (work / SPLIT / "hard_negatives.txt").read_text(encoding="utf-8").split()
    weights = bootstrap.weights(bootstrap.query_keys(ids), 0, bootstrap.REPLICATES).astype(np.float64)
    hits = {row: np.array([_hit(work, row, seed, ids) for seed in seeds]) for row in ROWS}
    lines = []
    for better, base in STEPS:
        if better in ROWS and base in ROWS:
            apart = hits[better] - hits[base]
            replicates = apart.mean(axis=0) @ weights / weights.sum(axis=0)
            lines.append(_difference(f"{better} − {base}", apart.mean(axis=1), replicates))
    return table(
        "**Paired differences of the share of hard negatives hit**, each list at its own threshold of 90 % precision "
        "on the ISC part, which the replicates leave as it is; below 0 is better.",
        lines,
    )


def _hit(work: Path, row: str, seed: int, ids: Sequence[str]) -> NDArray[np.float64]:
    """Return (hard negatives,) 1 where a query has a pair at the threshold; none of these pairs is true."""
    matches = read_pairs(matches_of(work, row, seed))
    account = _result(work, row, seed)["hard_negatives"]["at_p90_isc"]
    found = np.isin(ids, matches.query_ids[matches.scores >= account["threshold"]]).astype(np.float64)
    if int(found.sum()) != account["hard_negatives_hit"]["hits"]:
        raise ValueError(f"{matches_of(work, row, seed)} is not the list behind {row_name(row, seed)}")
    return found


def _directions(results: pd.DataFrame, smooth: Mapping[str, str]) -> str:
    lines = [
        {
            "network": f"({row}) {ROWS.get(row, 'c, a tenth of the weight')}",
            "AUC": _spread(results, row, "direction.direction_auc"),
            "kept": _share(results, row, "direction.true_pairs_kept.rate"),
            "if swapped": _share(results, row, "direction.true_pairs_kept_if_swapped.rate"),
            "hard negatives dropped": _share(results, row, "direction.dropped.hard_negative_pairs.rate"),
            "µAP": _spread(results, row, "parts.all.micro_ap"),
            "`ratio`": _spread(results, row, "direction.parts.all.with_rule.micro_ap"),
            "smooth": f"{_spread(results, moved, 'parts.all.micro_ap')} (`{smooth[row]}`)",
            "swap gap": _spread(results, moved, "direction.swap_gap.mean"),
        }
        for row, moved in SMOOTH.items()
    ]
    return table(
        "**Direction.** What the norms tell about the true pairs of the test part, and what rules make of each "
        "network, those included that no norm-ratio loss trained: AUC of telling copy from original; true pairs "
        "that `ratio` keeps (the query's norm is not above the reference's), and would keep if swapped; listed "
        "pairs of hard negatives that it drops; µAP without a rule, with `ratio`, and with the smooth rule that is "
        "best on the part held out; the swap gap of that rule.",
        lines,
    )


def _at_threshold(results: pd.DataFrame) -> str:
    views = [("c", "at_p90_isc.without_rule", "(c) at its threshold")]
    for row in "de":
        views.append((row, "at_p90_isc.with_rule", f"({row}) at the threshold of c"))
        views.append((row, "at_own_p90_isc.with_rule", f"({row}) at its own threshold"))
    groups = ("copies_found", "hard_negatives_hit", "plain_distractors_hit")
    lines = [
        {"setting": words}
        | {group.replace("_", " "): _share(results, row, f"direction.{where}.{group}.rate") for group in groups}
        for row, where, words in views
    ]
    return table(
        "**Copies and hard negatives apart**, at the thresholds that reach 90 % precision on the ISC part of the list.",
        lines,
    )


def _areas(pairs: pd.DataFrame, seeds: int) -> str:
    labels = [f"{100 * low:.0f} to {100 * high:.0f} %" for low, high in pairwise(AREAS[:-1])] + ["all of it"]
    band = pd.cut(pairs["area"], AREAS, labels=labels)
    by_band = pairs.assign(kept=pairs["ratio"] <= 1).groupby([band, "row"], observed=True)
    found = by_band.agg(ratio=("ratio", "median"), kept=("kept", "mean"), count=("kept", "size"))
    lines = []
    for label in labels:
        cells = {"original's area that is left": label, "true pairs": f"{found.loc[(label, 'a'), 'count'] // seeds:,}"}
        for row in "abc":
            cells |= {
                f"({row}) n_q / n_r": f"{found.loc[(label, row), 'ratio']:.3f}",
                f"({row}) kept": f"{100 * found.loc[(label, row), 'kept']:.1f} %",
            }
        lines.append(cells)
    return table(
        "**Norms against remaining area**: median ratio of the query's norm to the reference's, over all seeds, and "
        "the share of true pairs that the ratio rule keeps.",
        lines,
        lambda name: "kept" if name.endswith(" kept") else name,
    )


def _kinds(pairs: pd.DataFrame, seeds: int) -> str:
    """Return the edits, alone in their chain, by how often the ratio rule keeps the true pair."""
    single = pairs[pairs["kinds"].map(len) == 1]
    by_kind = (single["ratio"] <= 1).groupby(single["kinds"].str[0]).agg(["size", "mean"])
    enough = by_kind[by_kind["size"] >= FEWEST * seeds].rename_axis("edit").reset_index()
    lines = [
        {"edit": edit, "copies": f"{size // seeds}", "kept": f"{100 * mean:.1f} %"}
        for edit, size, mean in enough.sort_values(["mean", "edit"]).itertuples(index=False)
    ]
    return table(
        f"**Where it fails**: true pairs of a single edit that the ratio rule keeps in (c), worst first; edits with "
        f"{FEWEST} or more such copies.",
        lines,
    )


def _runs(trained: Mapping[tuple[str, int], Mapping[str, Any]], seeds: Sequence[int]) -> str:
    lines = [
        {
            "setting, seed": f"({setting}) {seed}",
            "step": f"{one['best_step']} of {one['steps']}",
            "µAP held out": f"{one['held_out']['micro_ap']:.4f}",
            "AUC held out": f"{one['held_out']['auc']:.4f}",
            "SHA-256 of `model.pt`": f"`{one['sha256']}`",
        }
        for setting in ("a", "b", "c", "c1")
        for seed in seeds
        for one in [trained[setting, seed]]
    ]
    return table(
        "**Runs**: the step that is kept, what it reaches on the part held out (of the training images; not comparable "
        "with the scores above), and the digest of its weights.",
        lines,
    )


def _spread(results: pd.DataFrame, row: str, path: str, factor: int = 1, form: str = ".4f") -> str:
    values = _values(results, row, path)
    if np.isnan(values).any():
        return "not reached by all"
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    return f"{factor * values.mean():{form}} ± {factor * spread:{form}}"


def _share(results: pd.DataFrame, row: str, path: str) -> str:
    text = _spread(results, row, path, 100, ".1f")
    return f"{text} %" if "±" in text else text


def table(title: str, lines: Iterable[Cells], shown: Any = str) -> str:  # noqa: ANN401 -- a function of a column
    """Return a table in Markdown, the first column to the left, the others to the right, under its title.

    ``lines`` are cells by column; ``shown`` maps the name of a column to its head.
    """
    frame = pd.DataFrame(lines)
    rule = ["---", *("---:" for _ in frame.columns[1:])]
    rows = ([shown(name) for name in frame.columns], rule, *frame.to_numpy().tolist())
    return "\n".join([title, "", *(f"| {' | '.join(row)} |" for row in rows)])


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
    rule = _result(work, row, seed)["asymmetric"]
    words = TITLES[row].replace("smooth rule", rule)
    weights = ndec_baselines.card("asl-small").weights
    title = f"ASL small ({row}) {words}"
    method = card.method.model_copy(
        update={
            "title": f"{title}; trained here",
            "description": (
                "MobileNetV2 from ImageNet weights at 112 pixels; the pooled features, with the norms of the projected "
                f"ones. Trained here, by tox -e asl, on ndec-mini's training part: {LOSSES.get(row, LOSSES['c'])}; "
                f"asymmetric rule: {rule}. docs/asl.md has the experiment."
            ),
            "weights_licence": None if weights is None else weights.licence,
        }
    )
    made = card.model_copy(update={"name": name, "runs_of": title, "seed": seed, "method": method})
    folder = repository / "submissions" / name
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "submission.toml", write_card(made))
    shutil.copyfile(work / "results" / "ndec-1" / f"{name}.json", repository / "results" / "ndec-1" / f"{name}.json")


def _figures(work: Path, results: pd.DataFrame, pairs: pd.DataFrame) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "asl", "svg.fonttype": "none", "font.size": 10, "axes.spines.top": False})
    mpl.rcParams["axes.spines.right"] = False
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 2.6), layout="constrained")
    for place, row in enumerate(ROWS):
        values = _values(results, row, "parts.all.micro_ap")
        low, high = np.percentile(_replicates(results, row, "micro_ap"), (2.5, 97.5))
        axes.plot([low, high], [place, place], color="#2b5c8a", linewidth=1.5, zorder=1)
        axes.scatter(values, [place] * len(values), s=22, facecolors="white", edgecolors="#2b5c8a", zorder=2)
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
        band = pd.cut(pairs.loc[row, "area"], borders)
        ratios = pairs.loc[row, "ratio"].groupby(band, observed=False)
        quartiles = np.array([np.percentile(some, (25, 50, 75)) for _, some in ratios])
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
