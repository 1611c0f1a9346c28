"""An image's descriptor depends on the image alone: not on its neighbours, its place, or the number of threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

import ndec_baselines
from ndec_baselines.methods.scattering import preprocess
from ndec_baselines.networks import inference
from ndec_baselines.networks.inference import TorchBaseline, choose_device
from ndec_bench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class _Spy(nn.Module):
    """Returns the first pixel of each image, and keeps what it was given and by how many threads."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[tuple[int, ...], int, bool]] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append((tuple(images.shape), torch.get_num_threads(), torch.is_grad_enabled()))
        return images.reshape(len(images), -1)[:, :1]


def test_the_model_sees_batches_of_one_size_on_one_thread(two_threads: None) -> None:
    spy = _Spy()
    baseline = TorchBaseline(ndec_baselines.card("scattering"), spy, preprocess, device="cpu", micro_batch=4)
    images = np.arange(7, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), dtype=np.float32)
    assert baseline.describe(images).vectors.ravel().tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert spy.seen == [((4, 2, 2), 1, False)] * 2
    assert torch.get_num_threads() == 2


def test_settings_are_restored_when_the_model_fails(two_threads: None) -> None:
    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("broken")

    baseline = TorchBaseline(ndec_baselines.card("scattering"), Broken(), preprocess, device="cpu", micro_batch=4)
    with pytest.raises(RuntimeError, match="broken"):
        baseline.describe(np.zeros((1, 2, 2)))
    assert torch.get_num_threads() == 2


def test_no_images_give_no_rows() -> None:
    assert ndec_baselines.load("scattering").describe(np.zeros((0, 1, 64, 64))).vectors.shape == (0, 660)


def test_bytes_do_not_depend_on_neighbours_place_or_number() -> None:
    baseline = ndec_baselines.load("scattering")
    images = torch.from_numpy(np.random.default_rng(0).random((19, 1, 96, 96), dtype=np.float32))
    whole = baseline.describe(images).vectors
    for size in (1, 3, 16):
        parts = [baseline.describe(part).vectors for part in torch.split(images, size)]
        assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(baseline.describe(images.flip(0)).vectors[::-1], whole)
    assert np.array_equal(baseline.describe(images[:5]).vectors, whole[:5])


def test_arrays_and_tensors_are_the_same_to_describe() -> None:
    baseline = ndec_baselines.load("scattering")
    images = torch.from_numpy(np.random.default_rng(1).random((2, 1, 96, 96), dtype=np.float32))
    assert np.array_equal(baseline.describe(images).vectors, baseline.describe(images.numpy()).vectors)


def test_cuda_settings_are_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[bool, bool, bool]] = []
    monkeypatch.setattr(inference, "_apply", lambda *values: calls.append(values))
    with inference._repeatable_on_cuda():
        assert calls == [(True, False, False)]
    assert calls[1:] == [(torch.are_deterministic_algorithms_enabled(), *inference._tf32())]


def test_choosing_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") == "cpu"
    with pytest.raises(UsageError, match="finds none on this machine"):
        choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == "cuda"
    assert choose_device("cuda") == "cuda"
    with pytest.raises(UsageError, match="expected one of auto, cpu, cuda"):
        choose_device("mps")
