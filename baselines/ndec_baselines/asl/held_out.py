"""Measures on the part held out: µAP, direction, hard negatives. Nothing of a test split is looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch

from ndec_bench.metrics import average_precision as metrics
from ndec_bench.search.rules import parse_rule

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_baselines.asl.batches import Studio
    from ndec_baselines.asl.network import Describer
    from ndec_baselines.asl.training_set import HeldOutPlan
    from ndec_bench.progress import Progress

    Floats = NDArray[np.float64]

LISTED = 10

RULES = (
    "none",
    "ratio",
    *(f"{name}:{parameter!r}" for name in ("hinge", "tilt") for parameter in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)),
    *(f"tilt:{parameter!r}" for parameter in (0.001, 0.002, 0.005)),
)
"""Asymmetric rules that are tried on the part held out."""

PART = 32


def micro_ap(scores: Floats, correct: NDArray[np.bool_], positives: int) -> float:
    """Return µAP of scored pairs (n,); ``positives`` counts the true pairs, found or not."""
    return metrics.micro_ap(metrics.rank(scores, correct, positives))


@dataclass(frozen=True)
class HeldOut:
    """What was measured.

    Attributes
    ----------
    micro_ap, micro_ap_ratio
        µAP without and with the ratio rule.
    kept, kept_if_swapped
        Shares of true pairs whose query has at most the reference's norm, and at least.
    auc
        Area under the curve of telling (copy, original) from (original, copy) by (n_r − n_q) / (n_r + n_q).
    hard_kept
        Share of hard negatives whose nearest reference the ratio rule keeps; None without hard negatives.
    """

    micro_ap: float
    micro_ap_ratio: float
    kept: float
    kept_if_swapped: float
    auc: float
    hard_kept: float | None

    def as_row(self) -> dict[str, float | None]:
        """Return the numbers by name, with ``held_`` before each."""
        return {f"held_{name}": value for name, value in asdict(self).items()}


class HeldOutPart:
    """The pictures of the part held out, made once, described at every validation."""

    def __init__(self, plan: HeldOutPlan, studio: Studio, progress: Progress) -> None:
        self.plan = plan
        total = len(plan.references) + len(plan.copies) + len(plan.hard)
        pictures = chain(
            map(studio.original, plan.references),
            (studio.copy(image_id, "held out", number) for image_id, number in plan.copies),
            (studio.mild(i, "held out", number) if number else studio.original(i) for i, number in plan.hard),
        )
        pixels: list[torch.Tensor] = []
        for picture in pictures:
            pixels.append((picture.pixels * _STEP).round().to(torch.int8))
            progress("pictures held out", len(pixels), total)
        self._pixels = torch.stack(pixels)

    def measured(self, describer: Describer, device: torch.device) -> HeldOut:
        """Return what ``describer``, in evaluation, reaches."""
        vectors, norms = self.described(describer, device)
        return measured(self.plan, vectors, norms)

    def described(self, describer: Describer, device: torch.device) -> tuple[Floats, Floats]:
        """Return unit vectors (n, d) and norms (n,) of references, copies and hard negatives, in that order."""
        vectors, norms = [], []
        with torch.inference_mode():
            for part in torch.split(self._pixels, PART):
                images = (part.to(device).float() / _STEP).contiguous(memory_format=torch.channels_last)
                some, lengths = describer(images)
                vectors.append(some.cpu())
                norms.append(lengths.cpu())
        return torch.cat(vectors).double().numpy(), torch.cat(norms).double().numpy()


_STEP = 47.0
"""Normalised pixels lie within ±2.65: kept in steps of 1/47, as eight bits."""


def measured(plan: HeldOutPlan, vectors: Floats, norms: Floats) -> HeldOut:
    """Return the measures of described pictures: references, copies, hard negatives, in the plan's order."""
    references = len(plan.references)
    truth = _truth(plan)
    scores = vectors[references:] @ vectors[:references].T
    of_references, of_queries = norms[:references], norms[references:]
    nearest = np.argsort(-scores, axis=1, kind="stable")
    queries = np.arange(len(scores))[:, None]
    allowed = of_queries[queries] <= of_references[nearest]
    free = _listed(scores, nearest, truth, np.ones_like(allowed))
    ruled = _listed(scores, nearest, truth, allowed)
    copies = len(plan.copies)
    own, others = of_queries[:copies], of_references[truth[:copies]]
    hard = allowed[copies:, 0]
    return HeldOut(
        micro_ap=micro_ap(*free, copies),
        micro_ap_ratio=micro_ap(*ruled, copies),
        kept=float((own <= others).mean()),
        kept_if_swapped=float((others <= own).mean()),
        auc=direction_auc(own, others),
        hard_kept=float(hard.mean()) if len(hard) else None,
    )


def by_rule(plan: HeldOutPlan, vectors: Floats, norms: Floats) -> dict[str, float]:
    """Return µAP on the part held out under each of `RULES`.

    The score is the negated squared distance of two unit vectors, as ``ndec-bench score`` takes it.
    """
    references, copies = len(plan.references), len(plan.copies)
    truth = _truth(plan)
    scores = 2 * (vectors[references:] @ vectors[:references].T) - 2
    sides = np.broadcast_arrays(
        norms[references:, None].astype(np.float32), norms[None, :references].astype(np.float32)
    )
    found = {}
    for text in RULES:
        rule = parse_rule(text)
        allowed = sides[0] <= sides[1] if rule is not None and not rule.smooth else np.ones(scores.shape, dtype=bool)
        moved = scores - rule.penalty(*sides) if rule is not None and rule.smooth else scores
        nearest = np.argsort(-moved, axis=1, kind="stable")
        listed = _listed(moved, nearest, truth, np.take_along_axis(allowed, nearest, axis=1))
        found[text] = micro_ap(*listed, copies)
    return found


def _truth(plan: HeldOutPlan) -> NDArray[np.intp]:
    """Return (queries,) the row of each query's reference; −1 for hard negatives."""
    place = {image_id: row for row, image_id in enumerate(plan.references)}
    return np.array([place[i] for i, _ in plan.copies] + [-1] * len(plan.hard))


def direction_auc(query_norms: Floats, reference_norms: Floats) -> float:
    """Return P(t_i > −t_j) + ½ P(t_i = −t_j) over all i, j, with t = (n_r − n_q) / (n_r + n_q) of true pairs (n,)."""
    total = reference_norms + query_norms
    t = np.divide(reference_norms - query_norms, total, out=np.zeros_like(total), where=total > 0)
    swapped = np.sort(-t)
    below = np.searchsorted(swapped, t, side="left").sum()
    upto = np.searchsorted(swapped, t, side="right").sum()
    return float((below + upto) / (2 * len(t) ** 2))


def _listed(
    scores: Floats, nearest: NDArray[np.intp], truth: NDArray[np.intp], allowed: NDArray[np.bool_]
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return scores and truth of the first allowed pairs of each query."""
    kept = allowed & (np.cumsum(allowed, axis=1) <= LISTED)
    rows, columns = np.nonzero(kept)
    chosen = nearest[rows, columns]
    return scores[rows, chosen], chosen == truth[rows]
