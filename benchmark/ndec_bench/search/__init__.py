"""Exact search: descriptors in, the best pairs of all queries together out."""

from ndec_bench.search.exact import search

__all__ = ["search"]
