"""What describing took: the JSON beside a descriptor file, never part of compared bytes."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from ndec_bench.descriptors import sha256_of_file
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_baselines.base import Baseline


class DescribeReport(BaseModel):
    """What describing took: the JSON beside a descriptor file (``FILE.h5.json``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = 1
    file: str = Field(description="Name of the descriptor file")
    sha256: str = Field(description="SHA-256 (hex) of the descriptor file")
    baseline: str
    version: str
    weights_sha256: str | None
    device: str
    precision: str = "float32"
    images: int = Field(description="Images described: rows of the file")
    invalid_images: int = Field(default=0, description="Broken images left out, listed in invalid_ids")
    dimension: int
    bytes_per_descriptor: int
    seconds: float = Field(description="From the first image opened to the last descriptor, over all runs")
    milliseconds_per_image: float
    images_per_second: float
    runs: int = Field(default=1, description="Runs it took: more than one where some were interrupted")
    workers: int = Field(description="Of the last run")
    batch_size: int = Field(description="Of the last run")
    libraries: dict[str, str]
    platform: str


def sidecar(out: Path) -> Path:
    """Return where the report of the descriptor file ``out`` lies: the same name followed by ``.json``."""
    return out.with_name(out.name + ".json")


def read_report(out: Path) -> DescribeReport | None:
    """Return the report beside the descriptor file ``out``; None if there is none of this very file.

    Raises
    ------
    DataError
        If it cannot be read or is no such report.
    """
    path = sidecar(out)
    try:
        report = DescribeReport.model_validate_json(path.read_bytes())
        return report if report.sha256 == sha256_of_file(out) else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: no report of describing ({reason})", hint="remove it or describe again") from error


def libraries(baseline: Baseline) -> dict[str, str]:
    """Return the versions of Python and of the packages that a descriptor of ``baseline`` goes through, by name."""
    names = ("h5py", "ndec-bench", "numpy", "pillow", *baseline.card.requires)
    return dict(sorted({"python": platform.python_version(), **{name: _version(name) for name in names}}.items()))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        # Cards name what is imported, such as cv2; what is installed may have another name. Looking it up is slow.
        installed = packages_distributions().get(name)
        return version(installed[0]) if installed else "unknown"
