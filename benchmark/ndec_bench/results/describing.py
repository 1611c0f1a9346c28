"""Timing records of descriptor files and submissions, next to them; never part of compared bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ndec_bench import atomic
from ndec_bench.descriptors import sha256_of_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

_FLOAT32_BYTES = 4


class Describing(BaseModel):
    """What making the descriptors took, as the method recorded it."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="null")

    baseline: str | None = None
    device: str | None = None
    images: int | None = None
    seconds: float | None = None
    milliseconds_per_image: float | None = None
    images_per_second: float | None = None

    @property
    def summary(self) -> Describing:
        """Return what a result says."""
        return self


class DescribeReport(Describing):
    """What describing took, and what made the descriptor file it lies next to (``FILE.h5.json``)."""

    baseline: str
    device: str
    images: int = Field(description="Images described: rows of the file")
    seconds: float = Field(description="From the first image opened to the last descriptor, over all runs")
    milliseconds_per_image: float
    images_per_second: float
    schema_version: int = 1
    file: str = Field(description="Name of the descriptor file")
    sha256: str = Field(description="SHA-256 (hex) of the descriptor file")
    version: str
    weights_sha256: str | None
    precision: str = "float32"
    invalid_images: int = Field(default=0, description="Broken images left out, listed in invalid_ids")
    dimension: int
    bytes_per_descriptor: int
    runs: int = Field(default=1, description="Runs it took: more than one where some were interrupted")
    workers: int = Field(description="Of the last run")
    batch_size: int = Field(description="Of the last run")
    libraries: dict[str, str]
    platform: str

    @property
    def summary(self) -> Describing:
        """Return what a result says."""
        baseline = f"{self.baseline} {self.version}"
        return Describing(baseline=baseline, device=self.device, images=self.images, seconds=self.seconds)


def sidecar(path: Path) -> Path:
    """Return where the record of the file ``path`` lies: the same name followed by ``.json``."""
    return path.with_name(path.name + ".json")


def write_describing(path: Path, record: Describing) -> None:
    """Write ``record`` next to the file ``path``, whose own bytes stay the same. Raises DataError if it cannot."""
    atomic.write_text(sidecar(path), record.model_dump_json(indent=2) + "\n")


def read_describing(submission: Path) -> Describing | None:
    """Return the record next to ``submission``; None where there is none.

    A file of that name may be somebody's own; anything but our record is passed over.
    """
    try:
        return Describing.model_validate_json(sidecar(submission).read_bytes())
    except (OSError, ValidationError):
        return None


def read_report(path: Path) -> DescribeReport | None:
    """Return the record next to the descriptor file ``path``; None where there is none, or it is of another file."""
    try:
        report = DescribeReport.model_validate_json(sidecar(path).read_bytes())
    except (OSError, ValidationError):
        return None
    return report if report.sha256 == sha256_of_file(path) else None


def speed(images: int, seconds: float, digits: tuple[int, int, int] = (3, 3, 1)) -> dict[str, float]:
    """Return seconds, milliseconds per image and images per second as records name them, rounded to ``digits``.

    Without images or seconds, the seconds alone.
    """
    rounded = {"seconds": round(seconds, digits[0])}
    if images and seconds:
        rounded["milliseconds_per_image"] = round(1000 * seconds / images, digits[1])
        rounded["images_per_second"] = round(images / seconds, digits[2])
    return rounded


def joined(parts: Sequence[Describing]) -> Describing:
    """Return what describing several sets of images took together; names what they were described with and on."""
    summaries = [part.summary for part in parts]
    images = sum(part.images or 0 for part in summaries)
    return Describing(
        baseline=_and(part.baseline for part in summaries),
        device=_and(part.device for part in summaries),
        images=images,
        **speed(images, sum(part.seconds or 0.0 for part in summaries)),
    )


def carry(records: Sequence[Describing | None], out: Path, dimension: int) -> None:
    """Write ``records``, of the files of the same images that ``out`` was made from, next to it.

    Times add up. Where one is not known, an earlier record of a submission of that name is removed. ``dimension`` is
    that of ``out``.
    """
    known = [record for record in records if record is not None]
    if len(known) < len(records):
        forget(out)
        return
    changes: dict[str, object] = {}
    if len(known) > 1:
        changes |= speed(known[0].images or 0, sum(record.seconds or 0.0 for record in known), (6, 6, 3))
    if isinstance(known[0], DescribeReport):
        changes |= {"file": out.name, "sha256": sha256_of_file(out), "dimension": dimension}
        changes["bytes_per_descriptor"] = _FLOAT32_BYTES * dimension
    write_describing(out, known[0].model_copy(update=changes))


def forget(submission: Path) -> None:
    """Remove the record next to ``submission``, of an earlier file of that name; a file that is not ours stays."""
    if read_describing(submission) is not None:
        sidecar(submission).unlink(missing_ok=True)


def _and(names: Iterable[str | None]) -> str | None:
    return " and ".join(dict.fromkeys(name for name in names if name is not None)) or None
