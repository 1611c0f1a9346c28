"""The leaderboard: a static site made from results and submission cards alone.

No network, no clock, no JavaScript; the same results give the same bytes.
"""

from ndec_bench.site.builder import SiteReport, build

__all__ = ["SiteReport", "build"]
