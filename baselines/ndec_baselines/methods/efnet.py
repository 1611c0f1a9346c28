"""``efnet``: eight networks of the second of the Image Similarity Challenge's descriptor track, joined; and each alone.

Papadakis and Addicam, "Producing augmentation-invariant embeddings from real-life imagery", 2021,
https://arxiv.org/abs/2112.03415; code and weights: socom20/facebook-image-similarity-challenge-2021, read at bf42262.
Line numbers below are of its ``modules/``. An image passes through a small JPEG file before it meets a network, as it
did in their data set of resized images; the loss is part of the method.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Literal

from ndec_baselines.base import Card, Expected, Preprocessing, Registration, Weights, WeightsFile
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from PIL import Image

    from ndec_baselines.base import LocalWeights
    from ndec_baselines.networks.inference import TorchBaseline

MICRO_BATCH = 1
MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)
JPEG_QUALITY, JPEG_SUBSAMPLING = 75, "4:2:0"
"""What Pillow writes when told nothing, which is what the published code tells it."""


@dataclass(frozen=True)
class Member:
    """One network of the ensemble.

    Attributes
    ----------
    file
        Published checkpoint, by its path under the folder ``checkpoints`` of the published code.
    trunk
        timm's name of the network.
    dimension
        Components of its descriptor.
    stored, side
        Side of the JPEG file and of the network's input, in pixels.
    paired
        Whether it is of the older class, which has its weights under ``ref_`` and again under ``qry_``, and whose
        linear layer has a bias.
    parameters, gflops
        As `Card` has them, the second to three digits.
    classes
        Images it was trained on, each a class: ``disc21``, or ``disc21+imagenet``.
    micro_ap, recall_at_p90
        Published for the public half of phase 1, phase2_scripts/submissions_v9.ipynb.
    cell
        Where in that notebook, counted from 0.
    """

    file: str
    trunk: str
    dimension: int
    stored: int
    side: int
    paired: bool
    parameters: int
    gflops: float
    classes: Literal["disc21", "disc21+imagenet"]
    micro_ap: float
    recall_at_p90: float
    cell: int


MEMBERS = {
    "efnet-1": Member(
        file="sjy_test5/FacebookModel_Eepoch=51_TLtrn_loss_epoch=0.8669_TAtrn_acc_epoch=0.9914_"
        "VLval_loss_epoch=0.4390_VAval_acc_epoch=0.9930.ckpt",
        trunk="tf_efficientnetv2_l",
        dimension=512,
        stored=512,
        side=512,
        paired=True,
        parameters=117_890_145,
        gflops=63.802,
        classes="disc21",
        micro_ap=0.6362327,
        recall_at_p90=0.5257463,
        cell=9,
    ),
    "efnet-2": Member(
        file="smp_test19/FacebookModel_Eepoch=67_TLtrn_loss_epoch=0.9913_TAtrn_acc_epoch=0.0000_"
        "VLval_loss_epoch=0.4815_VAval_acc_epoch=0.9893.ckpt",
        trunk="efficientnetv2_rw_s",
        dimension=384,
        stored=384,
        side=224,
        paired=True,
        parameters=22_836_809,
        gflops=2.943,
        classes="disc21+imagenet",
        micro_ap=0.6378111,
        recall_at_p90=0.5223402,
        cell=12,
    ),
    "efnet-3": Member(
        file="smp_test24/FacebookModel_epoch=79_trn_loss_epoch=0.6660_trn_acc_epoch=0.0000_"
        "val_loss_epoch=0.3122_val_acc_epoch=0.9937.ckpt",
        trunk="efficientnetv2_rw_s",
        dimension=384,
        stored=384,
        side=160,
        paired=False,
        parameters=22_836_425,
        gflops=1.504,
        classes="disc21",
        micro_ap=0.6523855,
        recall_at_p90=0.5371669,
        cell=18,
    ),
    "efnet-4": Member(
        file="smp_test25/FacebookModel_epoch=16_trn_loss_epoch=0.9023_trn_acc_epoch=0.0000_"
        "val_loss_epoch=0.4303_val_acc_epoch=0.9911.ckpt",
        trunk="eca_nfnet_l1",
        dimension=384,
        stored=384,
        side=160,
        paired=False,
        parameters=39_514_377,
        gflops=3.683,
        classes="disc21+imagenet",
        micro_ap=0.6642483,
        recall_at_p90=0.5547986,
        cell=21,
    ),
    "efnet-5": Member(
        file="smp_test25/FacebookModel_epoch=14_trn_loss_epoch=0.8997_trn_acc_epoch=0.0000_"
        "val_loss_epoch=0.4437_val_acc_epoch=0.9912.ckpt",
        trunk="eca_nfnet_l1",
        dimension=384,
        stored=384,
        side=160,
        paired=False,
        parameters=39_514_377,
        gflops=3.683,
        classes="disc21+imagenet",
        micro_ap=0.6640665,
        recall_at_p90=0.5457824,
        cell=23,
    ),
    "efnet-6": Member(
        file="smp_test26/1.5M/FacebookModel_epoch=17_trn_loss_epoch=0.9250_trn_acc_epoch=0.0000_"
        "val_loss_epoch=0.4375_val_acc_epoch=0.9919_LIGHT.ckpt",
        trunk="eca_nfnet_l1",
        dimension=256,
        stored=384,
        side=160,
        paired=False,
        parameters=39_121_161,
        gflops=3.683,
        classes="disc21+imagenet",
        micro_ap=0.6607162,
        recall_at_p90=0.5487878,
        cell=28,
    ),
    "efnet-7": Member(
        file="sjy_test9/epoch=9-step=42649_LIGHT.ckpt",
        trunk="efficientnet_b4",
        dimension=256,
        stored=384,
        side=160,
        paired=False,
        parameters=18_007_369,
        gflops=0.768,
        classes="disc21+imagenet",
        micro_ap=0.6516177,
        recall_at_p90=0.5551994,
        cell=39,
    ),
    "efnet-8": Member(
        file="sjy_test10/epoch=37-step=161955_LIGHT.ckpt",
        trunk="eca_nfnet_l2",
        dimension=256,
        stored=384,
        side=160,
        paired=False,
        parameters=54_435_781,
        gflops=5.171,
        classes="disc21+imagenet",
        micro_ap=0.6640340,
        recall_at_p90=0.5503907,
        cell=44,
    ),
}
"""In the order in which the ensemble joins them (submissions_v9.ipynb, cells 7 to 51)."""

WHITENING = ("pca:dim=256,whiten=yes", "l2")
STEPS = (*WHITENING, "shift:neighbours=100,nearest=3,factor=1.8")
"""submissions_v9.ipynb, cells 56 to 70: fitted on the training images, which the background of a split stands for."""

_FOLDER = "https://drive.google.com/drive/folders/1MnTm7OIPYuMMuc_uij7_bvT7_8NCxP-o"
_NOTEBOOK = "socom20/facebook-image-similarity-challenge-2021 phase2_scripts/submissions_v9.ipynb"
_FINAL = "drivendataorg/image-similarity-challenge README; R@P90 from the poster of eddielyc/CopyNCE"


def _published(
    micro_ap: float, recall_at_p90: float, source: str, *, split: str = "disc21-dev1", steps: tuple[str, ...] | None
) -> tuple[Expected, ...]:
    return (
        Expected(split, "micro_ap", micro_ap, source, protocol="drivendata", steps=steps),
        Expected(split, "recall_at_p90", recall_at_p90, source, protocol="drivendata", steps=steps),
    )


def _card(
    name: str,
    members: tuple[Member, ...],
    *,
    title: str,
    description: str,
    size: str,
    input_words: str,
    trained: str,
    selected: str,
    expected: tuple[Expected, ...],
    steps: tuple[str, ...] = (),
) -> Card:
    pooled = "GeM with a learned power (floor 1e-6), linear layer, divided by (L2 norm + 1e-6)"
    return Card(
        name=name,
        version="1",
        title=title,
        description=description,
        dimension=sum(member.dimension for member in members),
        metric="l2",
        preprocessing=Preprocessing(
            size=size,
            filter="Pillow BICUBIC (antialiased) both times",
            colour="RGB",
            normalisation=f"minus {MEAN}, times the reciprocals of {DEVIATION}",
        ),
        postprocessing=pooled if len(members) == 1 else f"each: {pooled}; joined in order, weights 1",
        input=input_words,
        code_licence="Apache-2.0; timm Apache-2.0",
        weights=Weights(
            files=tuple(WeightsFile(name=member.file, source=_FOLDER) for member in members),
            instruction=(
                f"the checkpoints in {_FOLDER}, in their folders, with --weights FOLDER"
                + (" (or --weights FILE)" if len(members) == 1 else "")
            ),
            licence="MIT (repository)",
            commercial_use="unclear",
            trained_on=trained,
            train_images=("disc21-train", "imagenet", "ndec-queries", "other"),
            labels_used=("none",),
            reference_images_in_training="none",
            ndec_pairs="no",
            external_data="yes",
            container="PyTorch-Lightning checkpoint",
        ),
        requires=("torch", "torchvision", "timm"),
        parameters=sum(member.parameters for member in members),
        gflops=round(sum(member.gflops for member in members), 1),
        paper="https://arxiv.org/abs/2112.03415",
        selected_on=("dev1",),
        selection=selected,
        expected=expected,
        steps=steps,
        family="efnet",
    )


def _as_jpeg(sides: str) -> str:
    return (
        f"{sides}, aspect ratio not kept; written as JPEG (quality {JPEG_QUALITY}, {JPEG_SUBSAMPLING}) and read again"
    )


def _member_card(name: str, member: Member) -> Card:
    images = "DISC21 training images" if member.classes == "disc21" else "DISC21 training images and ImageNet images"
    return _card(
        name,
        (member,),
        title=f"EfNet, member {name.removeprefix('efnet-')} ({member.trunk})",
        description=(
            f"One of the eight networks of efnet, {member.trunk}: every training image was a class of its own, told "
            "from the edited copies of others with the ArcFace loss."
        ),
        size=_as_jpeg(f"{member.stored} x {member.stored}")
        + ("" if member.side == member.stored else f"; then {member.side} x {member.side}"),
        input_words=f"{member.side} x {member.side} RGB",
        trained=f"{images}, each image a class; {_FRAMES}",
        selected="dev I (which epoch)",
        expected=_published(member.micro_ap, member.recall_at_p90, f"{_NOTEBOOK} cell {member.cell}", steps=None),
    )


_FRAMES = (
    "frames cut from phase-1 queries, half of which are queries of NDEC too, are laid around some of them; trunks "
    "began from ImageNet classes"
)
"""Which queries: ``FB_page_qry/FB_queries.txt`` of the published code lists numbers from 63 to 49905, NDEC's begin at
25000."""

CARDS = {
    "efnet": _card(
        "efnet",
        tuple(MEMBERS.values()),
        title="EfNet (ISC 2021 descriptor track, 2nd)",
        description=(
            "Eight networks (EfficientNetV2-L and -S, EfficientNet-B4, ECA-NFNet-L1 and -L2), each trained to tell "
            "every training image from all others under edits; their unit vectors are joined, PCA-whitened to 256 "
            "numbers on background images, and every query is moved away from its nearest background images."
        ),
        size=_as_jpeg("512 x 512 (network 1) and 384 x 384 (the others)")
        + "; then 224 x 224 (network 2) and 160 x 160 (3 to 8)",
        input_words="512, 224 and 160 square RGB",
        trained=f"DISC21 training images and (six of the eight) ImageNet images, each image a class; {_FRAMES}",
        selected="dev I (members, epochs, settings of the shift)",
        expected=(
            *_published(0.6868762, 0.5742336, f"{_NOTEBOOK} cell 60", steps=WHITENING),
            *_published(0.7266759, 0.6521739, f"{_NOTEBOOK} cell 73", steps=None),
            *_published(0.5905, 0.509, _FINAL, split="disc21-final", steps=None),
        ),
        steps=STEPS,
    ),
    **{name: _member_card(name, member) for name, member in MEMBERS.items()},
}


def stored_copy(image: Image.Image, side: int) -> Image.Image:
    """Return the image at ``side`` x ``side`` after it was a JPEG file, as the published data set holds it.

    AugsDS_v13.py 127-140: Pillow's default filter, bicubic since 7.0, and the defaults of its JPEG writer.
    """
    from PIL import Image as PillowImage

    from ndec_baselines.networks.pixels import square

    file = BytesIO()
    square(image, side, PillowImage.Resampling.BICUBIC).save(
        file, "JPEG", quality=JPEG_QUALITY, subsampling=JPEG_SUBSAMPLING
    )
    return PillowImage.open(file)


def network_input(stored: Image.Image, side: int) -> torch.Tensor:
    """Return an image of the data set as (3, side, side) float32, resized only if it has another size.

    AugsDS_v13.py 1052-1086 and 1377-1393. The resize is AugLy's, which named no filter until 2021-10 (0.1.10), so it is
    Pillow's bicubic; later releases of AugLy name bilinear. Subtraction and multiplication are float32, in this order.
    """
    import numpy as np
    import torch
    from PIL import Image as PillowImage

    from ndec_baselines.networks.pixels import square

    small = stored if stored.size == (side, side) else square(stored, side, PillowImage.Resampling.BICUBIC)
    values = np.asarray(small, dtype=np.float32) - np.array(MEAN, np.float32)
    values *= np.reciprocal(np.array(DEVIATION, np.float32))
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))


def preprocess(image: Image.Image, member: Member) -> torch.Tensor:
    """Return the input of one member, (3, side, side) float32."""
    return network_input(stored_copy(image, member.stored), member.side)


def preprocess_all(image: Image.Image) -> torch.Tensor:
    """Return the inputs of all members in one row, each size once: 512, 224 and 160, 1,013,760 float32 numbers."""
    from ndec_baselines.networks.inference import in_one_row

    stored_sides = {member.side: member.stored for member in MEMBERS.values()}
    copies = {stored: stored_copy(image, stored) for stored in stored_sides.values()}
    return in_one_row([network_input(copies[stored], side) for side, stored in stored_sides.items()])


def _load(weights: LocalWeights | None, device: str, *, name: str) -> TorchBaseline:
    from ndec_baselines.networks.efnet_net import EnsembleNet, load_member
    from ndec_baselines.networks.inference import TorchBaseline

    if weights is None:
        raise DataError(f"baseline {name} needs its weights", hint="give them with --weights")
    model: torch.nn.Module
    prepare: Callable[[Image.Image], torch.Tensor]
    if name in MEMBERS:
        member = MEMBERS[name]
        model, prepare = load_member(weights.only, member), partial(preprocess, member=member)
    else:
        members = MEMBERS.values()
        model = EnsembleNet(
            [load_member(weights.paths[member.file], member) for member in members],
            [member.side for member in members],
        )
        prepare = preprocess_all
    return TorchBaseline(
        CARDS[name], model, prepare, device=device, micro_batch=MICRO_BATCH, weights_sha256=weights.sha256
    )


BASELINES = {name: Registration(card, partial(_load, name=name)) for name, card in CARDS.items()}
