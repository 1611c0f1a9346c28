"""``asl`` and ``asl-small``: descriptors and norms by a network that ``ndec-bench train asl`` trained."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ndec_baselines.base import IMAGENET_WORDS, Card, Preprocessing, Registration, Weights, WeightsFile
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from ndec_baselines.base import LocalWeights
    from ndec_baselines.networks.inference import TorchBaseline

MICRO_BATCH = 2
FILTER = "Pillow BILINEAR (antialiased)"
PAPER = "https://arxiv.org/abs/2205.12358"


def _preprocessing(side: int) -> Preprocessing:
    return Preprocessing(
        size=f"{side} x {side}, aspect ratio not kept", filter=FILTER, colour="RGB", normalisation=IMAGENET_WORDS
    )


def _words(descriptor: str, norm: str) -> str:
    return f"{descriptor} features, L2; norms of the {norm} features"


LARGE = Card(
    name="asl",
    version="1",
    title="ASL (ResNet-50 family)",
    description=(
        "The network of BoT and D2LV (ResNet, generalised-mean pooling, projector of 8192 numbers), trained here with "
        "the norm-ratio loss of ASL; the feature norms go with the descriptors, for asymmetric similarity."
    ),
    dimension=8192,
    metric="l2",
    preprocessing=_preprocessing(256),
    postprocessing=_words("projected", "projected"),
    input="256 x 256 RGB",
    code_licence="Apache-2.0; torchvision BSD-3-Clause",
    weights=Weights(
        files=(WeightsFile(name="asl.pt", source=""),),
        instruction="its authors published none; train it (docs/asl.md) and give OUT/model.pt with --weights FILE",
        licence="of the images and first weights of the training run",
        commercial_use="unclear",
        trained_on="the training images of the split in its settings, and the images of its first weights",
        labels_used=("none",),
        container="export of ndec-bench train asl",
        published=False,
    ),
    requires=("torch", "torchvision"),
    parameters=65_487_937,
    gflops=8.1,
    paper=PAPER,
    selection="as the settings of the training run say",
)

SMALL = replace(
    LARGE,
    name="asl-small",
    title="ASL (MobileNetV2)",
    description=(
        "MobileNetV2 with generalised-mean pooling and a small projector, trained here with the norm-ratio loss of ASL "
        "at a size that two CPU cores manage; the feature norms go with the descriptors, for asymmetric similarity."
    ),
    dimension=1280,
    preprocessing=_preprocessing(112),
    postprocessing=_words("pooled", "projected"),
    input="112 x 112 RGB",
    parameters=4_063_488,  # with the settings of the experiment; a loaded network counts its own
    gflops=0.1,
    weights=replace(
        LARGE.weights,
        files=(WeightsFile(name="asl-small.pt", source=""),),
        licence="BSD-3-Clause (first weights)",
        instruction='"tox -e asl" trains it on ndec-mini; give OUT/model.pt with --weights FILE',
        trained_on="ImageNet-1k (images and labels), then the training part of ndec-mini",
        train_images=("imagenet", "other"),
        reference_images_in_training="none",
        ndec_pairs="no",
        external_data="yes",
    )
    if LARGE.weights is not None
    else None,
    selected_on=("train",),
    selection="a part held out of ndec-mini's training images",
)


def _load(card: Card, weights: LocalWeights | None, device: str) -> TorchBaseline:
    from ndec_baselines.asl.network import Describer, read_export
    from ndec_baselines.networks.inference import TorchBaseline

    if weights is None:
        raise DataError(f"baseline {card.name} needs its weights", hint="give them with --weights FILE")
    network = read_export(weights.only)
    settings = network.settings
    if (settings.backbone == "mobilenetv2") is not (card.name == SMALL.name):
        other = SMALL.name if card.name == LARGE.name else LARGE.name
        raise DataError(f"{weights.only}: a network with backbone {settings.backbone}", hint=f"load it as {other}")
    facts = replace(
        card,
        dimension=network.widths[settings.descriptor],
        preprocessing=_preprocessing(settings.side),
        postprocessing=_words(settings.descriptor, settings.norm),
        input=f"{settings.side} x {settings.side} RGB",
        parameters=sum(parameter.numel() for parameter in network.parameters()),
    )

    def preprocess(image: Image.Image) -> torch.Tensor:
        from PIL import Image as PillowImage

        from ndec_baselines.networks.pixels import normalised, square

        return normalised(square(image, settings.side, PillowImage.Resampling.BILINEAR))

    return TorchBaseline(
        facts, Describer(network), preprocess, device=device, micro_batch=MICRO_BATCH, weights_sha256=weights.sha256
    )


BASELINES = {
    card.name: Registration(card, lambda weights, device, card=card: _load(card, weights, device))
    for card in (LARGE, SMALL)
}
