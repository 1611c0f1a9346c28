"""What describing took, carried from the record beside one file to that beside the file made from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndec_bench.errors import DataError
from ndec_bench.results.record import Describing

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ndec_baselines.describing.extract import DescribeReport

_FLOAT32_BYTES = 4


def describing_of(report: DescribeReport) -> Describing:
    """Return what a submission says of a descriptor file that ``report`` is about."""
    return Describing(
        baseline=f"{report.baseline} {report.version}",
        device=report.device,
        images=report.images,
        seconds=report.seconds,
    )


def report_of(path: Path) -> DescribeReport | None:
    """Return the record of describing the file ``path``; None where no record of this very file lies beside it."""
    from ndec_baselines.describing.extract import read_report

    try:
        return read_report(path)
    except DataError:  # a file of that name may be somebody's own
        return None


def records_of(paths: Sequence[Path]) -> list[DescribeReport | Describing] | None:
    """Return what describing each of ``paths`` took, files of one form; None where a part of it is not known."""
    from ndec_bench.descriptors import form_of
    from ndec_bench.results.record import read_describing

    known = [read_describing(path) if form_of(path) == "submission" else report_of(path) for path in paths]
    return None if None in known else [one for one in known if one is not None]


def carry(records: Sequence[DescribeReport | Describing] | None, out: Path, dimension: int) -> None:
    """Put ``records``, of the files that ``out`` was made from, beside it; ``dimension`` is that of ``out``.

    Times of several files of the same images add up. Where they are not known, an earlier record of a submission of
    that name is removed.
    """
    from ndec_baselines.describing.extract import DescribeReport, sidecar
    from ndec_bench import atomic
    from ndec_bench.descriptors import form_of, sha256_of_file
    from ndec_bench.results.record import read_describing, write_describing

    if records is None:
        if form_of(out) == "submission" and read_describing(out) is not None:
            sidecar(out).unlink(missing_ok=True)
        return
    first, seconds = records[0], sum(record.seconds or 0.0 for record in records)
    spent = {"seconds": round(seconds, 6)}
    if first.images and seconds:
        spent["milliseconds_per_image"] = round(1000 * seconds / first.images, 6)
        spent["images_per_second"] = round(first.images / seconds, 3)
    if not isinstance(first, DescribeReport):
        write_describing(out, first.model_copy(update=spent if len(records) > 1 else {}))
        return
    size = {"dimension": dimension, "bytes_per_descriptor": _FLOAT32_BYTES * dimension}
    report = first.model_copy(update={"file": out.name, "sha256": sha256_of_file(out), **size, **spent})
    atomic.write_text(sidecar(out), report.model_dump_json(indent=2) + "\n")
