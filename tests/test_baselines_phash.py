"""``phash`` against the bits of imagehash itself."""

from __future__ import annotations

import imagehash
import numpy as np
from PIL import Image, ImageFilter

import ndec_baselines


def _picture(seed: int, size: tuple[int, int]) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(5))


PICTURES = [_picture(0, (200, 150)), _picture(1, (64, 64)), _picture(2, (31, 300)), _picture(3, (65, 64))]


def _vectors() -> np.ndarray:
    baseline = ndec_baselines.load("phash")
    return baseline.describe(np.stack([np.asarray(baseline.preprocess(image)) for image in PICTURES])).vectors


def test_the_bits_are_those_of_imagehash() -> None:
    for image, vector in zip(PICTURES, _vectors(), strict=True):
        assert np.array_equal(vector > 0, imagehash.phash(image, hash_size=16).hash.ravel())
        assert set(np.unique(vector)) == {-1.0, 1.0}


def test_the_squared_distance_is_four_times_the_hamming_distance() -> None:
    vectors = _vectors()
    hashes = [imagehash.phash(image, hash_size=16) for image in PICTURES]
    for a in range(len(PICTURES)):
        for b in range(len(PICTURES)):
            assert ((vectors[a] - vectors[b]) ** 2).sum() == 4 * (hashes[a] - hashes[b])
