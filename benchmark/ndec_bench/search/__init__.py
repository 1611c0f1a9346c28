"""Exact search: descriptors in, the best pairs out, the same on every machine."""

from ndec_bench.search.exact import Found, Wanted, search
from ndec_bench.search.products import BACKENDS, resolved
from ndec_bench.search.rules import NO_RULE, RATIO, PairRule, Rule, parse_rule

__all__ = [
    "BACKENDS",
    "NO_RULE",
    "RATIO",
    "Found",
    "PairRule",
    "Rule",
    "Wanted",
    "parse_rule",
    "resolved",
    "search",
]
