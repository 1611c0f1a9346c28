"""Checks of a pull request with submissions: problems with file and line, changed rows, and a summary."""

from ndec_bench.submissions.check.changes import Edit, edits
from ndec_bench.submissions.check.check import Report, check
from ndec_bench.submissions.check.repository import Problem
from ndec_bench.submissions.check.standing import Change, Neighbour, Place
from ndec_bench.submissions.check.summary import change_content, markdown, number, verdict

__all__ = [
    "Change",
    "Edit",
    "Neighbour",
    "Place",
    "Problem",
    "Report",
    "change_content",
    "check",
    "edits",
    "markdown",
    "number",
    "verdict",
]
