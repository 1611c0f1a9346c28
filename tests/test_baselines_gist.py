"""``gist`` against a slow composition of its own, hand-made images, and published facts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageFilter

import ndec_baselines
from ndec_baselines.methods import gist

BASELINE = ndec_baselines.load("gist")


def picture(seed: int, size: tuple[int, int]) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(3))


def slow_gist(image: np.ndarray) -> np.ndarray:
    """Return the descriptor by sums over pixels: filters as matrices in space, no FFT, one block at a time."""

    def dft(size: int) -> np.ndarray:
        return np.exp(-2j * np.pi * np.outer(np.arange(size), np.arange(size)) / size)

    def filtered(plane: np.ndarray, factor: np.ndarray) -> np.ndarray:
        rows, columns = (dft(size) for size in plane.shape)
        spectrum = rows @ plane @ columns.T
        return rows.conj() @ (spectrum * factor) @ columns.conj().T / plane.size

    def signed(index: int, size: int) -> int:
        return index - size if index >= size / 2 else index

    def factors(size: int, rule: object) -> np.ndarray:
        assert callable(rule)
        return np.array([[rule(signed(y, size), signed(x, size)) for x in range(size)] for y in range(size)])

    mirrored = [*range(4, -1, -1), *range(32), *range(31, 26, -1)]
    logs = [np.log(image[:, :, c].astype(np.float64) + 1)[np.ix_(mirrored, mirrored)] for c in range(3)]
    low = factors(42, lambda y, x: math.exp(-(y * y + x * x) / (4 / math.sqrt(math.log(2))) ** 2))
    contrast = [plane - filtered(plane, low).real for plane in logs]
    mean = (contrast[0] + contrast[1] + contrast[2]) / 3
    local = 0.2 + np.sqrt(np.abs(filtered(mean**2, low)))
    planes = [(plane / local)[5:37, 5:37] for plane in contrast]
    values = []
    for plane in planes:
        for scale, count in enumerate((8, 8, 4)):
            for orientation in range(count):

                def gabor(y: int, x: int, *, n: int = count, s: int = scale, k: int = orientation) -> float:
                    turned = math.atan2(y, x) + math.pi / n * k
                    turned -= 2 * math.pi if turned > math.pi else 0
                    ratio = math.hypot(y, x) / 32 / (0.3 / 1.85**s) - 1
                    return math.exp(-10 * 0.35 * ratio**2 - 2 * (16 * n**2 / 32**2) * math.pi * turned**2)

                energy = np.abs(filtered(plane, factors(32, gabor)))
                for x in range(0, 32, 8):
                    values += [energy[y : y + 8, x : x + 8].mean() for y in range(0, 32, 8)]
    return np.array(values)


def test_the_numbers_are_those_of_a_slow_composition() -> None:
    image = np.asarray(picture(0, (32, 32)))
    expected = slow_gist(image)
    assert np.abs(gist.gist(image.astype(np.float64)) - expected).max() < 1e-13
    (vector,) = BASELINE.describe(image[None]).vectors
    assert vector.dtype == np.float32
    assert np.abs(vector - expected / np.linalg.norm(expected)).max() < 1e-7


# Of lear_gist 1.2 itself, compiled with FFTW 3.3.10, on the image below: every 96th number, before normalisation.
LEAR = (0.1192807, 0.0545190, 0.0500520, 0.0324189, 0.0798750, 0.0285461, 0.0656228, 0.0442879, 0.0524571, 0.0439354)


def ramp() -> np.ndarray:
    y, x, c = np.mgrid[0:32, 0:32, 0:3]
    return ((7 * x + 3 * y * (c + 1) + (x * y * (c + 2)) % 29 + 40 * (x > 15)) % 256).astype(np.uint8)


def test_the_numbers_are_those_of_lear_gist() -> None:
    ours = gist.gist(ramp().astype(np.float64))[::96]
    assert np.abs(ours - LEAR).max() < 1e-6


def test_a_grating_answers_in_its_filter() -> None:
    # Five waves across: 5 / 32 lies nearest to the centre of the second scale (0.3 / 1.85 = 0.162).
    wave = np.sin(2 * np.pi * 5 * np.arange(32) / 32)
    upright = np.repeat(np.repeat(128 + 40 * wave[None, :, None], 32, axis=0), 3, axis=2)
    energy = gist.gist(upright).reshape(3, 20, 16).mean(axis=2)
    assert energy.argmax(axis=1).tolist() == [8, 8, 8]  # orientation 0 of the second scale
    lying = gist.gist(upright.transpose(1, 0, 2)).reshape(3, 20, 16).mean(axis=2)
    assert lying.argmax(axis=1).tolist() == [12, 12, 12]  # a quarter turn: 4 of 8 orientations on
    assert np.allclose(energy[0], energy[2], atol=1e-12)


def test_the_grid_is_read_column_by_column() -> None:
    image = np.full((32, 32, 3), 100.0)
    image[0:8, 24:32] = np.random.default_rng(0).integers(0, 256, (8, 8, 3))  # first row, last column
    assert gist.gist(image).reshape(3, 20, 16).sum(axis=1).argmax(axis=1).tolist() == [12, 12, 12]


@pytest.mark.parametrize(
    ("size", "resized", "box"),
    [
        ((200, 100), (64, 32), (16, 0, 48, 32)),
        ((35, 32), (35, 32), (2, 0, 34, 32)),  # half a pixel goes to even
        ((33, 32), (33, 32), (0, 0, 32, 32)),
        ((99, 100), (32, 32), (0, 0, 32, 32)),
        ((100, 100), (32, 32), (0, 0, 32, 32)),
        ((100, 200), (64, 32), (0, 0, 32, 32)),  # the slip of the published script
    ],
)
def test_the_square_is_that_of_the_published_script(
    size: tuple[int, int], resized: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    image = picture(1, size)
    expected = np.asarray(image.resize(resized, Image.Resampling.BILINEAR))[box[1] : box[3], box[0] : box[2]]
    assert np.array_equal(BASELINE.preprocess(image), expected)


def test_flat_images_are_alike_and_far_from_all_others() -> None:
    flat = [Image.new("RGB", (40, 50), colour) for colour in ("black", "white", (9, 80, 200))]
    others = [picture(seed, (60, 40)) for seed in range(4)]
    faint = np.full((32, 32, 3), 200, dtype=np.uint8)
    faint[5, 7, 1] = 201  # the least that is not flat
    inputs = [BASELINE.preprocess(image) for image in [*flat, *others]]
    vectors = BASELINE.describe([*inputs, faint]).vectors.astype(np.float64)
    distances = ((vectors[:, None] - vectors[None]) ** 2).sum(axis=2)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6
    assert distances[:3, :3].max() == 0
    assert distances[3:, 3:].max() <= 2 < distances[:3, 3:].min()
    assert np.linalg.norm(gist.gist(faint.astype(np.float64))) > 1e4 * gist._FLAT
    assert np.linalg.norm(gist.gist(np.full((32, 32, 3), 201.0))) < 1e-3 * gist._FLAT


def test_an_empty_batch_has_the_dimension() -> None:
    assert BASELINE.describe(np.empty((0, 32, 32, 3), dtype=np.uint8)).vectors.shape == (0, 960)


def test_the_card_holds_the_published_numbers() -> None:
    card = ndec_baselines.card("gist")
    assert card.dimension == 960
    found = {(e.split, e.metric, e.steps): e.value for e in card.expected}
    # facebookresearch/isc2021, docs/3_gist_full.md; 960-d: Douze et al. 2021, table 2
    assert found["disc21-dev1", "micro_ap", None] == 0.15209
    assert found["disc21-dev1", "recall_at_10", None] == 0.24925
    assert found["disc21-dev", "recall_at_p90", None] == 0.11370
    assert found["disc21-dev", "micro_ap", ()] == 0.1442
    assert {e.protocol for e in card.expected} == {"isc2021"}
