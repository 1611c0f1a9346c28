"""Torch models as baselines, run so that an image's descriptor depends on the image alone.

Matrix kernels choose their order of additions by the shape of their input and by the number of threads. So the model
always sees batches of one constant size, padded with zeros, computed by one thread; parallel work is a matter of
several batches at once, one thread each (`ndec_baselines.describing.extract`). On CUDA the batches are larger,
deterministic kernels are asked for and TF32 is off; descriptors then equal the CPU's up to rounding, not to the bit.

Images of several sizes come as a list. Those of one size share a micro-batch, padded like any other, so the kernels see
the same shapes whoever the neighbours are. A model with several inputs per image takes them in one row of numbers
(`in_one_row`, `out_of_row`).
"""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager, nullcontext
from copy import copy
from typing import TYPE_CHECKING

import numpy as np
import torch

from ndec_baselines.base import Described
from ndec_bench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray
    from PIL import Image

    from ndec_baselines.base import Batch, LocalWeights, ModelCard

    Rows = NDArray[np.float32]

DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("float32", "float16", "bfloat16")
CUDA_MICRO_BATCH = 32
_CUDA_LOCK = threading.Lock()


class TorchBaseline:
    """A baseline whose model is a torch module; see `ndec_baselines.base.Baseline`.

    Parameters
    ----------
    model
        Maps (n, ...) float32 to (n, d) float32, or to a pair of those and (n,) float32 feature norms; moved to
        ``device`` and set to evaluation.
    preprocess
        Maps an RGB image to the tensor of one input.
    device
        auto, cpu or cuda.
    micro_batch
        Constant number of images the model sees at once on the CPU, where a few fit the cache best.
    cuda_micro_batch
        The same on CUDA.
    weights
        The weights files that ``model`` was read from; None without.
    precision
        ``float32``, or ``float16`` or ``bfloat16`` for automatic mixed precision, which changes the descriptors.
    """

    def __init__(
        self,
        card: ModelCard,
        model: torch.nn.Module,
        preprocess: Callable[[Image.Image], torch.Tensor],
        *,
        device: str,
        micro_batch: int,
        cuda_micro_batch: int = CUDA_MICRO_BATCH,
        weights: LocalWeights | None = None,
        precision: str = "float32",
    ) -> None:
        self.card = card
        self.device = choose_device(device)
        self.weights_sha256 = None if weights is None else weights.sha256
        self.micro_batch = micro_batch if self.device == "cpu" else cuda_micro_batch
        self.precision = precision
        self._preprocess = preprocess
        self._model = model.to(self.device).eval()

    def with_precision(self, precision: str) -> TorchBaseline:
        """Return this baseline computing in ``precision``, one of `PRECISIONS`. Raises UsageError."""
        if precision not in PRECISIONS:
            raise UsageError(f"precision {precision!r} is unknown", hint=f"expected one of {', '.join(PRECISIONS)}")
        other = copy(self)
        other.precision = precision
        return other

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """Return the float32 tensor of one RGB image, without batch axis, on the CPU."""
        return self._preprocess(image)

    def describe(self, batch: Batch) -> Described:
        """Return the descriptors of preprocessed images: one tensor or array (n, ...) float32, or a list of n."""
        if not len(batch):
            return Described(np.empty((0, self.card.dimension), dtype=np.float32))
        images = [torch.as_tensor(image, dtype=torch.float32) for image in batch]
        by_shape: dict[torch.Size, list[int]] = {}
        for row, image in enumerate(images):
            by_shape.setdefault(image.shape, []).append(row)
        order, found = [], []
        for rows in by_shape.values():
            for start in range(0, len(rows), self.micro_batch):
                some = rows[start : start + self.micro_batch]
                order += some
                found.append(self._describe(torch.stack([images[row] for row in some])))
        back = np.argsort(order)
        norms = [norm for _, norm in found if norm is not None]
        return Described(
            np.ascontiguousarray(np.concatenate([vectors for vectors, _ in found])[back]),
            np.concatenate(norms)[back] if norms else None,
        )

    def _describe(self, images: torch.Tensor) -> tuple[Rows, Rows | None]:
        padded = torch.zeros((self.micro_batch, *images.shape[1:]), dtype=torch.float32)
        padded[: len(images)] = images
        with torch.inference_mode(), self._settings(), self._autocast():
            result = self._model(padded.to(self.device))
        vectors, norms = result if isinstance(result, tuple) else (result, None)
        return _on_cpu(vectors, len(images)), None if norms is None else _on_cpu(norms, len(images))

    def _autocast(self) -> AbstractContextManager[None]:
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device, dtype=getattr(torch, self.precision))

    def _settings(self) -> AbstractContextManager[None]:
        # The CPU kernels of inference are deterministic by themselves, and asking for it costs a second of imports.
        return one_thread() if self.device == "cpu" else _repeatable_on_cuda()


def in_one_row(inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the values of several tensors in one row, (total,), for models with several inputs per image."""
    return torch.cat([values.reshape(-1) for values in inputs])


def out_of_row(batch: torch.Tensor, shapes: Sequence[tuple[int, ...]]) -> list[torch.Tensor]:
    """Return the inputs that `in_one_row` joined: for a batch (n, total) one tensor (n, *shape) per shape."""
    sizes = [math.prod(shape) for shape in shapes]
    parts = torch.split(batch, sizes, dim=1)
    return [part.reshape(len(batch), *shape) for part, shape in zip(parts, shapes, strict=True)]


def _on_cpu(values: torch.Tensor, count: int) -> Rows:
    rows: Rows = values.float().cpu().numpy()[:count]
    return rows


def choose_device(device: str) -> str:
    """Return ``cpu`` or ``cuda`` for ``device`` (``auto``: cuda where there is one). Raises UsageError."""
    if device not in DEVICES:
        raise UsageError(f"device {device!r} is unknown", hint=f"expected one of {', '.join(DEVICES)}")
    if device == "cpu":
        return "cpu"
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise UsageError("device cuda: torch finds none on this machine", hint="use --device cpu")
    return "cuda" if found else "cpu"


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread in this block."""
    # The setting belongs to the calling thread (an OpenMP variable), so several threads may do this side by side.
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _repeatable_on_cuda() -> Iterator[None]:
    """Ask for deterministic kernels without TF32, one thread at a time: the settings are those of the process."""
    with _CUDA_LOCK:
        before = torch.are_deterministic_algorithms_enabled(), *_tf32()
        _apply(True, False, False)
        try:
            yield
        finally:
            _apply(*before)


def _tf32() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def _apply(deterministic: bool, matmul_tf32: bool, convolution_tf32: bool) -> None:
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cuda.matmul.allow_tf32 = matmul_tf32
    torch.backends.cudnn.allow_tf32 = convolution_tf32
