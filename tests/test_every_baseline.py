"""Every baseline with seeded random weights in its published form: describe, postprocess, pack, score 20 images."""

from __future__ import annotations

import importlib
import json
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageFilter

import ndec_baselines
from ndec_bench.cli import run
from ndec_bench.descriptors import read_descriptors, read_submission, sha256_of_file
from ndec_bench.results.record import read_result

if TYPE_CHECKING:
    from pathlib import Path

SIDES = {"queries": ("Q", 5, 6), "references": ("R", 6, 6), "background": ("B", 6, 8)}

NEEDS_PDQHASH = pytest.mark.skipif(find_spec("pdqhash") is None, reason="pdqhash is not installed")

# One of each architecture and preprocessing; variants of the list differ from these in numbers alone.
DESCRIBED = [
    pytest.param("asl", marks=pytest.mark.slow),
    "asl-small",
    pytest.param("bot", marks=pytest.mark.slow),
    "bot-256",
    "cnncl",
    "copynce",
    "d2lv-blur-bw-ibn",
    pytest.param("d2lv-baseline-cc-152", marks=pytest.mark.slow),
    "dinov2-s",
    "dinov2-b",
    pytest.param("efnet", marks=pytest.mark.slow),
    "efnet-4",
    "esvitp",
    "gist",
    "mobilenetv2",
    "multigrain",
    pytest.param("pdq", marks=NEEDS_PDQHASH),
    "phash",
    "rdcd-64",
    "scattering",
    "sscd-disc-mixup",
    pytest.param("sscd-disc-large-320", marks=pytest.mark.slow),
    "thumbnail",
]


def written_weights(name: str, folder: Path) -> list[str]:
    """Return the options that give baseline ``name`` random weights in published form, written into ``folder``."""
    card = ndec_baselines.card(name)
    if card.weights is None:
        return []
    module = ndec_baselines.BASELINES[name].partition(":")[0].removeprefix("ndec_baselines.").partition(".")[0]
    importlib.import_module(f"{module}_published").write(name, folder)
    if len(card.weights.files) > 1:
        return ["--weights", str(folder)]
    path = folder / card.weights.files[0].name
    return ["--weights", str(path), "--weights-sha256", sha256_of_file(path)]


def fitting_steps(name: str) -> list[str]:
    """Return the published steps with numbers that eight background images allow."""
    steps = []
    for step in ndec_baselines.card(name).steps:
        small = re.sub(r"(dim)=\d+", r"\1=4", step)
        small = re.sub(r"(neighbours|smooth)=\d+", r"\1=5", small)
        steps.append(re.sub(r",sample=\d+,seed=\d+|,sample=\d+", "", re.sub(r"(first|last)=10\b", r"\1=8", small)))
    return steps


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the split ``twenty-1``: three blurred copies, three other queries, 20 images in all."""
    folder = tmp_path_factory.mktemp("data") / "twenty-1"
    for side, (letter, digits, count) in SIDES.items():
        (folder / "images" / side).mkdir(parents=True)
        for number in range(count):
            seed = number if side != "background" else 100 + number
            picture = _picture(seed if side == "references" or number < 3 or side == "background" else 50 + number)
            if side == "queries" and number < 3:
                picture = picture.filter(ImageFilter.GaussianBlur(1)).resize((180, 150))
            picture.save(folder / "images" / side / f"{letter}{number:0{digits}d}.jpg", quality=90)
    (folder / "split.json").write_text(json.dumps({"name": "twenty-1", "digest": "a" * 64}))
    truth = "".join(f"Q{i:05d},{f'R{i:06d}' if i < 3 else ''}\n" for i in range(6))
    (folder / "ground_truth.csv").write_text(f"query_id,reference_id\n{truth}")
    (folder / "hard_negatives.txt").write_text("Q00005\n")
    (folder / "references.txt").write_text("".join(f"R{i:06d}\n" for i in range(6)))
    return folder.parent


def _picture(seed: int) -> Image.Image:
    """Return a picture of coloured rectangles and noise, large and small structure of its own."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize(
        (240, 200), Image.Resampling.NEAREST
    )
    fine = Image.fromarray(generator.integers(0, 256, (100, 120, 3), dtype=np.uint8)).resize((240, 200))
    return Image.blend(coarse, fine, 0.3)


@pytest.mark.parametrize("name", DESCRIBED)
def test_from_images_to_a_score(root: Path, tmp_path: Path, name: str) -> None:
    weights = written_weights(name, tmp_path)
    card, steps = ndec_baselines.card(name), fitting_steps(name)
    files = {}
    for part in SIDES if steps else ("queries", "references"):
        files[part] = tmp_path / f"{part}.h5"
        where = ["--split", "twenty-1", "--part", part, "--root", str(root), "--out", str(files[part])]
        assert run(["describe", name, *where, *weights, "--device", "cpu"]) == 0
    queries = read_descriptors(files["queries"])
    assert queries.vectors.shape == (6, card.dimension)
    assert np.abs(queries.vectors[0] - queries.vectors[1]).max() > 0
    if steps:
        options = ["--background", str(files["background"]), *(word for step in steps for word in ("--step", step))]
        for part, side in (("queries", "query"), ("references", "reference")):
            made = tmp_path / f"{part}-done.h5"
            assert run(["postprocess", str(files[part]), *options, "--side", side, str(made)]) == 0
            files[part] = made
    packed, result = tmp_path / "packed.h5", tmp_path / "result.json"
    sides = ["--query", str(files["queries"]), "--reference", str(files["references"])]
    assert run(["pack", *sides, "--split", "twenty-1", "--out", str(packed)]) == 0
    assert run(["score", str(packed), "--root", str(root), "--out", str(result)]) == 0
    scored = read_result(result)
    assert (scored.split, scored.track, scored.parts["all"].queries) == ("twenty-1", "descriptor", 6)
    assert scored.describing is not None
    assert scored.describing.baseline == f"{name} {card.version}"
    with read_submission(packed) as submission:
        assert scored.dimensions == submission.queries.dimension
    assert (scored.parts["all"].predictions, scored.parts["all"].positives) == (36, 3)


def test_every_module_is_among_them() -> None:
    named = [param if isinstance(param, str) else param.values[0] for param in DESCRIBED]
    modules = {ndec_baselines.BASELINES[str(name)].partition(":")[0] for name in named}
    cards = {name: ndec_baselines.card(name) for name in ndec_baselines.BASELINES}
    assert modules == {
        ndec_baselines.BASELINES[n].partition(":")[0] for n, c in cards.items() if c.track == "descriptor"
    }


@pytest.mark.parametrize("name", ["esvitp-sift", pytest.param("pdq-8", marks=NEEDS_PDQHASH), "sift"])
def test_matchers_from_images_to_a_score(root: Path, tmp_path: Path, name: str) -> None:
    """``d2lv`` and ``d2lv-baseline-cc`` take minutes; tests/test_baselines_d2lv_matcher.py has them."""
    where = ["--split", "twenty-1", "--root", str(root), "--out", str(tmp_path / "out")]
    assert run(["run", name, *where, *written_weights(name, tmp_path), "--device", "cpu"]) == 0
    scored = read_result(tmp_path / "out" / "results" / "ndec-1" / f"{name}.json")
    assert (scored.split, scored.track, scored.parts["all"].queries) == ("twenty-1", "matching", 6)
    assert scored.describing is not None
    assert (scored.describing.baseline, scored.describing.images) == (f"{name} 1", 12)
    # The copies are blurred a little and scaled: each of these finds them.
    assert scored.parts["all"].recall_at_1 == 1.0
