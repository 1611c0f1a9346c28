"""ndec-bench: the benchmark harness and leaderboard for practical image copy detection.

Importing this package is cheap. Public names are loaded on first use::

    import ndec_bench as nb

    result = nb.score("mine.h5", split="ndec")
    print(result.parts["all"].micro_ap, result.signature)
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

# As in typing, whose import would double the time before the command line can answer Ctrl-C.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from ndec_baselines.running import describe, run
    from ndec_bench.data.split import Split
    from ndec_bench.deciding.doors import alarm_curve, operating_point
    from ndec_bench.descriptors import Descriptors
    from ndec_bench.matches import Matches
    from ndec_bench.protocol import Protocol
    from ndec_bench.results.record import Result
    from ndec_bench.scoring.evaluator import Evaluator
    from ndec_bench.scoring.matching import match
    from ndec_bench.scoring.score import score, score_descriptors, score_matches
    from ndec_bench.submissions.leaderboard import leaderboard

_PUBLIC = {
    "Descriptors": "ndec_bench.descriptors",
    "Evaluator": "ndec_bench.scoring.evaluator",
    "Matches": "ndec_bench.matches",
    "Protocol": "ndec_bench.protocol",
    "Result": "ndec_bench.results.record",
    "Split": "ndec_bench.data.split",
    "alarm_curve": "ndec_bench.deciding.doors",
    "describe": "ndec_baselines.running",
    "leaderboard": "ndec_bench.submissions.leaderboard",
    "match": "ndec_bench.scoring.matching",
    "operating_point": "ndec_bench.deciding.doors",
    "run": "ndec_baselines.running",
    "score": "ndec_bench.scoring.score",
    "score_descriptors": "ndec_bench.scoring.score",
    "score_matches": "ndec_bench.scoring.score",
}

__all__ = [
    "Descriptors",
    "Evaluator",
    "Matches",
    "Protocol",
    "Result",
    "Split",
    "__version__",
    "alarm_curve",
    "describe",
    "leaderboard",
    "match",
    "operating_point",
    "run",
    "score",
    "score_descriptors",
    "score_matches",
]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
