"""The embedded benchmark ``ndec-mini``, and the same builder on anyone's photographs."""

from __future__ import annotations

from ndec_bench.mini.building import BuildReport, build

__all__ = ["BuildReport", "build"]
