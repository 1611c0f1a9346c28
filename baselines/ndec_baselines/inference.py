"""Running a torch model so that an image's descriptor depends on the image alone.

Matrix kernels choose their order of additions by the shape of their input and by the number of threads. So the model
always sees batches of one constant size, padded with zeros, computed by one thread; parallel work is a matter of
several batches at once, one thread each (`ndec_baselines.extract`). On CUDA the batches are larger, deterministic
kernels are asked for and TF32 is off; descriptors then equal the CPU's up to rounding, not to the bit.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ndec_baselines.base import Described
from ndec_bench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from PIL import Image

    from ndec_baselines.base import Card, ModelInput

DEVICES = ("auto", "cpu", "cuda")
CUDA_MICRO_BATCH = 32


class TorchBaseline:
    """A baseline whose model is a torch module; see `ndec_baselines.base.Baseline`.

    Parameters
    ----------
    model
        Maps (n, ...) float32 to (n, d) float32; moved to ``device`` and set to evaluation.
    preprocess
        Maps an RGB image to the tensor of one input.
    micro_batch
        Constant number of images the model sees at once on the CPU, where a few fit the cache best; on CUDA it is
        `CUDA_MICRO_BATCH`.
    """

    def __init__(
        self,
        card: Card,
        model: torch.nn.Module,
        preprocess: Callable[[Image.Image], torch.Tensor],
        *,
        device: str,
        micro_batch: int,
        weights_sha256: str | None = None,
    ) -> None:
        self.card = card
        self.device = choose_device(device)
        self.weights_sha256 = weights_sha256
        self.micro_batch = micro_batch if self.device == "cpu" else CUDA_MICRO_BATCH
        self._preprocess = preprocess
        self._model = model.to(self.device).eval()

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """Return the float32 tensor of one RGB image, without batch axis, on the CPU."""
        return self._preprocess(image)

    def describe(self, batch: ModelInput) -> Described:
        """Return the descriptors of a batch of preprocessed images, tensor or array, (n, ...) float32."""
        images = torch.as_tensor(batch, dtype=torch.float32)
        rows = [self._describe(part) for part in torch.split(images, self.micro_batch)] if len(images) else []
        vectors = np.concatenate(rows) if rows else np.empty((0, self.card.dimension), dtype=np.float32)
        return Described(np.ascontiguousarray(vectors))

    def _describe(self, images: torch.Tensor) -> np.ndarray[Any, np.dtype[np.float32]]:
        padded = torch.zeros((self.micro_batch, *images.shape[1:]), dtype=torch.float32)
        padded[: len(images)] = images
        with torch.inference_mode(), self._settings():
            vectors: np.ndarray[Any, np.dtype[np.float32]] = self._model(padded.to(self.device)).float().cpu().numpy()
        return vectors[: len(images)]

    def _settings(self) -> AbstractContextManager[None]:
        # The CPU kernels of inference are deterministic by themselves, and asking for it costs a second of imports.
        return _one_thread() if self.device == "cpu" else _CUDA_SETTINGS.held()


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
def _one_thread() -> Iterator[None]:
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


class _SharedSettings:
    """Process-wide settings for CUDA, made by the first thread that needs them and undone by the last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before: tuple[bool, bool, bool] = (False, False, False)

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                self._before = (torch.are_deterministic_algorithms_enabled(), *_tf32())
                _apply(True, False, False)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    _apply(*self._before)


def _tf32() -> tuple[bool, bool]:
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def _apply(deterministic: bool, matmul_tf32: bool, convolution_tf32: bool) -> None:
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cuda.matmul.allow_tf32 = matmul_tf32
    torch.backends.cudnn.allow_tf32 = convolution_tf32


_CUDA_SETTINGS = _SharedSettings()
