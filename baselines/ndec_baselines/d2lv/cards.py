"""What D2LV says about itself: 11 variants of three networks, each a baseline at three sizes, and the whole system.

Wang, Sun, Zhang, Yang, "D²LV: A Data-Driven and Local-Verification Approach for Image Copy Detection", 2021. Facts from
WangWenhao0716/ISC-Track1-Submission at 3484142c05, ``Test/``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndec_baselines.base import IMAGENET_WORDS, Card, Expected, Preprocessing, Weights, WeightsFile

if TYPE_CHECKING:
    from ndec_baselines.networks.isc_resnet import Backbone

BACKBONES: tuple[Backbone, ...] = ("50", "152", "ibn")
SIDES = (256, 200, 320)
BLUR_RADIUS = 5
DIMENSION = 8192
CROPPED_REFERENCES = "baseline-cc"
"""The variant whose networks also compare whole queries with cropped references."""

_FOLDER = "https://drive.google.com/drive/folders/1xVIJdwCDbxVTjmlzo7YXUmlc8JwTUUgA"
_PAPER = "https://arxiv.org/abs/2111.07090"
_PARAMETERS: dict[Backbone, int] = {"50": 65_487_937, "152": 100_123_713, "ibn": 65_487_937}
_GFLOPS: dict[Backbone, dict[int, float]] = {
    "50": {200: 5.3, 256: 8.1, 320: 12.7},
    "152": {200: 11.6, 256: 17.8, 320: 27.9},
    "ibn": {200: 5.3, 256: 8.1, 320: 12.7},
}
_NETWORK: dict[Backbone, str] = {
    "50": "ResNet-50 from self-supervised weights (Barlow Twins)",
    "152": "ResNet-152 from self-supervised weights (Momentum² Teacher)",
    "ibn": "ResNet-50 IBN-a from self-supervised weights (Momentum² Teacher)",
}
_CODE_LICENCE = "Apache-2.0; torchvision BSD-3-Clause"
_RECAP = (
    "paper's ablation as reproduced in ducha-aiki/wide-baseline-stereo-blog, DISC21 recap; the image names no set: "
    "dev II is inferred from the CopyNCE repository, which repeats such values rounded in its dev-II table"
)


@dataclass(frozen=True)
class Variant:
    """One way of training, three networks.

    Attributes
    ----------
    name
        As the published files are called, with a hyphen.
    folder
        Published folder of its files.
    grey
        Whether every image is turned to grey.
    blur
        Whether references and background images are blurred. Queries never are.
    least_side
        Shortest side, in pixels, of a query crop that counts (``combine.py`` L44-L78).
    about
        What was special in training.
    """

    name: str
    folder: str
    grey: bool
    blur: bool
    least_side: int
    about: str

    def file(self, backbone: Backbone) -> str:
        """Return the published name of the weights file, its folder included."""
        return f"{self.folder}/{self.name.replace('-', '_')}_{backbone}.pth.tar"


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("baseline-cc", "V5_baseline_CC", False, False, 200, "the basic set of edits"),
        Variant("baseline-bw", "V5_baseline_BW", True, False, 200, "the basic set of edits, in grey"),
        Variant("blur-cc", "V5_blur_CC", False, True, 100, "strong blur"),
        Variant("blur-bw", "V5_blur_BW", True, True, 100, "strong blur, in grey"),
        Variant("color-cc", "V5_color_CC", False, False, 100, "recolouring"),
        Variant("color-bw", "V5_color_BW", True, False, 200, "recolouring, in grey"),
        Variant("dark-cc", "V5_dark_CC", False, False, 100, "darkening"),
        Variant("face-cc", "V5_face_CC", False, False, 100, "more images of faces"),
        Variant("face-bw", "V5_face_BW", True, False, 150, "more images of faces, in grey"),
        Variant("opa-cc", "V5_opa_CC", False, False, 200, "blending with other images"),
        Variant("u-cc", "V5_u_CC", False, False, 200, "pasting into other images at a small size"),
    )
}


def name_of(variant: str, backbone: Backbone, side: int) -> str:
    """Return the name of a single network at one size as a baseline."""
    return f"d2lv-{variant}-{backbone}" + ("" if side == SIDES[0] else f"-{side}")


def preprocessing_of(variant: Variant, side: int, *, blur: bool) -> Preprocessing:
    """Return what the images of one side go through; ``blur`` for references and background of the blur variants."""
    colour = "RGB"
    if blur:
        colour += f", Gaussian blur of radius {BLUR_RADIUS} (Pillow) at full size"
    if variant.grey:
        colour += ", then grey (Pillow L) in three equal channels"
    return Preprocessing(
        size=f"{side} x {side}, aspect ratio not kept",
        filter="Pillow BICUBIC (antialiased)",
        colour=colour,
        normalisation=IMAGENET_WORDS,
    )


def single_card(variant: Variant, backbone: Backbone, side: int) -> Card:
    """Return the card of one network at one size. For either side it preprocesses as the system does queries."""
    blurred = (
        " The system blurs references and background for this network, but not queries; this descriptor treats all "
        "images as queries."
    )
    return Card(
        name=name_of(variant.name, backbone, side),
        version="1",
        title=f"D2LV {variant.name} {backbone} at {side}",
        description=(
            f"{_NETWORK[backbone]}, trained to tell 100,000 images apart under edits ({variant.about}), with a "
            "projector to 8192 numbers, one of the 33 networks of D2LV, on whole "
            f"images.{blurred if variant.blur else ''}"
        ),
        dimension=DIMENSION,
        metric="l2",
        preprocessing=preprocessing_of(variant, side, blur=False),
        postprocessing="GeM p=3 (floor 1e-6), projector; not normalised",
        input=f"{side} x {side} {'grey' if variant.grey else 'RGB'}",
        code_licence=_CODE_LICENCE,
        weights=_weights((variant.file(backbone),), f"--weights FILE, or the folder that holds {variant.folder}/"),
        requires=("torch", "torchvision"),
        parameters=_PARAMETERS[backbone],
        gflops=_GFLOPS[backbone].get(side),  # a plan may ask for other sizes than the published ones
        paper=_PAPER,
        selection="ISC2021 development queries (DISC21 dev), half not named",
        steps=("pca:dim=1500,whiten=yes,sample=20000,seed=123", "l2", "score-norm:first=1,last=10,factor=2"),
        family="d2lv",
    )


def _weights(files: tuple[str, ...], how: str) -> Weights:
    return Weights(
        files=tuple(WeightsFile(name=name, source=_FOLDER) for name in files),
        instruction=(
            f"from the Google Drive folder {_FOLDER}, sub-folders kept, with {how}; in the data root they are looked "
            "for under weights/"
        ),
        licence="unstated (repository MIT)",
        commercial_use="unclear",
        trained_on=(
            "ImageNet images (self-supervised); 100,000 DISC21 training images, one class each; images of "
            "OpenImages pasted in"
        ),
        train_images=("imagenet", "disc21-train", "other"),
        labels_used=("none",),
        reference_images_in_training="none",
        ndec_pairs="no",
        external_data="yes",
        container="state dict",
    )


def _system_card(
    name: str, title: str, text: str, variants: tuple[str, ...], sides: tuple[int, ...], expected: tuple[Expected, ...]
) -> Card:
    files = tuple(VARIANTS[variant].file(backbone) for variant in variants for backbone in BACKBONES)
    return Card(
        name=name,
        version="1",
        title=title,
        description=(
            f"{text} Each query is also turned, cut around its centre and cut to the parts that selective search (and "
            "a detector of yours, if you give its boxes) finds; each reference is also cut into 18 parts. Descriptors "
            "are PCA-whitened, scores normalised by the ten nearest background images, and merged over crops, "
            "networks and sizes. Each network's list is cut over all queries, so that what other queries score can "
            "decide which scores are merged. The published system also passes over references with faces, by a list "
            "of its own; give such a list from Python. Scores are not rounded to six decimals on the way, as the "
            "published CSV files are."
        ),
        dimension=0,
        metric="ip",
        preprocessing=Preprocessing(
            size=f"crops, each as a square of {', '.join(map(str, sides))} pixels, aspect ratio not kept",
            filter="Pillow BICUBIC (antialiased)",
            colour="RGB; per network blurred (references, background) or grey; crops through JPEG of quality 100",
            normalisation=IMAGENET_WORDS,
        ),
        postprocessing="PCA-whitening to 1500 on 20,000 background images, L2; score normalisation; merging",
        input=f"crops at {'/'.join(map(str, sides))}",
        code_licence=_CODE_LICENCE,
        weights=_weights(files, "--weights FOLDER"),
        requires=("torch", "torchvision", "skimage"),
        install='".[baselines,d2lv]" in a clone of ndec-bench',
        parameters=len(variants) * sum(_PARAMETERS.values()),
        gflops=None,
        paper=_PAPER,
        selection="ISC2021 development queries (DISC21 dev), half not named",
        query_independent="no",
        expected=expected,
        track="matching",
        background=True,
        family="d2lv",
    )


def _dev(micro_ap: float, recall: float, where: str) -> tuple[Expected, ...]:
    return (
        Expected("disc21-dev2", "micro_ap", micro_ap, where, protocol="isc2021", detections=True),
        Expected("disc21-dev2", "recall_at_p90", recall, where, protocol="isc2021", detections=True),
    )


SYSTEMS = {
    "d2lv": _system_card(
        "d2lv",
        "D2LV",
        "All 33 networks at three sizes: the first of the ISC2021 matching track.",
        tuple(VARIANTS),
        SIDES,
        (
            Expected(
                "disc21-final",
                "micro_ap",
                0.8329,
                "drivendataorg/image-similarity-challenge README, phase 2, with detection and list of faces",
                protocol="drivendata",
                detections=True,
            ),
            *_dev(0.90035, 0.81887, f"{_RECAP}; with detection and list of faces"),
        ),
    ),
    "d2lv-baseline-cc": _system_card(
        "d2lv-baseline-cc",
        "D2LV baseline-cc",
        "Three of the 33 networks, those trained on the basic set of edits, at one size, merged as the whole system.",
        (CROPPED_REFERENCES,),
        SIDES[:1],
        _dev(0.83720, 0.75155, f"{_RECAP}; row of global-local and local-global together; with detection"),
    ),
}

SINGLES = {
    name_of(variant.name, backbone, side): (variant, backbone, side)
    for variant in VARIANTS.values()
    for backbone in BACKBONES
    for side in SIDES
}
