"""Post-processing of descriptors: named steps, fitted on background images, recorded in the file that they make."""

from ndec_bench.postprocess.apply import Report, Written, postprocess_file, postprocess_sides
from ndec_bench.postprocess.fusion import Concat, Mean
from ndec_bench.postprocess.linear import L2, Centre, Pca
from ndec_bench.postprocess.neighbours import ScoreNorm, Shift, Stretch, Subtract
from ndec_bench.postprocess.registry import STEPS, looks_at_queries, needs_background, parse_step, parse_steps
from ndec_bench.postprocess.step import Change, Fusion, Side, Step, usage
from ndec_bench.postprocess.workspace import Workspace

__all__ = [
    "L2",
    "STEPS",
    "Centre",
    "Change",
    "Concat",
    "Fusion",
    "Mean",
    "Pca",
    "Report",
    "ScoreNorm",
    "Shift",
    "Side",
    "Step",
    "Stretch",
    "Subtract",
    "Workspace",
    "Written",
    "looks_at_queries",
    "needs_background",
    "parse_step",
    "parse_steps",
    "postprocess_file",
    "postprocess_sides",
    "usage",
]
