"""``pdq`` against the bits of pdqhash itself, ``pdq-8`` against all pairs one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from PIL import Image, ImageFilter

import ndec_baselines
from ndec_baselines.base import SplitImages, recipe
from ndec_baselines.describing.extract import describe_images
from ndec_baselines.methods import pdq
from ndec_baselines.registry import load_matcher
from ndec_bench.data.images import open_images
from ndec_bench.descriptors import read_attributes, read_descriptors
from ndec_bench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ndec_baselines.base import Baseline

pdqhash = pytest.importorskip("pdqhash", reason="pdqhash is compiled on installation, see docs/development.md")

TURNS = (
    None,
    Image.Transpose.ROTATE_90,
    Image.Transpose.ROTATE_180,
    Image.Transpose.ROTATE_270,
    Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.FLIP_LEFT_RIGHT,
    Image.Transpose.TRANSPOSE,
    Image.Transpose.TRANSVERSE,
)


def picture(seed: int, size: tuple[int, int]) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(5))


PICTURES = [picture(0, (200, 150)), picture(1, (64, 64)), picture(2, (31, 300)), picture(3, (640, 512))]
FLAT = [Image.new("RGB", size, "grey") for size in ((80, 90), (300, 300), (4, 90), (1, 1))]


def vectors_of(baseline: Baseline, images: Sequence[Image.Image]) -> np.ndarray:
    return baseline.describe([baseline.preprocess(image) for image in images]).vectors


def test_the_bits_are_those_of_pdqhash() -> None:
    for image, vector in zip(PICTURES, vectors_of(ndec_baselines.load("pdq"), PICTURES), strict=True):
        bits, _ = pdqhash.compute(np.asarray(image))
        assert vector.dtype == np.float32
        assert np.array_equal(vector > 0, bits > 0)
        assert np.abs(vector).min() == np.abs(vector).max() == 1


def test_a_flat_or_tiny_image_has_a_hash_like_any_other() -> None:
    for baseline in (ndec_baselines.load("pdq"), pdq.PdqOrientations()):
        vectors = vectors_of(baseline, FLAT)
        assert set(np.unique(vectors)) <= {-1.0, 1.0}
        assert vectors.shape == (len(FLAT), baseline.card.dimension)


def test_the_eight_hashes_are_those_of_pdqhash_in_its_order() -> None:
    for image, vector in zip(PICTURES, vectors_of(pdq.PdqOrientations(), PICTURES), strict=True):
        hashes, _ = pdqhash.compute_dihedral(np.asarray(image))
        assert np.array_equal(vector.reshape(8, 256) > 0, np.array(hashes) > 0)
        assert np.array_equal(hashes[0], pdqhash.compute(np.asarray(image))[0])


def test_the_orientations_are_what_their_names_say() -> None:
    # Turned first and hashed then, an image has nearly the bits of that orientation, and half of any other's.
    assert len(pdq.ORIENTATIONS) == len(TURNS)
    for image in (picture(3, (640, 512)), picture(4, (500, 700))):
        hashes = vectors_of(pdq.PdqOrientations(), [image]).reshape(8, 256) > 0
        for index, turn in enumerate(TURNS):
            turned, _ = pdqhash.compute(np.asarray(image if turn is None else image.transpose(turn)))
            apart = (hashes != (turned > 0)).sum(axis=1)
            assert apart[index] <= 20
            assert np.delete(apart, index).min() >= 60
            if turn in (None, Image.Transpose.TRANSPOSE):
                assert apart[index] == 0


def written(folder: Path, images: dict[str, Image.Image]) -> Path:
    folder.mkdir()
    for image_id, image in images.items():
        image.save(folder / f"{image_id}.png")
    return folder


@pytest.fixture
def images(tmp_path: Path) -> SplitImages:
    """Twelve queries, most of them turned references, two flat; fifteen references, one there twice, one flat."""
    references = {f"R{n:02}": picture(n, (90 + n, 80)) for n in range(12)}
    references |= {"R12": references["R03"], "R13": FLAT[0], "R14": references["R05"].transpose(TURNS[1])}
    queries = {f"Q{n}": references[f"R{n:02}"].transpose(TURNS[n]) for n in range(1, 8)}
    queries |= {"Q0": references["R00"], "Q8": picture(50, (70, 70)), "Q9": FLAT[0], "Q91": FLAT[0]}
    queries["Q92"] = queries["Q3"]
    return SplitImages(
        open_images(written(tmp_path / "queries", queries)), open_images(written(tmp_path / "references", references))
    )


def all_pairs(images: SplitImages) -> list[tuple[str, str, float]]:
    """Return every pair in the order of record, each scored by itself."""
    pairs = []
    for query_id in images.queries.ids:
        hashes, _ = pdqhash.compute_dihedral(np.asarray(images.queries.read(query_id)))
        for reference_id in images.references.ids:
            bits, _ = pdqhash.compute(np.asarray(images.references.read(reference_id)))
            pairs.append((query_id, reference_id, -4.0 * min((bits != turned).sum() for turned in hashes)))
    return sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1]))


def test_the_pairs_are_the_best_of_all_eight_orientations(images: SplitImages, tmp_path: Path) -> None:
    expected = all_pairs(images)
    total = len(images.queries.ids) * len(images.references.ids)
    assert len({score for *_, score in expected}) < total  # there are ties, at the cut too
    matcher = load_matcher("pdq-8")
    for cap in (1, 5, 13, 40, total, 10 * total):
        found = matcher.match(images, tmp_path, cap=cap, workers=2)
        rows = list(zip(found.query_ids.tolist(), found.reference_ids.tolist(), found.scores.tolist(), strict=True))
        assert rows == expected[:cap]


def test_turned_copies_are_found(images: SplitImages, tmp_path: Path) -> None:
    found = load_matcher("pdq-8").match(images, tmp_path, cap=1000)
    plain = {(q, r): s for q, r, s in zip(found.query_ids, found.reference_ids, found.scores, strict=True)}
    for n in range(8):
        of_query = {r: s for (q, r), s in plain.items() if q == f"Q{n}"}
        assert max(of_query, key=lambda r: (of_query[r], r == f"R{n:02}")) == f"R{n:02}"
        assert of_query[f"R{n:02}"] >= -4 * 20


def test_the_scale_is_that_of_pdq(images: SplitImages, tmp_path: Path) -> None:
    vectors = vectors_of(ndec_baselines.load("pdq"), [PICTURES[0], PICTURES[0].transpose(TURNS[6])])
    queries = open_images(written(tmp_path / "q", {"Q": PICTURES[0]}))
    references = open_images(written(tmp_path / "r", {"R0": PICTURES[0], "R1": PICTURES[2]}))
    found = load_matcher("pdq-8").match(SplitImages(queries, references), tmp_path, cap=1)
    assert found.scores.tolist() == [-((vectors[0] - vectors[0]) ** 2).sum()]
    assert images.background is None


def test_files_of_the_same_recipe_are_used_again(
    images: SplitImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    matcher = load_matcher("pdq-8")
    first = matcher.match(images, tmp_path, cap=20)
    files = [tmp_path / "query.h5", tmp_path / "reference.h5"]
    assert read_attributes(files[0])["baseline"] == "pdq-8"
    assert read_descriptors(files[0]).vectors.shape == (12, 2048)
    before = [file.read_bytes() for file in files]

    def fail(*_: object) -> None:
        raise AssertionError("hashed again")

    with monkeypatch.context() as patch:
        patch.setattr(pdqhash, "compute", fail)
        patch.setattr(pdqhash, "compute_dihedral", fail)
        assert matcher.match(images, tmp_path, cap=20).sha256 == first.sha256
        fewer = SplitImages(open_images(written(tmp_path / "one", {"Q": PICTURES[0]})), images.references)
        with pytest.raises(AssertionError, match="hashed again"):
            matcher.match(fewer, tmp_path, cap=20)
    # A file of another recipe is not taken for this one.
    describe_images(ndec_baselines.load("thumbnail"), images.references, files[1])
    assert matcher.match(images, tmp_path, cap=20).sha256 == first.sha256
    assert [file.read_bytes() for file in files] == before


def test_progress_names_the_stages(images: SplitImages, tmp_path: Path) -> None:
    stages: dict[str, None] = {}
    load_matcher("pdq-8").match(images, tmp_path, cap=5, progress=lambda stage, *_: stages.setdefault(stage))
    assert list(stages)[:3] == ["describing queries", "describing references", "searching orientation 1 of 8"]
    assert "searching orientation 8 of 8" in stages


def test_each_kind_is_loaded_as_what_it_is() -> None:
    assert (ndec_baselines.card("pdq").track, ndec_baselines.card("pdq-8").track) == ("descriptor", "matching")
    with pytest.raises(UsageError, match="scores pairs"):
        ndec_baselines.load("pdq-8")
    with pytest.raises(UsageError, match="makes descriptors"):
        load_matcher("pdq")
    assert recipe(cast("Baseline", pdq.PdqOrientations()))["baseline"] == "pdq-8"
