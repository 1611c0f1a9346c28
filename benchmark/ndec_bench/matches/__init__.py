"""Matches: scored (query, reference) pairs in one list, and the files they are exchanged in."""

from ndec_bench.matches.reading import read_pairs
from ndec_bench.matches.record import COLUMNS, Matches
from ndec_bench.matches.writing import write_pairs

__all__ = ["COLUMNS", "Matches", "read_pairs", "write_pairs"]
