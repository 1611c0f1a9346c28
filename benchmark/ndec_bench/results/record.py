"""The result of scoring: every number, the signature that names every choice, and where it all came from.

The models below are the JSON of ``results/<protocol>/<name>.json``; `result_schema` publishes them as JSON Schema.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from ndec_bench import atomic
from ndec_bench.errors import DataError, os_errors
from ndec_bench.file_kind import refuse_others
from ndec_bench.printable import one_line
from ndec_bench.results.describing import Describing

if TYPE_CHECKING:
    import pandas as pd

Rate = Annotated[float, Field(ge=0.0, le=1.0)]
Interval = tuple[float, float]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null")


class Curve(_Record):
    """A precision-recall curve, thinned; parallel lists in rank order."""

    recall: list[Rate]
    precision: list[Rate]
    threshold: list[float]


class Replicates(_Record):
    """Bootstrap replicates over queries, in the order of the frozen stream, so that results can be paired."""

    stream: str = Field(description="Name of the weight generator, see ndec_bench.metrics.bootstrap")
    micro_ap: list[float]
    recall_at_p90: list[float] = Field(description="0 where a replicate never reaches the precision")


class EditRecall(_Record):
    """Recall of the copies made with one kind of edit."""

    copies: int
    recall_at_1: Rate
    recall_at_p90: Rate = Field(description="Share of copies above the threshold of recall@P90; 0 if never reached")


class PointAtPrecision(_Record):
    """The highest recall at a precision that was asked for, and the threshold that gives it."""

    recall: Rate | None = Field(description="If never reached: null, or 0 under protocols that count so")
    threshold: float | None = Field(description="null if never reached")


class PartScore(_Record):
    """The scores of one part of a split, computed as if the part stood alone."""

    queries: int
    positives: int = Field(description="True pairs, found or not")
    predictions: int = Field(description="Pairs in the list")
    cap: int = Field(description="Pairs the list may hold")
    micro_ap: Rate
    micro_ap_interval: Interval | None = Field(default=None, description="95 % bootstrap interval over queries")
    recall_at_p90: Rate | None = Field(description="If never reached: null, or 0 under protocols that count so")
    recall_at_p90_interval: Interval | None = None
    threshold_at_p90: float | None
    recall_at_1: Rate
    recall_at_10: Rate
    precision_at_recall: dict[str, Rate | None] = Field(description="By recall level; null if not reached")
    recall_at_precision: dict[str, PointAtPrecision] = Field(
        default_factory=dict, description="By precision, for the precisions asked for apart from 0.9"
    )
    complete: bool = Field(
        default=True, description="false where the given list of pairs was full, so pairs of this part may be missing"
    )
    recall_by_edit: dict[str, EditRecall] | None = None
    pr_curve: Curve
    replicates: Replicates | None = None


class Share(_Record):
    """How many of a group are hit, with its Clopper-Pearson interval.

    The group are queries, hit where they have a pair above a threshold (in the account, a wrong one); in `Direction`
    the true pairs as well.
    """

    hits: int
    queries: int = Field(description="Size of the group")
    rate: Rate | None = Field(description="null for an empty group")
    interval: Interval | None


class FalsePositives(_Record):
    """Wrong pairs above a threshold by kind of query."""

    hard_negative: int
    plain_distractor: int
    wrong_reference: int = Field(description="The query is a copy, of another reference")


class PairRate(_Record):
    """Wrong pairs above a threshold per non-matching pair of a group of queries."""

    false_positives: int
    pairs: int = Field(description="Pairs of these queries with references they are not a copy of")
    rate: Rate | None = Field(description="null without pairs")
    interval: Interval | None = Field(default=None, description="95 %, resampling queries; null without bootstrap")


class PairRates(_Record):
    """Pair false-positive rates by kind of query."""

    hard_negative: PairRate
    plain_distractor: PairRate
    without_match: PairRate
    all_queries: PairRate


class ThresholdAccount(_Record):
    """What passes one threshold on all queries."""

    threshold: float
    true_positives: int
    false_positives: FalsePositives
    precision: Rate | None
    recall: Rate
    hard_negatives_hit: Share
    plain_distractors_hit: Share
    without_match_hit: Share = Field(description="All queries without a true reference")
    alerts_per_true_match: float | None
    alerts_per_true_match_interval: Interval | None = Field(
        default=None,
        description="95 %, resampling queries; null without bootstrap or where a replicate has no true match",
    )
    pair_rates: PairRates | None = Field(
        default=None, description="null where the number of references is not known, and in results of version 0.1"
    )
    complete: bool = Field(
        default=True, description="false where the list was full before this threshold: pairs above it may be missing"
    )


class ThresholdTransfer(_Record):
    """Precision and recall at thresholds tuned without hard negatives on the other half of the queries."""

    thresholds: tuple[float, float] | None = Field(description="P90 thresholds of the ISC queries of halves 0 and 1")
    true_positives: int | None
    false_positives: int | None
    precision: Rate | None = Field(description="On all queries of the other half, pooled over both directions")
    recall: Rate | None


class HardNegativeAccount(_Record):
    """What the hard negatives cost."""

    queries: int = Field(description="Hard negatives among the queries")
    plain_distractors: int
    weight: float | None = Field(description="(plain + hard) / plain, null without plain distractors")
    micro_ap_isc_weighted: Rate | None = Field(description="µAP of the ISC part, plain distractors weighted so")
    cost: float | None = Field(description="micro_ap_isc_weighted minus µAP of all: hardness without the prior")
    difference: float = Field(description="µAP of the ISC part minus µAP of all")
    at_p90_isc: ThresholdAccount | None = Field(description="At the threshold tuned without hard negatives")
    at_p90_all: ThresholdAccount | None
    at_own_threshold: ThresholdAccount | None = Field(
        default=None, description="At the threshold that the authors declared, if they did"
    )
    transfer: ThresholdTransfer


class RuleScore(_Record):
    """The scores of one list of a part."""

    micro_ap: Rate
    recall_at_p90: Rate | None = Field(description="If never reached: null, or 0 under protocols that count so")


class DirectionPart(_Record):
    """One part of a split without and with an asymmetric rule; differences are with minus without."""

    without_rule: RuleScore
    with_rule: RuleScore
    micro_ap_difference: float
    micro_ap_difference_interval: Interval | None = Field(
        description="95 %, paired replicates over queries; null without bootstrap"
    )
    recall_at_p90_difference: float = Field(description="Precision 0.90 never reached counts 0")
    recall_at_p90_difference_interval: Interval | None


class SwapGap(_Record):
    """By how much a smooth rule prefers the direction of the truth, over the true pairs: s'(q, r) minus s'(r, q)."""

    mean: float
    median: float
    above_zero: Share


class Passing(_Record):
    """Which queries have a pair at or above a threshold in the list of part all."""

    threshold: float
    hard_negatives_hit: Share
    plain_distractors_hit: Share
    copies_found: Share = Field(description="Queries with a true reference that have a true pair there")


class PassingByRule(_Record):
    """What passes in the list without the rule and in the list with it; null where no threshold is reached."""

    without_rule: Passing | None
    with_rule: Passing | None


class DroppedPairs(_Record):
    """Listed pairs with the query's norm above the reference's."""

    pairs: int = Field(description="Pairs of this kind in the list")
    dropped: int
    rate: Rate | None = Field(description="null without such pairs")


class Dropped(_Record):
    """Which pairs of the list of part all, made without a rule, the rule ratio drops."""

    true_pairs: DroppedPairs
    hard_negative_pairs: DroppedPairs | None = Field(
        description="null where hard negatives are unknown or references missing"
    )
    other_pairs: DroppedPairs


class Direction(_Record):
    """What the norms tell of the direction of copying, and what an asymmetric rule makes of it.

    A true pair is kept where the query's norm is not above the reference's: ratio rules then leave it in, smooth rules
    do not push its score down.
    """

    rule: str = Field(description="The rule that was asked for; ratio if none was")
    parts: dict[str, DirectionPart]
    true_pairs: int = Field(description="True pairs of which both sides are described, found or not")
    true_pairs_kept: Share = Field(description="Of these, the query's norm is not above the reference's")
    true_pairs_kept_if_swapped: Share = Field(description="The same if the reference were the query")
    swap_gap: SwapGap | None = Field(description="null for rules that drop pairs, and without true pairs")
    direction_auc: Rate | None = Field(
        description="AUC of telling true pairs from swapped ones by (nr - nq) / (nr + nq); null without true pairs"
    )
    direction_auc_interval: Interval | None = Field(
        description="95 %, resampling queries; null without bootstrap or where a replicate has no true pair"
    )
    at_p90_isc: PassingByRule | None = Field(
        description="At one threshold, where the ISC part of the list without the rule reaches P90; null where that is "
        "never reached, hard negatives are unknown or references missing"
    )
    at_own_p90_isc: PassingByRule | None = Field(
        description="Each list at its own such threshold; null where hard negatives are unknown or references missing"
    )
    dropped: Dropped


class Digests(_Record):
    """SHA-256 (hex) of what went in."""

    submission: str
    ground_truth: str = Field(description="Sorted lines query_id,reference_id of the true pairs")
    split: str


class Provenance(_Record):
    """Where and how the score was computed. Not part of what is compared between results."""

    ndec_bench: str
    git_commit: str | None = Field(description="Commit of a source checkout, with -dirty if changed")
    python: str
    libraries: dict[str, str]
    seed: str | None = Field(default=None, description="Name of the frozen bootstrap stream")
    backend: str | None = Field(
        default=None, description="What computed the fast pass of the search; no part of the score"
    )
    threads: int | None = None
    platform: str
    cpu: str
    seconds: float
    peak_memory_bytes: int | None
    command: str | None = Field(default=None, description="The command that made this result")


class ListScores(_Record):
    """What every protocol says of the list of one part of a split."""

    queries: int
    positives: int
    predictions: int
    micro_ap: Rate
    recall_at_p90: Rate | None
    threshold_at_p90: float | None
    recall_at_1: Rate
    recall_at_10: Rate


class ProtocolEntry(ListScores):
    """One published protocol applied to the submission; the numbers at the top are those of part all."""

    protocol: str
    candidates: str = Field(description="Which pairs count, as in signatures")
    metric: Literal["l2", "ip", "score"]
    score_norm: str = Field(description="Harness-side normalisation: none or its name")
    signature: str
    within_rules: bool = Field(description="false where the dimension is above what the protocol admits")
    parts: dict[str, ListScores]


class Result(_Record):
    """One scored submission."""

    schema_version: Literal[1] = 1
    name: str = Field(description="Name of the submission")
    split: str
    protocol: str
    track: Literal["descriptor", "matching"]
    metric: Literal["l2", "ip", "score"]
    signature: str
    predictions_sha256: str = Field(description="SHA-256 of the list of part all in its final order")
    partial: bool = Field(description="References are missing; never ranked")
    truncated: bool = Field(default=False, description="A pair list was longer than the cap and was cut")
    query_independent: bool = Field(
        default=True, description="false where a query's vector depends on other queries; never ranked"
    )
    missing_references: int = 0
    missing_reference_runs: list[str] = Field(
        default_factory=list, description="Which they are, neighbours as 'first to last'; of many runs the first 100"
    )
    recall_ceiling: Rate = 1.0
    dimensions: int | None = None
    bytes_per_reference: int | None = None
    stored_dtype: str | None = None
    references: int
    parts: dict[str, PartScore]
    hard_negatives: HardNegativeAccount | None = None
    protocols: dict[str, ProtocolEntry] | None = Field(
        default=None, description="The protocol table, if it was asked for"
    )
    asymmetric: str = Field(default="none", description="Asymmetric rule behind the scores, as in signatures")
    direction: Direction | None = Field(
        default=None, description="Both lists, without and with a rule; left out where the submission has no norms"
    )
    own_threshold: float | None = Field(default=None, description="Threshold that the authors declared")
    describing: Describing | None = None
    notes: list[str] = Field(default_factory=list)
    mapped_ids: dict[str, int] | None = Field(
        default=None,
        description="Ids in another form than in the split, such as file names, by side; left out where there are none",
    )
    digests: Digests
    provenance: Provenance

    def to_frame(self) -> pd.DataFrame:
        """Return the scores as a table, one row per part; see `ndec_bench.results.frames.parts`."""
        from ndec_bench.results.frames import parts

        return parts(self)

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Results without these fields keep the bytes they had before there were any.
        content: dict[str, Any] = handler(self)
        for name in ("direction", "mapped_ids"):
            if getattr(self, name) is None:
                content.pop(name, None)
        return content


class Signature(_Record):
    """The choices behind a score as one line, for example
    ``uAP|split:ndec|protocol:ndec-1|cand:global492520|metric:l2|sn:none|asym:none|ties:worst|gt:1a2b3c4d|v:0.1.0``.
    """  # noqa: D205 -- the grammar needs one unbroken line

    split: str
    protocol: str
    candidates: str
    metric: str
    score_norm: str = "none"
    asymmetric: str = "none"
    ties: str = "worst"
    ground_truth: str
    version: str

    def __str__(self) -> str:
        fields = [f"{short}:{getattr(self, name)}" for short, name in _SIGNATURE_FIELDS.items()]
        return "|".join(["uAP", *fields])

    @classmethod
    def parse(cls, text: str) -> Signature:
        """Return the signature that prints as ``text``.

        Raises
        ------
        ValueError
            If ``text`` does not follow the grammar: ``uAP`` and then ``key:value`` in the fixed order, parted by ``|``.
        """
        head, *fields = text.split("|")
        keys = [field.partition(":")[0] for field in fields]
        if head != "uAP" or keys != list(_SIGNATURE_FIELDS):
            raise ValueError(f"no signature: {text!r}; expected uAP|{'|'.join(f'{k}:...' for k in _SIGNATURE_FIELDS)}")
        values = [field.partition(":")[2] for field in fields]
        return cls(**dict(zip(_SIGNATURE_FIELDS.values(), values, strict=True)))


_SIGNATURE_FIELDS = {
    "split": "split",
    "protocol": "protocol",
    "cand": "candidates",
    "metric": "metric",
    "sn": "score_norm",
    "asym": "asymmetric",
    "ties": "ties",
    "gt": "ground_truth",
    "v": "version",
}


def result_json(result: Result) -> str:
    """Return ``result`` as JSON text: keys in schema order, two spaces, arrays on one line, LF at the end."""
    return _dump(result.model_dump(mode="json"), 0) + "\n"


def write_result(path: Path, result: Result) -> None:
    """Write ``result`` as JSON, whole or not at all. Raises DataError if the file cannot be written."""
    atomic.write_text(path, result_json(result))


def read_result(path: Path) -> Result:
    """Return the result in the JSON file ``path``.

    Raises
    ------
    DataError
        If the file cannot be read, is not JSON or breaks the schema; the message names the first broken fields.
    """
    with os_errors(f"{path}: cannot be read", hint="check the path"):
        refuse_others(path, "a result in JSON", error=DataError)
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        return Result.model_validate_json(content, strict=True)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()[:5])
        raise DataError(f"{path}: not a result of this version ({one_line(problems)})", hint="score again") from error


def result_schema() -> dict[str, Any]:
    """Return the JSON Schema of a result."""
    return Result.model_json_schema()


def _dump(value: object, depth: int) -> str:
    # json.dumps(indent=2) would give each of 2,000 replicates its own line; reviewers read these files in diffs.
    pad = "  " * (depth + 1)
    if isinstance(value, dict) and value:
        rows = [f"{pad}{json.dumps(key)}: {_dump(item, depth + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + "\n" + "  " * depth + "}"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
