"""Every baseline with seeded random weights in its published form: describe, postprocess, pack, score 14 images."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import re
import zipfile
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import mobilenetv2_published
import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from written import changed, loaded, system_of, weights_of

import ndec_baselines
from ndec_baselines.esvitp import network as esvitp
from ndec_baselines.methods import cnncl, copynce, dinov2, mobilenetv2, rdcd, sscd
from ndec_baselines.networks.checkpoints import read_checkpoint
from ndec_baselines.networks.pixels import IMAGENET_DEVIATION, IMAGENET_MEAN
from ndec_baselines.networks.torchvision_import import import_torchvision
from ndec_bench.cli import run
from ndec_bench.descriptors import read_descriptors, read_submission, sha256_of_file
from ndec_bench.errors import DataError
from ndec_bench.results.record import read_result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SIDES = {"queries": ("Q", 5, 4), "references": ("R", 6, 4), "background": ("B", 6, 6)}

NEEDS_PDQHASH = pytest.mark.skipif(find_spec("pdqhash") is None, reason="pdqhash is not installed")

# One of each architecture and preprocessing; variants of the list differ from these in numbers alone.
DESCRIBED = [
    "asl-small",
    pytest.param("bot", marks=pytest.mark.slow),
    "bot-256",
    "cnncl",
    "copynce",
    "d2lv-blur-bw-ibn",
    "dinov2-s",
    "efnet-4",  # tests/test_baselines_efnet.py has the ensemble
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
    """Return the options for the published steps, with numbers that six background images allow."""
    options = []
    for step in ndec_baselines.card(name).steps:
        small = re.sub(r"(dim)=\d+", r"\1=3", step)
        small = re.sub(r"(neighbours|smooth)=\d+", r"\1=4", small)
        small = re.sub(r",sample=\d+,seed=\d+|,sample=\d+", "", re.sub(r"(first|last)=10\b", r"\1=6", small))
        options += ["--step", small]
    return options


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the split ``small-1``: two blurred copies, two other queries, 14 images in all."""
    folder = tmp_path_factory.mktemp("data") / "small-1"
    for side, (letter, digits, count) in SIDES.items():
        (folder / "images" / side).mkdir(parents=True)
        for number in range(count):
            seed = number if side != "background" else 100 + number
            picture = _picture(seed if side == "references" or number < 2 or side == "background" else 50 + number)
            if side == "queries" and number < 2:
                picture = picture.filter(ImageFilter.GaussianBlur(1)).resize((180, 150))
            picture.save(folder / "images" / side / f"{letter}{number:0{digits}d}.jpg", quality=90)
    (folder / "split.json").write_text(json.dumps({"name": "small-1", "digest": "a" * 64}))
    truth = "".join(f"Q{i:05d},{f'R{i:06d}' if i < 2 else ''}\n" for i in range(4))
    (folder / "ground_truth.csv").write_text(f"query_id,reference_id\n{truth}")
    (folder / "hard_negatives.txt").write_text("Q00003\n")
    (folder / "references.txt").write_text("".join(f"R{i:06d}\n" for i in range(4)))
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
    card = ndec_baselines.card(name)
    where = ["--split", "small-1", "--root", str(root), "--out", str(tmp_path)]
    assert run(["run", name, *where, *written_weights(name), *fitting_steps(name), "--device", "cpu"]) == 0
    (queries,) = (tmp_path / "descriptors" / name).glob("queries-*.h5")
    vectors = read_descriptors(queries).vectors
    assert vectors.shape == (4, card.dimension)
    assert np.abs(vectors[0] - vectors[1]).max() > 0
    scored = read_result(tmp_path / "results" / "ndec-1" / f"{name}.json")
    assert (scored.split, scored.track, scored.parts["all"].queries) == ("small-1", "descriptor", 4)
    assert scored.describing is not None
    assert scored.describing.baseline == f"{name} {card.version}"
    with read_submission(tmp_path / "submissions" / name / f"{name}.h5") as submission:
        assert scored.dimensions == submission.queries.dimension
    assert (scored.parts["all"].predictions, scored.parts["all"].positives) == (16, 2)


def test_every_system_is_among_them() -> None:
    named = [param if isinstance(param, str) else param.values[0] for param in DESCRIBED]
    cards = map(ndec_baselines.card, ndec_baselines.names())
    assert {system_of(str(name)) for name in named} == {
        system_of(card.name) for card in cards if card.track == "descriptor"
    }


@pytest.mark.parametrize("name", ["esvitp-sift", pytest.param("pdq-8", marks=NEEDS_PDQHASH), "sift"])
def test_matchers_from_images_to_a_score(root: Path, tmp_path: Path, name: str) -> None:
    """``d2lv`` and ``d2lv-baseline-cc`` take minutes; tests/test_baselines_d2lv_matcher.py has them."""
    where = ["--split", "small-1", "--root", str(root), "--out", str(tmp_path / "out")]
    assert run(["run", name, *where, *written_weights(name), "--device", "cpu"]) == 0
    scored = read_result(tmp_path / "out" / "results" / "ndec-1" / f"{name}.json")
    assert (scored.split, scored.track, scored.parts["all"].queries) == ("small-1", "matching", 4)
    assert scored.describing is not None
    assert (scored.describing.baseline, scored.describing.images) == (f"{name} 1", 8)
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
    images = [baseline.preprocess(_picture(seed).resize((160 + 16 * (seed % 2), 128))) for seed in range(2)]
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


@pytest.mark.parametrize(
    "name", ["asl", "bot", "copynce", "d2lv-u-cc-50", "dinov2-s", "efnet-7", "esvitp", "multigrain", "rdcd-64"]
)
def test_a_pickle_that_would_run_something_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").write_bytes(pickle.dumps(_Payload()))
    with pytest.raises(DataError, match="not a checkpoint that can be read safely") as refused:
        ndec_baselines.load(name, weights=tmp_path / "weights")
    assert "weights_only" not in str(refused.value)
    assert not (tmp_path / "was-run").exists()


def _npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.zeros(3))
    return file.getvalue()


def _torchscript() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:  # what tells it from a state dict
        made.writestr("sscd/data.pkl", b"")
        made.writestr("sscd/code/__torch__.py", b"")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", r"empty, expected a checkpoint of torch\.save", id="empty"),
        pytest.param(b"\n<!DOCTYPE html>", "a web page, expected a checkpoint", id="HTML"),
        pytest.param(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab", "a Git LFS pointer", id="LFS"),
        pytest.param(gzip.compress(b"weights"), "a gzip file, .* unpack it", id="gzip"),
        pytest.param(b"\x89HDF\r\n\x1a\n", "an HDF5 file", id="HDF5"),
        pytest.param(b"\x93NUMPY\x01\x00", "a NumPy array", id="npy"),
        pytest.param(_npz(), "NumPy arrays", id="npz"),
        pytest.param(b"\x20\0\0\0\0\0\0\0" + b'{"a":{"dtype":"F32"}}', "a safetensors file", id="safetensors"),
        pytest.param(b"PK\x03\x04 broken", "a damaged or cut file, .* get the published file again", id="cut"),
        pytest.param(_torchscript(), "a TorchScript module, expected a checkpoint", id="TorchScript"),
        pytest.param(b"\x80\x02broken", "not a checkpoint that can be read safely", id="broken pickle"),
    ],
)
def test_what_is_given_for_weights_by_mistake_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "weights"
    path.write_bytes(content)
    for load in (partial(ndec_baselines.load, "bot", weights=path), partial(read_checkpoint, path)):
        with pytest.raises(DataError, match=message) as refused:
            load()
        assert "weights_only" not in str(refused.value)


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    state = mobilenetv2_published.content()
    path = tmp_path / "weights"
    torch.save({name: value * torch.nan if value.is_floating_point() else value for name, value in state.items()}, path)
    with pytest.raises(DataError, match=r"not numbers \(NaN\): 262 entries \(features\.0\.0\.weight"):
        ndec_baselines.load("mobilenetv2", weights=path, weights_sha256=sha256_of_file(path))


class _Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("was-run", "w"))
