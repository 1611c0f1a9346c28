"""Every baseline with seeded random weights in its published form: describe, postprocess, pack, score 20 images."""

from __future__ import annotations

import json
import pickle
import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from written import changed, loaded, system_of, weights_of

import ndec_baselines
from ndec_baselines.esvitp import network as esvitp
from ndec_baselines.methods import cnncl, copynce, dinov2, mobilenetv2, rdcd, sscd
from ndec_baselines.networks.pixels import IMAGENET_DEVIATION, IMAGENET_MEAN
from ndec_baselines.networks.torchvision_import import import_torchvision
from ndec_bench.cli import run
from ndec_bench.descriptors import read_descriptors, read_submission, sha256_of_file
from ndec_bench.errors import DataError
from ndec_bench.results.record import read_result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
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


def written_weights(name: str) -> list[str]:
    """Return the options that give baseline ``name`` random weights in published form."""
    weights = ndec_baselines.card(name).weights
    if weights is None:
        return []
    folder = weights_of(name)
    if len(weights.files) > 1:
        return ["--weights", str(folder)]
    path = folder / weights.files[0].name
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
    weights = written_weights(name)
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


def test_every_system_is_among_them() -> None:
    named = [param if isinstance(param, str) else param.values[0] for param in DESCRIBED]
    cards = map(ndec_baselines.card, ndec_baselines.names())
    assert {system_of(str(name)) for name in named} == {
        system_of(card.name) for card in cards if card.track == "descriptor"
    }


@pytest.mark.parametrize("name", ["esvitp-sift", pytest.param("pdq-8", marks=NEEDS_PDQHASH), "sift"])
def test_matchers_from_images_to_a_score(root: Path, tmp_path: Path, name: str) -> None:
    """``d2lv`` and ``d2lv-baseline-cc`` take minutes; tests/test_baselines_d2lv_matcher.py has them."""
    where = ["--split", "twenty-1", "--root", str(root), "--out", str(tmp_path / "out")]
    assert run(["run", name, *where, *written_weights(name), "--device", "cpu"]) == 0
    scored = read_result(tmp_path / "out" / "results" / "ndec-1" / f"{name}.json")
    assert (scored.split, scored.track, scored.parts["all"].queries) == ("twenty-1", "matching", 6)
    assert scored.describing is not None
    assert (scored.describing.baseline, scored.describing.images) == (f"{name} 1", 12)
    # The copies are blurred a little and scaled: each of these finds them.
    assert scored.parts["all"].recall_at_1 == 1.0


@pytest.mark.parametrize(
    "name",
    [
        "asl-small",
        "bot-200",
        "cnncl-selfsup",
        "copynce",
        "d2lv-blur-bw-ibn-200",
        "dinov2-s",
        "mobilenetv2",
        "multigrain",
        "rdcd-64",
    ],
)
def test_bytes_do_not_depend_on_neighbours_or_threads(name: str) -> None:
    """SSCD's, EfNet's and EsViTp's own tests have the same."""
    baseline = loaded(name)
    images = [baseline.preprocess(_picture(seed).resize((160 + 16 * (seed % 2), 128))) for seed in range(3)]
    whole = baseline.describe(images).vectors
    assert np.array_equal(np.concatenate([baseline.describe([image]).vectors for image in images]), whole)
    assert np.array_equal(baseline.describe(images[::-1]).vectors[::-1], whole)
    before = torch.get_num_threads()
    torch.set_num_threads(2 if before == 1 else 1)
    try:
        assert np.array_equal(baseline.describe(images[:1]).vectors[0], whole[0])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("preprocess", "side", "filter_", "mean", "deviation"),
    [
        (cnncl.preprocess, 512, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        (copynce.preprocess, 224, "bicubic", IMAGENET_MEAN, IMAGENET_DEVIATION),
        (dinov2.preprocess, 224, "bicubic", IMAGENET_MEAN, IMAGENET_DEVIATION),
        (esvitp.preprocess, 224, "bicubic", IMAGENET_MEAN, IMAGENET_DEVIATION),
        (mobilenetv2.preprocess, 224, "bilinear", IMAGENET_MEAN, IMAGENET_DEVIATION),
        (rdcd.preprocess, 288, "bilinear", IMAGENET_MEAN, IMAGENET_DEVIATION),
        (sscd.squash, 320, "bilinear", IMAGENET_MEAN, IMAGENET_DEVIATION),
    ],
)
def test_preprocessing_equals_torchvisions_transforms(
    preprocess: Callable[[Image.Image], torch.Tensor],
    side: int,
    filter_: str,
    mean: Sequence[float],
    deviation: Sequence[float],
) -> None:
    transforms = import_torchvision().transforms
    published = transforms.Compose(
        [
            transforms.Resize([side, side], interpolation=transforms.InterpolationMode(filter_)),
            transforms.ToTensor(),
            transforms.Normalize(mean=mean, std=deviation),
        ]
    )
    for size in ((640, 480), (31, 700), (side, side)):
        noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        for image in (Image.fromarray(noise), Image.fromarray(noise[:, :, 0])):
            assert torch.equal(preprocess(image), published(image.convert("RGB")))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("bot-200", {"extra.weight": (2, 2)}, r"1 unexpected \(extra\.weight\)"),
        ("bot-200", {"base.10.p": (2,)}, r"of another shape \(base\.10\.p \(2,\), expected \(1,\)\)"),
        ("bot-200", {"module.base.10.p": (1,)}, r"1 unexpected \(module\.base\.10\.p\)"),
        ("cnncl-selfsup", {"module.fc.weight": None}, r"1 missing \(fc\.weight\)"),
        ("cnncl-selfsup", {"module.fc.bias": (256,)}, r"1 unexpected \(fc\.bias\)"),
        ("cnncl-selfsup", {"module.fc.weight": (256, 511)}, r"fc\.weight \(256, 511\), expected \(256, 512\)"),
        ("copynce", {"encoder.norm.weight": (384,)}, r"1 unexpected \(encoder\.norm\.weight\)"),
        ("copynce", {"encoder.cls_token": None}, r"1 missing \(encoder\.cls_token\)"),
        ("copynce", {"heads.linear_head.fc1.weight": (128, 384)}, r"fc1\.weight \(128, 384\), expected \(512, 384\)"),
        ("dinov2-s", {"blocks.11.ls2.gamma": None}, r"1 missing \(blocks\.11\.ls2\.gamma\)"),
        ("dinov2-s", {"register_tokens": (1, 4, 384)}, r"1 unexpected \(register_tokens\)"),
        ("dinov2-s", {"pos_embed": (1, 257, 384)}, r"pos_embed \(1, 257, 384\), expected \(1, 1370, 384\)"),
        ("mobilenetv2", {"features.0.0.weight": None}, r"1 missing \(features\.0\.0\.weight\)"),
        ("mobilenetv2", {"extra.weight": (1,)}, r"1 unexpected \(extra\.weight\)"),
        ("multigrain", {"features.layer4.2.bn3.bias": None}, r"1 missing \(features\.layer4\.2\.bn3\.bias\)"),
        ("multigrain", {"whitening.pca.pca_P": (2, 2)}, r"1 unexpected \(whitening\.pca\.pca_P\)"),
        ("rdcd-64", {"model.encoder_q.projector.bias": None}, r"1 missing \(projector\.bias\)"),
        ("rdcd-64", {"model.encoder_q.head.weight": (1,)}, r"1 unexpected \(head\.weight\)"),
        ("rdcd-64", {"model.queue_of_features": (1,)}, r"1 unexpected \(model\.queue_of_features\)"),
        ("rdcd-64", {"model.encoder_q.projector.weight": (128, 512)}, r"\(128, 512\), expected \(64, 512\)"),
    ],
)
def test_other_names_and_shapes_are_refused(
    tmp_path: Path, name: str, changes: dict[str, tuple[int, ...] | None], message: str
) -> None:
    path = tmp_path / "weights"
    changed(name, path, changes)
    with pytest.raises(DataError, match=message):
        ndec_baselines.load(name, weights=path, weights_sha256=sha256_of_file(path))


@pytest.mark.parametrize(
    ("name", "key"), [("cnncl-selfsup", "state_dict"), ("multigrain", "model_state"), ("rdcd-64", "state_dict")]
)
def test_another_container_is_refused(tmp_path: Path, name: str, key: str) -> None:
    torch.save({"epoch": 1, "fc.weight": torch.zeros(1)}, tmp_path / "weights")
    with pytest.raises(DataError, match=f"no entry '{key}' in the checkpoint"):
        ndec_baselines.load(name, weights=tmp_path / "weights")


def test_nothing_is_opened_that_is_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of each container; a pickle that would run something does not."""
    monkeypatch.chdir(tmp_path)
    for name in ("asl", "bot", "copynce", "d2lv-u-cc-50", "dinov2-s", "efnet-7", "esvitp", "multigrain", "rdcd-64"):
        path = tmp_path / "weights"
        for content in (pickle.dumps(_Payload()), b"", b"<html>", b"PK\x03\x04 broken"):
            path.write_bytes(content)
            with pytest.raises(DataError, match="not a checkpoint that can be read safely"):
                ndec_baselines.load(name, weights=path)
    assert not (tmp_path / "was-run").exists()


class _Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("was-run", "w"))
