"""Speed of describing: models against the bare model, the classics against bare decoding, side by side in one run.

Usage: python tests/bench/describe_speed.py [--threads 2] [--rounds 5] [--only NAME ...] [--json]

Photographs from the package mvtb-data, JPEG files of DISC21's size, are described by `describe_images`: opened,
decoded, preprocessed, described, written. Beside it run, with as many threads,

- of a model, its network on tensors that are ready in memory, in the same micro-batches, one arithmetic thread each;
- of a method without a network, the decoding of the same files;
- of both, all work that an image needs (decoding, preprocessing, describing) in a plain loop: what describing adds to
  that, for order, checks and files, is the pipeline's own.

Networks get the published weights where they are on this machine, else seeded random ones, as in the tests: the speed
is the same. Ends with 1 where the pipeline takes more than its share, or a model that dominates misses its target. A
classic whose own arithmetic is longer than a quarter of the decoding cannot reach its target; the table says so.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import io
import json
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1] / "published"))

from PIL import Image
from timing import Took, cores, describe, rotated, share, show, tell, timed
from written import loaded

from ndec_baselines import registry
from ndec_baselines.describing.extract import describe_images
from ndec_bench.data.images import open_images
from ndec_bench.errors import NdecBenchError
from ndec_bench.mini.packaged import INSTALL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ndec_baselines.base import Baseline
    from ndec_bench.data.images import ImageSource

CLASSICS = {"thumbnail": 832, "phash": 832, "gist": 832, "pdq": 160}
"""Methods without a network, and how many images each describes in a run: whole batches, the same for each thread."""
MODELS = {"scattering": 832, "mobilenetv2": 160, "bot-256": 64, "sscd-disc-mixup-320": 64}
NETWORK_TARGET = 0.9
DECODING_TARGET = 0.8
WORK_TARGET = 0.9
DOMINATES = 0.93
"""Share of the network in all work on an image from which on it dominates, and its target holds."""
LONG_SIDE = 1024
QUALITY = 85
PHOTOS = (
    "building2-3.png",
    "church.png",
    "eiffel-1.png",
    "eiffel-2.png",
    "lab-scene.png",
    "mosaic/aerial-09.png",
    "mosaic/aerialphoto.png",
    "parks.png",
    "road.png",
    "rocks2-l.png",
    "rocks2-r.png",
    "roof.png",
    "walls-l.png",
    "walls-r.png",
)
"""Colour photographs of the package, at least as large as the files made of them; they take turns under other names."""


@dataclass(frozen=True)
class Row:
    """One method against work that it cannot do without.

    Attributes
    ----------
    described, bare
        Images per second of the median run.
    ratio, low, high
        Median, least and greatest over the rounds; each compares two runs that followed each other.
    cpu_ratio
        The same of processor time, median: other work on the machine disturbs it less.
    target
        None where the ratio is shown only.
    binding
        Whether the run fails below the target.
    """

    method: str
    beside: str
    images: int
    described: float
    bare: float
    ratio: float
    low: float
    high: float
    cpu_ratio: float
    target: float | None
    binding: bool

    @property
    def missed(self) -> bool:
        """Return whether the ratio is below its target."""
        return self.target is not None and self.ratio < self.target


@dataclass(frozen=True)
class Bare:
    """Work to compare with: ``run()`` does it for all images of the case, with all threads."""

    name: str
    run: Callable[[], object]
    target: float | None
    binding: bool


@dataclass(frozen=True)
class Case:
    """A method, how many images it describes, and what runs beside it."""

    method: str
    baseline: Baseline
    images: int
    beside: tuple[Bare, ...]


def main() -> int:
    """Print a table; return 1 if a binding target is missed."""
    arguments = _arguments()
    methods = arguments.only or [*CLASSICS, *MODELS]
    counts = {**CLASSICS, **MODELS}
    with tempfile.TemporaryDirectory(prefix="describe-speed-") as name:
        folder = Path(name)
        size = _make_images(folder / "images", max(counts[method] for method in methods))
        source = open_images(folder / "images")
        rows = []
        for method in methods:
            tell(f"{method}: {arguments.rounds} rounds")
            rows += _timed(_case(method, counts[method], source, arguments.threads), source, folder, arguments)
            gc.collect()
    if arguments.json:
        print(json.dumps({"machine": describe(), "rows": [asdict(row) for row in rows]}, indent=1))
    else:
        print(f"{describe()}\n")
        title = f"JPEG files of {size / 1000:.0f} kB, long side {LONG_SIDE}; {arguments.threads} threads"
        show(title, _lines(rows), left=(0, 1))
    return int(any(row.missed and row.binding for row in rows))


def _case(method: str, count: int, source: ImageSource, threads: int) -> Case:
    baseline = registry.load(method) if method in CLASSICS else _model(method)
    batches = [] if method in CLASSICS else _ready(baseline, source, count)
    ids = source.ids[: sum(map(len, batches)) or count]
    size = getattr(baseline, "micro_batch", 1)
    parts = [ids[start : start + size] for start in range(0, len(ids), size)]

    def work(part: Sequence[str]) -> None:
        baseline.describe([baseline.preprocess(source.read(image_id)) for image_id in part])

    everything = Bare("all its work", lambda: share(work, parts, threads), WORK_TARGET, binding=True)
    if method in CLASSICS:
        decoding = Bare("decoding", lambda: share(source.read, ids, threads), DECODING_TARGET, binding=False)
        return Case(method, baseline, len(ids), (decoding, everything))
    of_work = _share_of_network(baseline, batches[0], source, parts[0])
    network = Bare(
        f"network ({of_work:.0%} of its work)",
        lambda: _run_network(baseline, batches, threads),
        NETWORK_TARGET if of_work >= DOMINATES else None,
        binding=True,
    )
    return Case(method, baseline, len(ids), (network, everything))


def _share_of_network(baseline: Baseline, batch: Any, source: ImageSource, ids: Sequence[str]) -> float:  # noqa: ANN401
    """Return the share of the network in what one thread does for a micro-batch, best of three."""

    def prepare() -> None:
        for image_id in ids:
            baseline.preprocess(source.read(image_id))

    network = min(timed(lambda: _run_network(baseline, [batch], 1)).cpu for _ in range(3))
    before = min(timed(prepare).cpu for _ in range(3))
    return network / (network + before)


def _timed(case: Case, source: ImageSource, folder: Path, arguments: argparse.Namespace) -> list[Row]:
    def described() -> None:
        out = folder / f"{case.method}.h5"
        describe_images(case.baseline, source, out, limit=case.images, workers=arguments.threads)
        out.unlink()

    described()  # libraries are loaded, caches filled
    jobs: dict[str, Callable[[], object]] = {"": described, **{bare.name: bare.run for bare in case.beside}}
    took: dict[str, list[Took]] = {name: [] for name in jobs}
    for turn in range(arguments.rounds):
        for name in rotated(list(jobs), turn):
            took[name].append(timed(jobs[name]))
    return [_row(case, bare, took[""], took[bare.name]) for bare in case.beside]


def _row(case: Case, bare: Bare, ours: Sequence[Took], theirs: Sequence[Took]) -> Row:
    ratios = [other.seconds / own.seconds for own, other in zip(ours, theirs, strict=True)]
    return Row(
        method=case.method,
        beside=bare.name,
        images=case.images,
        described=case.images / statistics.median(own.seconds for own in ours),
        bare=case.images / statistics.median(other.seconds for other in theirs),
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        cpu_ratio=statistics.median(other.cpu / own.cpu for own, other in zip(ours, theirs, strict=True)),
        target=bare.target,
        binding=bare.binding,
    )


def _model(method: str) -> Baseline:
    """Return the baseline with its published weights if they are here, else with seeded random ones."""
    try:
        return registry.load(method)
    except NdecBenchError as error:
        tell(f"{method}: random weights ({error})")
    return loaded(method)


def _ready(baseline: Baseline, source: ImageSource, count: int) -> list[Any]:
    """Return micro-batches of preprocessed images, as many as fill ``count`` at least."""
    import torch

    size: int = baseline.micro_batch  # type: ignore[attr-defined]
    count = -(-count // size) * size
    images = [torch.as_tensor(baseline.preprocess(source.read(image_id))) for image_id in source.ids[:count]]
    return [torch.stack(images[start : start + size]) for start in range(0, count, size)]


def _run_network(baseline: Baseline, batches: Sequence[Any], threads: int) -> None:
    """Run the bare network over ``batches``, one arithmetic thread beside the other."""
    import torch

    network = baseline._model  # type: ignore[attr-defined]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            share(_in_thread(network), batches, threads)
    finally:
        torch.set_num_threads(before)


def _in_thread(network: Any) -> Callable[[Any], None]:  # noqa: ANN401 -- a torch module
    import torch

    def run(batch: Any) -> None:  # noqa: ANN401
        # The mode and the number of threads belong to the thread that sets them.
        torch.set_num_threads(1)
        with torch.inference_mode():
            network(batch)

    return run


def _make_images(folder: Path, count: int) -> float:
    """Write ``count`` JPEG files; return their mean size in bytes."""
    found = importlib.util.find_spec("mvtbdata")
    if found is None or found.origin is None:
        sys.exit(f"photographs are needed: {INSTALL}")
    package = Path(found.origin).parent / "images"
    contents = []
    for name in PHOTOS:
        with Image.open(package / name) as opened:
            image = opened.convert("RGB")
        image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=QUALITY)
        contents.append(buffer.getvalue())
    folder.mkdir()
    for number in range(count):
        (folder / f"R{number:06}.jpg").write_bytes(contents[number % len(contents)])
    return statistics.mean(map(len, contents))


def _lines(rows: Sequence[Row]) -> list[list[str]]:
    lines = [["", "beside", "described/s", "bare/s", "ratio", "least", "most", "cpu", "target", ""]]
    for row in rows:
        numbers = [f"{row.described:,.1f}", f"{row.bare:,.1f}", f"{row.ratio:.2f}", f"{row.low:.2f}", f"{row.high:.2f}"]
        target = "" if row.target is None else f"{row.target:.2f}"
        ends = [f"{row.cpu_ratio:.2f}", target, "missed" if row.missed else ""]
        lines.append([row.method, row.beside, *numbers, *ends])
    return lines


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=(*CLASSICS, *MODELS), help="these methods only")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
