"""SSCD: Meta's self-supervised descriptor for image copy detection, in all seven published TorchScript files.

Pizzi, Roy, Ravindra, Goyal, Douze, "A Self-Supervised Descriptor for Image Copy Detection", CVPR 2022. Facts from
facebookresearch/sscd-copy-detection: ``README.md`` (files, preprocessing), ``sscd/models/model.py`` (what the graph
holds), ``sscd/disc_eval.py`` and ``docs/Evaluation.md`` (post-processing and numbers).

Each file comes in two preprocessings that the authors recommend: ``sscd-disc-mixup`` keeps the aspect ratio, as the
paper does; ``sscd-disc-mixup-320`` squashes the whole image to a square, which lets a GPU work on batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndec_baselines.base import IMAGENET_WORDS, Card, Expected, Preprocessing, Registration, Weights, WeightsFile
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from PIL import Image

    from ndec_baselines.base import Loader, LocalWeights
    from ndec_baselines.networks.inference import TorchBaseline

SHORT_EDGE = 288
SQUARE = 320
LONGEST = 20
"""An image may be so many times as long as it is short; a longer one is squashed to that."""
SQUARE_MICRO_BATCH = 2

ADDRESS = "https://dl.fbaipublicfiles.com/sscd-copy-detection/"
_EVALUATION = "facebookresearch/sscd-copy-detection docs/Evaluation.md"


@dataclass(frozen=True)
class _Model:
    """One published file; ``gflops`` at 288 x 384 (a 4:3 photograph) and at 320 x 320."""

    trunk: str
    dimension: int
    parameters: int
    gflops: tuple[float, float]
    images: str
    augmentations: str
    size: int | None = None
    sha256: str | None = None


_DISC = "1 million DISC21 training images, without labels"
_IMAGENET = "ImageNet-1k training images, without labels"
_RESNET50 = ("ResNet-50", 512, 24_557_120, (9.0, 8.3))
_MODELS = {
    "disc-advanced": _Model(*_RESNET50, _DISC, "advanced"),
    "disc-blur": _Model(*_RESNET50, _DISC, "strong blur"),
    "disc-large": _Model(
        "ResNeXt-101 32x4d",
        1024,
        44_226_880,
        (17.6, 16.3),
        _DISC,
        "advanced, mixup",
        size=178_141_104,
        sha256="16a196359f91e5fc4e774d5679244c8a661c182309ad4ede0c7e83f6a9861fa0",
    ),
    "disc-mixup": _Model(
        *_RESNET50,
        _DISC,
        "advanced, mixup",
        size=98_791_638,
        sha256="9f26bd4c848cc19b73d2ae92eea6e04886f61a7b764ceb7a13aeee62e6a6db56",
    ),
    "imagenet-advanced": _Model(*_RESNET50, _IMAGENET, "advanced"),
    "imagenet-blur": _Model(*_RESNET50, _IMAGENET, "strong blur"),
    "imagenet-mixup": _Model(*_RESNET50, _IMAGENET, "advanced, mixup"),
}
"""Published name, after ``sscd_``, to what is known of the file. Meta publishes no digests; those here were measured:
that of disc-mixup by ten public repositories independently, that of disc-large by one."""


def _steps(dimension: int) -> tuple[str, ...]:
    """Return the post-processing of the paper: faiss codec ``PCAW<D>,L2norm,Flat`` and score norm ``1.0[0,2]``."""
    return (f"pca:dim={dimension},whiten=yes", "l2", "score-norm:first=1,last=3,factor=1")


def _rows(steps: tuple[str, ...] | None, uap: float, p90: float, at_1: float) -> tuple[Expected, ...]:
    return (
        Expected("disc21-dev", "micro_ap", uap, _EVALUATION, "sscd", steps=steps),
        Expected("disc21-dev", "recall_at_p90", p90, _EVALUATION, "sscd", steps=steps),
        Expected("disc21-dev", "recall_at_1", at_1, _EVALUATION, "sscd", steps=steps),
    )


_EXPECTED = {
    "sscd-disc-mixup": (
        *_rows((), 0.60939, 0.3766, 0.7757),
        *_rows(_steps(512)[2:], 0.71804, 0.6251, 0.7757),
        *_rows(_steps(512)[:2], 0.61427, 0.3825, 0.7820),
        *_rows(None, 0.72428, 0.6308, 0.7820),
    ),
}

_KEPT = Preprocessing(
    size=f"shorter edge {SHORT_EDGE}, longer edge truncated to a whole pixel, at most {LONGEST * SHORT_EDGE}; no crop",
    filter="Pillow BILINEAR (antialiased)",
    colour="RGB",
    normalisation=IMAGENET_WORDS,
)
_SQUASHED = Preprocessing(
    size=f"{SQUARE} x {SQUARE}, aspect ratio not kept, no crop",
    filter="Pillow BILINEAR (antialiased)",
    colour="RGB",
    normalisation=IMAGENET_WORDS,
)


def _card(name: str, model: _Model, file: str, *, square: bool) -> Card:
    address = f"{ADDRESS}{file}.torchscript.pt"
    trust = "its digest is known" if model.sha256 else "nobody has published its digest: give it as --weights-sha256"
    return Card(
        name=name,
        version="1",
        title=f"SSCD {file.removeprefix('sscd_')}" + (f", {SQUARE} square" if square else ""),
        description=(
            f"{model.trunk} trained by contrast between edited copies of one image ({model.augmentations} "
            "augmentations) with an entropy term that spreads descriptors evenly; generalised-mean pooling (p = 3) of "
            f"the last feature map, a linear layer to {model.dimension} numbers, unit length. "
            + ("The whole image as a square." if square else "The whole image, aspect ratio kept, as in the paper.")
        ),
        dimension=model.dimension,
        metric="l2",
        preprocessing=_SQUASHED if square else _KEPT,
        postprocessing="GeM p=3 (floor 1e-6), linear, L2, all inside the TorchScript graph",
        input=f"{SQUARE} x {SQUARE} RGB" if square else f"short edge {SHORT_EDGE} RGB",
        code_licence="Apache-2.0; the graph in the file MIT",
        weights=Weights(
            files=(WeightsFile(f"{file}.torchscript.pt", address, size=model.size, sha256=model.sha256),),
            instruction=f"ndec-bench download weights {name}, or {address} with --weights FILE; {trust}",
            licence="MIT",  # of the weights too: sscd-copy-detection issue 12
            commercial_use="yes",
            trained_on=model.images,
            train_images=("disc21-train",) if model.images == _DISC else ("imagenet",),
            labels_used=("none",),
            reference_images_in_training="none",
            ndec_pairs="no",
            external_data="no" if model.images == _DISC else "yes",
            container="TorchScript",
            runs_code=True,
        ),
        requires=("torch",),
        parameters=model.parameters,
        gflops=model.gflops[1 if square else 0],
        paper="https://arxiv.org/abs/2202.10261",
        selection="not stated; the paper compares its variants on DISC21 dev, both halves",
        expected=_EXPECTED.get(name, ()),
        steps=_steps(model.dimension),
        family="sscd",
    )


def keep_aspect(image: Image.Image) -> torch.Tensor:
    """Return the image as (3, height, width) float32, shorter edge 288, normalised as ImageNet models expect.

    Source: ``small_288`` of README.md, ``make_validation_dataset`` of ``sscd/train.py``. Of an image more than 20 times
    as long as short the published code makes a tensor without bound; its longer edge is squashed to 5,760 here.
    """
    from PIL import Image as PillowImage

    from ndec_baselines.networks.pixels import normalised, short_edge

    short, long = sorted(image.size)
    if long > LONGEST * short:
        size = (SHORT_EDGE, LONGEST * SHORT_EDGE) if image.width < image.height else (LONGEST * SHORT_EDGE, SHORT_EDGE)
        return normalised(image.convert("RGB").resize(size, PillowImage.Resampling.BILINEAR))
    return normalised(short_edge(image, SHORT_EDGE, PillowImage.Resampling.BILINEAR))


def squash(image: Image.Image) -> torch.Tensor:
    """Return the image as (3, 320, 320) float32, normalised as ImageNet models expect.

    Source: ``skew_320`` of README.md.
    """
    from PIL import Image as PillowImage

    from ndec_baselines.networks.pixels import normalised, square

    return normalised(square(image, SQUARE, PillowImage.Resampling.BILINEAR))


def descriptor_graph(path: Path, dimension: int) -> torch.nn.Module:
    """Return the TorchScript module in ``path``, from images (n, 3, height, width) to unit vectors (n, ``dimension``).

    Raises
    ------
    DataError
        If the file is no TorchScript, or what it holds does not map a picture to a finite unit vector of that length.
    """
    import torch

    from ndec_baselines.networks.checkpoints import read_torchscript

    module = read_torchscript(path)
    # A graph has no keys to compare, so it is asked; two sizes, because one traced for a single size would pass one.
    for height, width in ((64, 64), (64, 96)):
        try:
            with torch.inference_mode():
                answer = module(torch.zeros(2, 3, height, width))
        except RuntimeError as error:
            raise DataError(
                f"{path}: the TorchScript module takes no {width} x {height} image", hint="give the published file"
            ) from error
        shape = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
        if shape != (2, dimension) or not torch.allclose(answer.norm(dim=1), torch.ones(2), atol=1e-3):
            raise DataError(
                f"{path}: the TorchScript module gives {shape} for two images, expected (2, {dimension}), unit length",
                hint="give the published file of this baseline",
            )
    return module


def _loader(card: Card, *, square: bool) -> Loader:
    def load(weights: LocalWeights | None, device: str) -> TorchBaseline:
        from ndec_baselines.networks.inference import TorchBaseline

        if weights is None:
            raise DataError(f"baseline {card.name} needs its weights", hint="give them with --weights FILE")
        module = descriptor_graph(weights.only, card.dimension)
        if square:
            return TorchBaseline(
                card, module, squash, device=device, micro_batch=SQUARE_MICRO_BATCH, weights_sha256=weights.sha256
            )
        # Neighbours seldom share a size; padding each to a batch would multiply the work.
        return TorchBaseline(
            card, module, keep_aspect, device=device, micro_batch=1, cuda_micro_batch=1, weights_sha256=weights.sha256
        )

    return load


def _registrations() -> dict[str, Registration]:
    found = {}
    for kind, model in _MODELS.items():
        for square in (False, True):
            name = f"sscd-{kind}-{SQUARE}" if square else f"sscd-{kind}"
            card = _card(name, model, f"sscd_{kind.replace('-', '_')}", square=square)
            found[name] = Registration(card, _loader(card, square=square))
    return found


BASELINES = _registrations()
