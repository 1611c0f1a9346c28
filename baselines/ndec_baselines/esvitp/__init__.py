"""EsViTp, third in the matching track of ISC 2021 (team imgFp): a global descriptor, keypoints, and both together.

``esvitp`` is the global descriptor, ``esvitp-sift`` the submitted system, ``sift`` its branch of keypoints alone, which
needs no trained numbers. Facts from sun-xl/ISC2021 (MIT); the modules name the files.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ndec_baselines.base import IMAGENET_WORDS, Card, Expected, Preprocessing, Registration, Weights, WeightsFile
from ndec_baselines.esvitp.overlay import global_box
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from ndec_baselines.base import LocalWeights
    from ndec_baselines.esvitp.matching import KeypointMatcher
    from ndec_baselines.networks.inference import TorchBaseline

MICRO_BATCH = 2
FILE = "EsViT_SwinB_finetune_bs8_lr0.0001_adjustlr_0_margin1.0_dataFB_epoch200.pth"
FAMILY = "esvitp"

_SLIDES = (
    "the authors' workshop slides, in ducha-aiki/wide-baseline-stereo-blog posts/2022-02-05-DISC21-recap_files; with "
    "overlays detected"
)
_KEYPOINTS = Preprocessing(
    size="short side at most 300, aspect ratio kept, sizes truncated",
    filter="Pillow BICUBIC (antialiased)",
    colour="RGB to L (Pillow, ITU-R 601), mapped to 16 ... 235",
    normalisation="uint8",
)
_SIFT_INSTALL = '".[sift]" in a clone of ndec-bench'

CARD = Card(
    name="esvitp",
    version="1",
    title="EsViTp Swin-B",
    description=(
        "The global descriptor of EsViTp: a Swin-B with windows of 14, started from EsViT, fine-tuned on the labelled "
        "pairs of dev I; the token means of its last four blocks through a linear layer. Queries are cut to a detected "
        "overlay first, with the user's detections. The weights were never published: the network is verified by its "
        "structure, the numbers cannot be reproduced. Scores on dev I are scores on training pairs."
    ),
    dimension=256,
    metric="l2",
    preprocessing=Preprocessing(
        size="224 x 224, aspect ratio not kept",
        filter="Pillow BICUBIC (antialiased)",
        colour="RGB",
        normalisation=IMAGENET_WORDS,
    ),
    postprocessing="means of the last four blocks, linear, L2",
    input="224 x 224 RGB",
    code_licence="MIT",
    weights=Weights(
        files=(WeightsFile(name=FILE, source=""),),
        instruction="never published; give a file of your own with --weights FILE",
        licence="never published",
        commercial_use="unclear",
        trained_on=(
            "ISC images: the 4,991 labelled pairs of dev I and as many unlabelled queries with an edited copy; started "
            "from EsViT (ImageNet-1k); other references as negatives"
        ),
        train_images=("imagenet", "other"),
        labels_used=("dev1",),
        reference_images_in_training="plain",
        ndec_pairs="no",
        external_data="yes",
        container="dict with model, or state dict",
        published=False,
    ),
    requires=("torch", "torchvision", "timm"),
    parameters=87_704_632,
    gflops=16.3,
    paper="https://github.com/sun-xl/ISC2021",
    selection="not stated; the authors' slides compare variants on phase 1, half not named",
    expected=(
        Expected("disc21-final", "micro_ap", 0.525, f"{_SLIDES}: EsViT", protocol="drivendata", detections=True),
    ),
    family=FAMILY,
)

SIFT_CARD = Card(
    name="sift",
    version="1",
    title="SIFT (EsViTp's local branch)",
    description=(
        "Every keypoint of a query votes for the reference that has the nearest of all reference keypoints; a clear "
        "winner becomes a pair, scored by the number of unique matches at places of their own, the reference mirrored "
        "too. At most one pair per query, no weights. OpenCV's SIFT with the published parameters in place of the "
        "authors' own, which finds more keypoints. On phase 1 (half not named) the authors' slides have 0.751 µAP."
    ),
    dimension=0,
    metric="ip",
    preprocessing=_KEYPOINTS,
    postprocessing="RootSIFT, whole numbers of length 255",
    input="short side 300, luma",
    code_licence="Apache-2.0 (OpenCV)",
    requires=("cv2",),
    install=_SIFT_INSTALL,
    paper="https://github.com/sun-xl/ISC2021",
    selection="not stated of the published thresholds; the authors' slides compare variants on phase 1, half not named",
    track="matching",
    family=FAMILY,
)

WHOLE_CARD = replace(
    CARD,
    name="esvitp-sift",
    title="EsViTp",
    description=(
        "The submitted system: the nearest reference by the global descriptor, and what the keypoints of the query and "
        "of its cut-out recall, every pair scored by keypoint matches, scores of the lists added. Its two overlay "
        "detectors are replaced by the user's detections, its SIFT by OpenCV's. The weights of the global descriptor "
        "were never published."
    ),
    dimension=0,
    metric="ip",
    postprocessing=f"{CARD.postprocessing}; keypoints: {_KEYPOINTS}; {SIFT_CARD.postprocessing}",
    input="224 x 224 RGB; short side 300, luma",
    requires=(*CARD.requires, "cv2"),
    install='".[baselines,sift]" in a clone of ndec-bench',
    expected=(
        Expected(
            "disc21-final",
            "micro_ap",
            0.7682,
            "drivendataorg/image-similarity-challenge",
            protocol="drivendata",
            detections=True,
        ),
        Expected(
            "disc21-final",
            "recall_at_p90",
            0.672,
            "eddielyc/CopyNCE assets/poster.png (imgFp)",
            protocol="drivendata",
            detections=True,
        ),
    ),
    track="matching",
)


def preprocess(image: Image.Image) -> torch.Tensor:
    """Return the image as a (3, 224, 224) float32 tensor, resized with Pillow BICUBIC, normalised as for ImageNet."""
    from PIL import Image as PillowImage

    from ndec_baselines.esvitp.network import SIDE
    from ndec_baselines.networks.pixels import normalised, square

    return normalised(square(image, SIDE, PillowImage.Resampling.BICUBIC))


def _load_global(weights: LocalWeights | None, device: str) -> TorchBaseline:
    from ndec_baselines.esvitp.network import load_network
    from ndec_baselines.networks.inference import TorchBaseline

    if weights is None:
        raise DataError(f"baseline {CARD.name} needs weights", hint="give your file with --weights FILE")
    return TorchBaseline(
        CARD,
        load_network(weights.only),
        preprocess,
        device=device,
        micro_batch=MICRO_BATCH,
        weights_sha256=weights.sha256,
    )


def _load_whole(weights: LocalWeights | None, device: str) -> KeypointMatcher:
    from ndec_baselines.esvitp.matching import KeypointMatcher

    return KeypointMatcher(WHOLE_CARD, _load_global(weights, device))


def _load_sift(weights: LocalWeights | None, device: str) -> KeypointMatcher:
    from ndec_baselines.esvitp.matching import KeypointMatcher
    from ndec_baselines.methods.thumbnail import check_cpu

    check_cpu(SIFT_CARD.name, device)
    return KeypointMatcher(SIFT_CARD)


BASELINES = {
    CARD.name: Registration(CARD, _load_global, choose_box=global_box),
    WHOLE_CARD.name: Registration(WHOLE_CARD, _load_whole, choose_box=global_box),
    SIFT_CARD.name: Registration(SIFT_CARD, _load_sift),
}
