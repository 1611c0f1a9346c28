"""Post-processing of descriptors: named steps, fitted on background images, recorded in the file that they make."""

from ndec_bench.postprocess.apply import OutputFile, Report, postprocess_file, postprocess_sides
from ndec_bench.postprocess.linear import L2, Centre, Concat, Mean, Pca
from ndec_bench.postprocess.neighbours import ScoreNorm, Shift, Stretch, Subtract
from ndec_bench.postprocess.quantised import Int8, Pq, Sign
from ndec_bench.postprocess.sequence import STEPS, looks_at_queries, needs_background, parse_step, parse_steps
from ndec_bench.postprocess.step import Change, Fusion, Side, Step, usage
from ndec_bench.postprocess.workspace import Workspace

__all__ = [
    "L2",
    "STEPS",
    "Centre",
    "Change",
    "Concat",
    "Fusion",
    "Int8",
    "Mean",
    "OutputFile",
    "Pca",
    "Pq",
    "Report",
    "ScoreNorm",
    "Shift",
    "Side",
    "Sign",
    "Step",
    "Stretch",
    "Subtract",
    "Workspace",
    "looks_at_queries",
    "needs_background",
    "parse_step",
    "parse_steps",
    "postprocess_file",
    "postprocess_sides",
    "usage",
]
