"""Matches: scored (query, reference) pairs in one list, and the files they are exchanged in."""

from ndec_bench.matches.files import check_form, read_pairs, write_pairs
from ndec_bench.matches.pairs import COLUMNS, Matches

__all__ = ["COLUMNS", "Matches", "check_form", "read_pairs", "write_pairs"]
