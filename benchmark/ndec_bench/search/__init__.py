"""Exact search: descriptors in, the best pairs out, the same on every machine."""

from ndec_bench.search.exact import Found, NormRule, Wanted, search
from ndec_bench.search.products import BACKENDS, resolved

__all__ = ["BACKENDS", "Found", "NormRule", "Wanted", "resolved", "search"]
