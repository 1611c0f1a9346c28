"""``scattering``: properties of the filters, and what the descriptor does and does not notice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter

import ndec_baselines
from ndec_baselines.methods import scattering as net


def _picture(seed: int, size: int = 192) -> Image.Image:
    """Return a random picture with structure at several scales."""
    generator = np.random.default_rng(seed)
    total = np.zeros((size, size, 3))
    for cells in (4, 8, 16, 48):
        noise = generator.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        total += np.asarray(Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC), dtype=float)
    return Image.fromarray((total / 4).astype(np.uint8))


def _describe(*pictures: Image.Image) -> np.ndarray:
    baseline = ndec_baselines.load("scattering")
    return baseline.describe(np.stack([np.asarray(baseline.preprocess(picture)) for picture in pictures])).vectors


def test_wavelets_have_no_mean() -> None:
    """So a constant added to an image changes no coefficient."""
    assert np.abs(net.morlet_wavelets().sum(axis=(1, 2))).max() < 1e-14


def test_wavelets_turn_with_their_angle() -> None:
    waves = net.morlet_wavelets()
    assert np.allclose(waves[2], waves[0].T, atol=1e-14)
    assert np.allclose(waves[1], waves[3][:, ::-1], atol=1e-14)


def test_the_low_pass_keeps_the_mean_and_nothing_at_the_highest_frequency() -> None:
    low = net.low_pass()
    signs = (-1.0) ** np.arange(6)
    assert low.sum() == 1.0
    assert (low @ signs).tolist() == [0.0] * 6


def test_the_filter_bank_enlarges_nothing() -> None:
    """The Littlewood-Paley sum reaches 1, at frequency zero and where the wavelets fill it, and never exceeds it."""
    total = net.littlewood_paley(net.morlet_wavelets(), net.low_pass())
    assert total[0, 0] == pytest.approx(1.0, abs=1e-12)
    assert total.max() <= 1.0 + 1e-12
    assert (total > 1.0 - 1e-9).sum() > 1


def test_layers_of_a_sinusoid_respond_at_its_orientation() -> None:
    """Horizontal oscillation excites orientation 0, vertical oscillation orientation 2, at the finest scale."""
    columns = torch.arange(64, dtype=torch.float32)
    wave = (0.5 + 0.5 * torch.cos(net.FREQUENCY * columns)).expand(64, 64)
    with torch.inference_mode():
        _, first, _ = net.ScatteringNet().scatter(torch.stack([wave, wave.T])[:, None])
    finest = first[:, 0].mean(dim=(2, 3))
    assert finest.argmax(dim=1).tolist() == [0, 2]
    assert torch.allclose(finest[0, [0, 1, 2, 3]], finest[1, [2, 3, 0, 1]], atol=1e-5)


def test_shapes_of_the_layers() -> None:
    with torch.inference_mode():
        zeroth, first, second = net.ScatteringNet().scatter(torch.rand(2, 1, 64, 64))
    assert zeroth.shape == (2, 1, 1, 6, 6)
    assert first.shape == (2, 3, 4, 6, 6)
    assert second.shape == (2, 3, 16, 2, 2)


def test_nothing_is_learned() -> None:
    assert list(net.ScatteringNet().parameters()) == []


def test_descriptors_are_unit_vectors() -> None:
    vectors = _describe(*(_picture(seed) for seed in range(3)))
    assert np.allclose((vectors**2).sum(axis=1), 1.0, atol=1e-5)


def test_a_mirror_image_has_the_same_descriptor() -> None:
    picture = _picture(0)
    vectors = _describe(picture, picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert np.abs(vectors[0] - vectors[1]).max() < 1e-4


def test_small_changes_move_it_less_than_another_picture() -> None:
    scene = _picture(0)
    picture = scene.crop((0, 0, 180, 180))
    edited = [
        scene.crop((6, 4, 186, 184)),
        picture.crop((9, 9, 171, 171)),
        picture.filter(ImageFilter.GaussianBlur(1)),
        ImageEnhance.Contrast(picture).enhance(0.7),
    ]
    vectors = _describe(picture, *edited, *(_picture(seed) for seed in range(1, 6)))
    distances = ((vectors[1:] - vectors[0]) ** 2).sum(axis=1)
    assert distances[: len(edited)].max() < 0.5 * distances[len(edited) :].min()


def test_flat_images_are_described_alike() -> None:
    vectors = _describe(Image.new("RGB", (50, 50), "black"), Image.new("RGB", (70, 20), "white"))
    assert np.isfinite(vectors).all()
    assert np.abs(vectors[0] - vectors[1]).max() < 1e-3
