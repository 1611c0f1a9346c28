"""Consistency of the numbers of one result, with its split and protocol. None of it needs the descriptors.

An honest result passes, since `ndec_bench.scoring.score` computes each of these numbers from the same lists. A number
that was changed by hand, or belongs to another run, is caught by those that were left.
"""

from __future__ import annotations

import math
import re
import shlex
import unicodedata
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.data.known import KNOWN, REFERENCES
from ndec_bench.metrics import bootstrap
from ndec_bench.protocol import PROTOCOLS
from ndec_bench.results.record import Signature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ndec_bench.protocol import Protocol
    from ndec_bench.results.record import (
        Curve,
        HardNegativeAccount,
        PartScore,
        Replicates,
        Result,
        Share,
        ThresholdAccount,
    )
    from ndec_bench.submissions.card import Key

Found = tuple["Key", str]

_ROUNDED = 1e-6
"""Curves and replicates are stored with six decimals."""

_THINNED = 2e-4
"""The area under a thinned curve is kept to 1e-4 (`ndec_bench.metrics.average_precision.thin_curve`); as much again for
rounding."""

_EXACT = 1e-9
_COUNTED = 1e-3
# The curve's thresholds have seven digits.
_THRESHOLD_DIGITS = 1e-6

_LOOK_ALIKE = str.maketrans("авеіјкмнорсѕтухԁһԛԝαβεικνορτυχı1i|0", "abeljkmhopcstyxdhqwabelknoptuxllllo")
"""Letters of Cyrillic and Greek, and digits, that look like Latin letters."""

MOST_PRECISIONS = 50
"""Each is computed again with the row."""

_MOST = 1e15
"""Seconds, images, milliseconds or bytes of a run: more than any has."""

_ITEM_BYTES = {"float16": 2, "float32": 4, "float64": 8}


def inconsistencies(result: Result) -> Iterator[Found]:
    """Yield (key, message) of everything in ``result`` that cannot be right."""
    protocol = PROTOCOLS.get(result.protocol)
    if protocol is None:
        yield ("protocol",), f"{result.protocol!r} is unknown (known: {', '.join(sorted(PROTOCOLS))})"
        return
    if "all" not in result.parts:
        yield ("parts",), "part all is missing"
        return
    yield from _signature(result, protocol)
    yield from _command(result)
    yield from _costs(result)
    yield from _size(result)
    yield from _references(result)
    yield from _known_split(result)
    for name, part in result.parts.items():
        for key, message in _part(part, protocol, result):
            yield ("parts", name, *key), message
    if result.hard_negatives is not None:
        for key, message in _account(result.hard_negatives, result):
            yield ("hard_negatives", *key), message
    yield from _direction(result)


def _signature(result: Result, protocol: Protocol) -> Iterator[Found]:
    try:
        signature = Signature.parse(result.signature)
    except ValueError as error:
        yield ("signature",), str(error)
        return
    expected = {
        "split": result.split,
        "protocol": result.protocol,
        "candidates": protocol.candidates(result.parts["all"].queries),
        "metric": result.metric,
        "score_norm": "none",
        "asymmetric": result.asymmetric,
        "ties": protocol.ties,
        "ground_truth": result.digests.ground_truth[:8],
        "version": result.provenance.ndec_bench,
    }
    yield from (
        (("signature",), f"{name} is {getattr(signature, name)!r}, the result says {value!r}")
        for name, value in expected.items()
        if getattr(signature, name) != value
    )


def _command(result: Result) -> Iterator[Found]:
    """Yield where the command, which the page of the row offers to copy, would do more than run this program."""
    command = result.provenance.command
    if command is None:
        return
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    if words[:1] != ["ndec-bench"] or shlex.join(words) != command or not command.isprintable():
        yield ("provenance", "command"), "is not a plain command of ndec-bench"


def _costs(result: Result) -> Iterator[Found]:
    """Yield numbers of what the run took that no run can have."""
    took = result.describing.model_dump() if result.describing else {}
    run = result.provenance.model_dump(include={"seconds", "threads", "peak_memory_bytes"})
    for table, values in (("describing", took), ("provenance", run)):
        for name, value in values.items():
            if isinstance(value, int | float) and not 0 <= value <= _MOST:
                yield (table, name), f"{value:g}, expected a number from 0 to {_MOST:g}"


def _size(result: Result) -> Iterator[Found]:
    """Yield what is wrong with the facts about the file."""
    if (result.metric == "score") != (result.track == "matching"):
        yield ("metric",), f"{result.metric} does not go with the track {result.track}"
    size = (result.dimensions, result.bytes_per_reference, result.stored_dtype)
    if result.track == "matching":
        if size != (None, None, None):
            yield ("dimensions",), "pairs have no dimensions, bytes or type"
    elif result.dimensions is None or result.stored_dtype not in _ITEM_BYTES:
        yield ("dimensions",), "descriptors have dimensions and a type (float16, float32, float64)"
    else:
        expected = result.dimensions * _ITEM_BYTES[result.stored_dtype]
        if not 1 <= result.dimensions <= 1 << 16:
            yield ("dimensions",), f"{result.dimensions}, from 1 to 65,536 are taken"
        if result.bytes_per_reference != expected:
            message = f"{result.bytes_per_reference}, {result.dimensions} of {result.stored_dtype} are {expected}"
            yield ("bytes_per_reference",), message
    for name in ("submission", "ground_truth", "split"):
        if not _is_digest(getattr(result.digests, name)):
            yield ("digests", name), "not a SHA-256"
    if not _is_digest(result.predictions_sha256):
        yield ("predictions_sha256",), "not a SHA-256"


def _references(result: Result) -> Iterator[Found]:
    """Yield what is wrong with the counts of references."""
    for name, least in (("references", 1), ("missing_references", 0)):
        if getattr(result, name) < least:
            yield (name,), f"{getattr(result, name)}, expected at least {least}"
    if result.partial != (result.missing_references > 0):
        yield ("partial",), f"{result.partial} with {result.missing_references:,} references missing"
    if not result.partial and result.recall_ceiling != 1.0:
        yield ("recall_ceiling",), f"{result.recall_ceiling} though no reference is missing"


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def _is_digest(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def skeleton(text: str) -> str:
    """Return ``text`` as a reader may take it: without case, accents, signs and spaces, look-alike letters as one."""
    plain = unicodedata.normalize("NFKD", text).casefold().translate(_LOOK_ALIKE)
    return re.sub(r"[\W_]+", "", "".join(sign for sign in plain if not unicodedata.combining(sign)))


def _known_split(result: Result) -> Iterator[Found]:
    """Yield what is not as in the known split of that name or truth: a name decides what a method may have seen."""
    known = KNOWN.get(result.split)
    if known is None:
        for other in KNOWN.values():
            if skeleton(result.split) in (skeleton(other.name), skeleton(other.title)):
                yield ("split",), f"{result.split!r} looks like {other.name}"
            elif result.digests.ground_truth == other.pairs_sha256:
                yield (
                    ("split",),
                    f"{result.split!r} has the true pairs of {other.title}, which are scored as {other.name}",
                )
        return
    part = result.parts["all"]
    account = result.hard_negatives
    facts: tuple[tuple[Key, object, object], ...] = (
        (("digests", "ground_truth"), result.digests.ground_truth, known.pairs_sha256),
        (("parts", "all", "queries"), part.queries, known.queries),
        (("parts", "all", "positives"), part.positives, known.positives),
        (("hard_negatives", "queries"), account.queries if account else 0, known.hard_negatives if account else 0),
    )
    for key, found, expected in facts:
        if found != expected:
            yield key, f"{found}, {known.title} has {expected}"
    if result.track == "descriptor" and result.references + result.missing_references != REFERENCES:
        total = result.references + result.missing_references
        yield ("references",), f"{total:,} with those that are missing, {known.title} has {REFERENCES:,}"
    if known.hard_negatives and account is None and not result.partial:
        yield ("hard_negatives",), f"there are none, {known.title} has {known.hard_negatives:,}"


def _part(part: PartScore, protocol: Protocol, result: Result) -> Iterator[Found]:
    counts = (part.queries, part.positives, part.predictions, part.cap)
    if min(counts) < 0 or part.queries < 1:
        yield ("queries",), f"{part.queries} queries, {part.positives} true pairs, {part.predictions} predictions"
        return
    if part.cap != protocol.cap(part.queries):
        yield (
            ("cap",),
            f"{part.cap:,}, {result.protocol} gives {protocol.cap(part.queries):,} to {part.queries:,} queries",
        )
    if len(part.recall_at_precision) > MOST_PRECISIONS or not all(map(_is_share, part.recall_at_precision)):
        yield ("recall_at_precision",), f"expected at most {MOST_PRECISIONS} precisions, numbers from 0 to 1"
    if part.predictions > part.cap:
        yield ("predictions",), f"{part.predictions:,}, the list may hold {part.cap:,}"
    unreached = protocol.unreached
    if (part.threshold_at_p90 is None) != (part.recall_at_p90 == unreached):
        yield ("threshold_at_p90",), f"{part.threshold_at_p90} with recall {part.recall_at_p90}"
    if part.recall_at_1 > part.recall_at_10 + _EXACT:
        yield ("recall_at_1",), f"{part.recall_at_1} is above recall_at_10, {part.recall_at_10}"
    most = result.recall_ceiling + _EXACT
    for name in ("micro_ap", "recall_at_p90", "recall_at_10"):
        if (getattr(part, name) or 0.0) > most:
            yield (name,), f"{getattr(part, name)} is above what can be reached, {result.recall_ceiling}"
    yield from _levels(part, protocol)
    yield from _edits(part)
    yield from _curve(part, part.pr_curve, protocol)
    if part.replicates is not None:
        yield from _replicates(part, part.replicates)
    else:
        yield from (
            ((name,), "an interval without replicates")
            for name in ("micro_ap_interval", "recall_at_p90_interval")
            if getattr(part, name) is not None
        )


def _levels(part: PartScore, protocol: Protocol) -> Iterator[Found]:
    expected = [str(level) for level in protocol.recall_levels]
    if list(part.precision_at_recall) != expected:
        yield ("precision_at_recall",), f"has {', '.join(part.precision_at_recall)}; expected {', '.join(expected)}"
        return
    reached = [value or 0.0 for value in part.precision_at_recall.values()]
    for level, (low, high) in zip(expected[1:], pairwise(reached), strict=True):
        if high > low + _EXACT:
            yield ("precision_at_recall", level), f"{high} is above that of a lower recall, {low}"


def _curve(part: PartScore, curve: Curve, protocol: Protocol) -> Iterator[Found]:
    sizes = {len(curve.recall), len(curve.precision), len(curve.threshold)}
    if len(sizes) > 1:
        yield ("pr_curve",), "its three lists have unequal lengths"
        return
    if not curve.recall or not part.positives:
        for name in ("micro_ap", "recall_at_p90", "recall_at_1", "recall_at_10"):
            if getattr(part, name):
                yield (name,), f"{getattr(part, name)}, but the curve has no true pair"
        return
    if any(high < low for low, high in pairwise(curve.recall)):
        yield ("pr_curve", "recall"), "falls along the list"
    if any(high > low for low, high in pairwise(curve.threshold)):
        yield ("pr_curve", "threshold"), "rises along the list"
    recall, precision = np.array(curve.recall), np.array(curve.precision)
    # Found pairs over precision is the rank, which ends with the list.
    ranks = (recall - _ROUNDED) * part.positives / (precision + _ROUNDED)
    if (ranks > part.predictions + 1).any():
        yield ("pr_curve", "precision"), f"tells of more than the {part.predictions:,} pairs of the list"
    # µAP is the sum of precision over true pairs; half of the first and last one lies outside the trapezoids.
    area = float(np.trapezoid(precision, recall)) + float(precision[0] + precision[-1]) / (2 * part.positives)
    if abs(area - part.micro_ap) > _THINNED:
        yield ("micro_ap",), f"{part.micro_ap:.6f}, the curve gives {area:.6f}"
    last = float(recall[-1]) + _ROUNDED
    for name in ("recall_at_p90", "recall_at_1", "recall_at_10"):
        if (getattr(part, name) or 0.0) > last:
            yield (name,), f"{getattr(part, name)} is above the last recall of the curve, {curve.recall[-1]}"
    most = _most_precise(recall, precision, part.positives)
    yield from _at_target(part, curve, precision, most, protocol.precision_target)
    yield from _precisions(part, recall, precision, most)


def _most_precise(recall: NDArray[np.float64], precision: NDArray[np.float64], positives: int) -> NDArray[np.float64]:
    """Return the most that precision can be between each stored point and the one before it.

    After f true pairs at rank n, the best that can follow are true pairs alone, up to the f' of the next point:
    f' / (n + f' − f).
    """
    found = recall * positives
    before, rank = np.r_[0.0, found[:-1]], np.r_[0.0, (found / np.maximum(precision, _ROUNDED))[:-1]]
    most: NDArray[np.float64] = np.minimum(found / np.maximum(rank + found - before, _ROUNDED), 1.0)
    return most


def _at_target(
    part: PartScore, curve: Curve, precision: NDArray[np.float64], most: NDArray[np.float64], target: float
) -> Iterator[Found]:
    """Yield what is wrong with recall@P90: the curve reaches it, and can reach no more."""
    given, recall = part.recall_at_p90 or 0.0, np.array(curve.recall)
    good = recall[precision >= target + _ROUNDED].max(initial=0.0)
    possible = recall[most >= target - _THINNED].max(initial=0.0)
    if not good - _ROUNDED <= given <= possible + _ROUNDED:
        yield ("recall_at_p90",), f"{part.recall_at_p90}, the curve reaches {good}"
    threshold = part.threshold_at_p90
    if threshold is None or not given:
        return
    after = min(int(np.searchsorted(recall, given - _ROUNDED)), len(recall) - 1)
    low, high = curve.threshold[after], curve.threshold[max(after - 1, 0)] if after else math.inf
    slack = _THRESHOLD_DIGITS * max(abs(low), abs(threshold))
    if not low - slack <= threshold <= high + slack:
        yield ("threshold_at_p90",), f"{threshold}, the curve has {low} where recall reaches {given}"


def _precisions(
    part: PartScore, recall: NDArray[np.float64], precision: NDArray[np.float64], most: NDArray[np.float64]
) -> Iterator[Found]:
    """Yield what is wrong with the precision at levels of recall."""
    for level, value in part.precision_at_recall.items():
        reached = recall >= float(level) - _ROUNDED
        name = ("precision_at_recall", level)
        if value is None:
            if (recall >= float(level) + _ROUNDED).any():
                yield name, f"null, but the curve reaches recall {recall[-1]}"
        elif not reached.any():
            yield name, f"{value}, but the curve ends at recall {recall[-1]}"
        elif (
            not precision[recall >= float(level) + _ROUNDED].max(initial=0.0) - _ROUNDED
            <= value
            <= (most[reached].max() + _THINNED)
        ):
            yield name, f"{value}, the curve has {precision[reached].max():.6f}"


def _edits(part: PartScore) -> Iterator[Found]:
    """Yield what is wrong with the recall of single edits: copies are counted, so their shares are of whole numbers."""
    above = (part.recall_at_p90 or 0.0) * part.positives
    for kind, at in (part.recall_by_edit or {}).items():
        counts = [at.recall_at_1 * at.copies, at.recall_at_p90 * at.copies]
        if not 0 < at.copies <= part.positives or counts[1] > above + _COUNTED:
            yield (
                ("recall_by_edit", kind),
                f"{at.copies:,} copies of {part.positives:,}, {counts[1]:.0f} found of {above:.0f}",
            )
        if any(abs(count - round(count)) > _COUNTED for count in counts):
            yield (
                ("recall_by_edit", kind),
                f"{at.recall_at_1} and {at.recall_at_p90} are no shares of {at.copies:,} copies",
            )


def _replicates(part: PartScore, replicates: Replicates) -> Iterator[Found]:
    if replicates.stream != bootstrap.STREAM:
        yield ("replicates", "stream"), f"{replicates.stream!r}, expected {bootstrap.STREAM!r}"
    for name in ("micro_ap", "recall_at_p90"):
        stored = getattr(replicates, name)
        if len(stored) != bootstrap.REPLICATES:
            yield ("replicates", name), f"{len(stored):,} replicates, expected {bootstrap.REPLICATES:,}"
            continue
        if min(stored) < 0 or max(stored) > 1:
            yield ("replicates", name), "leaves 0 to 1"
        expected = bootstrap.interval(stored)
        found = getattr(part, f"{name}_interval")
        if found is None or max(abs(a - b) for a, b in zip(found, expected, strict=True)) > _ROUNDED:
            yield (f"{name}_interval",), f"{found}, the replicates give {expected}"


def _account(account: HardNegativeAccount, result: Result) -> Iterator[Found]:
    everything, isc = result.parts["all"], result.parts.get("isc")
    if isc is None:
        yield (), "there are hard negatives but no part isc"
        return
    plain, hard = account.plain_distractors, account.queries
    if min(plain, hard) < 0 or isc.queries + hard != everything.queries or plain > isc.queries:
        yield (
            ("queries",),
            f"{hard} hard negatives and {isc.queries} queries of part isc, of {everything.queries} in all",
        )
        return
    if isc.positives != everything.positives:
        yield ("queries",), "a hard negative has a true pair"
    weighted = account.micro_ap_isc_weighted
    yield from _apart(
        (("weight",), account.weight, (plain + hard) / plain if plain else None),
        (("difference",), account.difference, isc.micro_ap - everything.micro_ap),
        (("cost",), account.cost, None if weighted is None else weighted - everything.micro_ap),
    )
    for name, threshold in (
        ("at_p90_isc", isc.threshold_at_p90),
        ("at_p90_all", everything.threshold_at_p90),
        ("at_own_threshold", result.own_threshold),
    ):
        at: ThresholdAccount | None = getattr(account, name)
        if not _near(None if at is None else at.threshold, threshold):
            yield (name,), f"threshold {None if at is None else at.threshold}, elsewhere {threshold}"
        elif at is not None:
            for key, message in _at_threshold(at, account, everything):
                yield (name, *key), message


def _at_threshold(at: ThresholdAccount, account: HardNegativeAccount, part: PartScore) -> Iterator[Found]:
    wrong = at.false_positives
    false = wrong.hard_negative + wrong.plain_distractor + wrong.wrong_reference
    true = at.true_positives
    if min(true, wrong.hard_negative, wrong.plain_distractor, wrong.wrong_reference) < 0:
        yield ("false_positives",), "a count below 0"
        return
    if true > part.positives or true + false > part.predictions:
        yield ("true_positives",), f"{true} of {part.positives} true pairs, {true + false} of {part.predictions} pairs"
    yield from _apart(
        (("precision",), at.precision, true / (true + false) if true + false else None),
        (("recall",), at.recall, true / part.positives if part.positives else 0.0),
    )
    hard, plain = (account.queries, wrong.hard_negative), (account.plain_distractors, wrong.plain_distractor)
    yield from _share("hard_negatives_hit", at.hard_negatives_hit, *hard)
    yield from _share("plain_distractors_hit", at.plain_distractors_hit, *plain)
    yield from _share("without_match_hit", at.without_match_hit, hard[0] + plain[0], hard[1] + plain[1])


def _share(name: str, share: Share, size: int, pairs: int) -> Iterator[Found]:
    """Yield what is wrong with the share of ``size`` queries that are hit, by ``pairs`` wrong pairs at most."""
    if share.queries != size or not 0 <= share.hits <= min(size, pairs):
        yield (name,), f"{share.hits} of {share.queries} queries, with {pairs} wrong pairs of {size} queries"
        return
    yield from _apart(((name, "rate"), share.rate, share.hits / size if size else None))
    low, high = share.interval or (0.0, 1.0)
    if share.rate is not None and not low - _EXACT <= share.rate <= high + _EXACT:
        yield (name, "interval"), f"{share.interval} does not hold {share.rate}"


def _direction(result: Result) -> Iterator[Found]:
    """Yield where the scores are not those of the list that the rule gives."""
    if result.direction is None:
        return
    side = "without_rule" if result.asymmetric == "none" else "with_rule"
    for name, part in result.direction.parts.items():
        if name not in result.parts:
            yield ("direction", "parts", name), "there is no such part"
        else:
            key = ("direction", "parts", name, side, "micro_ap")
            yield from _apart((key, getattr(part, side).micro_ap, result.parts[name].micro_ap))


def _apart(*facts: tuple[Key, float | None, float | None]) -> Iterator[Found]:
    """Yield those of ``facts``, each a key with the number found and the one that the others give, that differ."""
    for key, found, expected in facts:
        if not _near(found, expected):
            yield key, f"{found}, the other numbers give {expected}"


def _near(found: float | None, expected: float | None) -> bool:
    if found is None or expected is None:
        return found is expected
    return abs(found - expected) <= _EXACT * max(1.0, abs(expected))
