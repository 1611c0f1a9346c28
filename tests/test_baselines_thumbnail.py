"""``thumbnail`` against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import ndec_baselines


def _describe(image: Image.Image) -> np.ndarray:
    baseline = ndec_baselines.load("thumbnail")
    vectors: np.ndarray = baseline.describe(np.stack([np.asarray(baseline.preprocess(image))])).vectors
    return vectors[0]  # type: ignore[no-any-return]


def _halves(left: int, right: int, size: int = 32) -> Image.Image:
    image = Image.new("RGB", (size, size), (left,) * 3)
    image.paste((right,) * 3, (size // 2, 0, size, size))
    return image


def test_two_halves() -> None:
    """Left 0, right 100: mean 50, centred -50 and 50, plus one -49 and 51; squared norm 128 (49^2 + 51^2) = 640256."""
    row = [-49.0] * 8 + [51.0] * 8
    expected = np.array(row * 16) / np.sqrt(640_256.0)
    assert np.array_equal(_describe(_halves(0, 100)), expected.astype(np.float32))


def test_areas_are_averaged() -> None:
    """In a 32 x 32 image every cell is the mean of 2 x 2 pixels: 10, 20, 30 and 40 give 25 everywhere: flat."""
    tile = np.array([[10, 20], [30, 40]], dtype=np.uint8)
    image = Image.fromarray(np.tile(tile, (16, 16))).convert("RGB")
    assert np.array_equal(_describe(image), np.full(256, 1 / 16, dtype=np.float32))


@pytest.mark.parametrize("cell", [1, 2, 4, 8, 16, 32, 64])
def test_the_quick_way_rounds_as_resize_does(cell: int) -> None:
    """Every sum that a cell of a row can have, 0 to 255 x its width, stands there once, spread over its pixels."""
    sums = np.arange(255 * cell + 1)
    sums = np.concatenate([sums, np.zeros(-len(sums) % 16, dtype=int)])
    low, more = np.divmod(sums, cell)
    pixels = low[:, None] + (np.arange(cell) < more[:, None])
    grey = Image.fromarray(pixels.reshape(-1, 16 * cell).astype(np.uint8))
    baseline = ndec_baselines.load("thumbnail")
    for top in range(0, grey.height, 16):  # in strips, so that every rounded average shows
        strip = grey.crop((0, top, grey.width, top + 16))
        expected = strip.resize((16, 16), Image.Resampling.BOX)
        assert np.array_equal(baseline.preprocess(strip.convert("RGB")), expected)


@pytest.mark.parametrize(
    "size", [(1024, 683), (512, 1008), (512, 1009), (1024, 4000), (1000, 700), (1008, 64), (48, 48), (9, 33), (1, 1)]
)
def test_every_size_is_averaged_as_pillow_does(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    expected = np.asarray(image.convert("L").resize((16, 16), Image.Resampling.BOX))
    assert np.array_equal(ndec_baselines.load("thumbnail").preprocess(image), expected)


def test_colour_weights_are_those_of_itu_r_601() -> None:
    """Pillow's L of pure red is 76 (0.299 * 255 = 76.2), of pure blue 29 (0.114 * 255 = 29.07): mean 52.5."""
    image = Image.new("RGB", (16, 16), (255, 0, 0))
    image.paste((0, 0, 255), (8, 0, 16, 16))
    ratio = _describe(image)[0] / _describe(image)[15]
    assert ratio == pytest.approx((76 - 52.5 + 1) / (29 - 52.5 + 1), rel=1e-6)


def test_brightness_does_not_matter_and_contrast_hardly() -> None:
    assert np.array_equal(_describe(_halves(0, 100)), _describe(_halves(80, 180)))
    assert float(_describe(_halves(0, 100)) @ _describe(_halves(50, 150))) > 0.999
    assert float(_describe(_halves(0, 100)) @ _describe(_halves(0, 200))) > 0.999


def test_a_flat_image_is_far_from_every_other() -> None:
    flat = _describe(Image.new("RGB", (40, 30), "grey"))
    assert flat @ flat == pytest.approx(1.0, abs=1e-6)
    assert abs(float(flat @ _describe(_halves(0, 100)))) < 0.03
