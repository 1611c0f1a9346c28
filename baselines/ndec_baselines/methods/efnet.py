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
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from ndec_baselines.cards import model_cards, registrations
from ndec_baselines.networks.checkpoints import filled, read_checkpoint, state_dict_in
from ndec_baselines.networks.inference import TorchBaseline, in_one_row, out_of_row
from ndec_baselines.networks.pixels import square
from ndec_baselines.networks.pooling import LearnedGeM
from ndec_baselines.networks.torchvision_import import import_torchvision
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ndec_baselines.base import LocalWeights, ModelCard
    from ndec_baselines.networks.checkpoints import State

MICRO_BATCH = 1
MEAN = (123.675, 116.28, 103.53)
DEVIATION = (58.395, 57.12, 57.375)
JPEG_QUALITY, JPEG_SUBSAMPLING = 75, "4:2:0"
"""What Pillow writes by default, as the published code lets it."""


@dataclass(frozen=True)
class Member:
    """One network of the ensemble.

    Attributes
    ----------
    trunk
        timm's name of the network.
    stored, side
        Side of the JPEG file and of the network's input, in pixels.
    paired
        Whether it is of the older class, which has its weights under ``ref_`` and again under ``qry_``, and whose
        linear layer has a bias.
    """

    trunk: str
    stored: int = 384
    side: int = 160
    paired: bool = False


MEMBERS = {
    "efnet-1": Member("tf_efficientnetv2_l", stored=512, side=512, paired=True),
    "efnet-2": Member("efficientnetv2_rw_s", side=224, paired=True),
    "efnet-3": Member("efficientnetv2_rw_s"),
    "efnet-4": Member("eca_nfnet_l1"),
    "efnet-5": Member("eca_nfnet_l1"),
    "efnet-6": Member("eca_nfnet_l1"),
    "efnet-7": Member("efficientnet_b4"),
    "efnet-8": Member("eca_nfnet_l2"),
}
"""In the order in which the ensemble joins them (submissions_v9.ipynb, cells 7 to 51); their files are in the cards."""

CALLBACKS = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "model_checkpoint.ModelCheckpoint",
)
"""Classes that PyTorch-Lightning up to 1.4 writes as keys of a checkpoint's ``callbacks`` (trainer/callback_hook.py):
its own, and the changed copy (``modules/model_checkpoint.py``) that the published modules import."""

CLASSES = "criterion.kernel"
"""The matrix of training classes, up to 2 GB, of no use to a descriptor; the files named LIGHT are without."""

SHORTEST = 1e-6


class NearlyUnitLength(nn.Module):
    """Rows divided by their norm plus 1e-6, so a little shorter than one (Facebook_AF_model_v25.py 1073-1083)."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows (n, d), scaled."""
        norms: torch.Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        return rows / (norms + SHORTEST)


class MemberNet(nn.Module):
    """One network: maps images (n, 3, side, side) to (n, dimension). Names of layers are those of the checkpoints.

    Facebook_AF_model_v25.py 1009-1039 and 1687-1849, Facebook_model_v20.py 1156-1246: the whole classifier without its
    last layer, its pooling replaced; necks "A" (with bias) and "F" (without).
    """

    def __init__(self, member: Member, dimension: int) -> None:
        super().__init__()
        import_torchvision()  # timm imports it too, and has no remedy next to a CPU-only torch
        import timm

        trunk: Any = timm.create_model(member.trunk, pretrained=False, num_classes=0)
        holder = trunk if hasattr(trunk, "global_pool") else trunk.head
        holder.global_pool = LearnedGeM()
        linear = nn.Linear(trunk.num_features, dimension, bias=member.paired)
        self.backbone = nn.Sequential(trunk, linear, NearlyUnitLength())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the descriptors of ``images``."""
        descriptors: torch.Tensor = self.backbone(images)
        return descriptors


class EnsembleNet(nn.Module):
    """Several networks side by side: maps rows of all their inputs (n, total) to their joined descriptors.

    A row holds one image per side in ``sides``, as `ndec_baselines.networks.inference.in_one_row` joins them; each
    network takes the one of its own side.
    """

    def __init__(self, networks: Sequence[nn.Module], sides: Sequence[int]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.sides = tuple(sides)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the joined descriptors (n, sum of dimensions)."""
        distinct = tuple(dict.fromkeys(self.sides))
        inputs = dict(zip(distinct, out_of_row(rows, [(3, side, side) for side in distinct]), strict=True))
        return torch.cat([network(inputs[side]) for network, side in zip(self.networks, self.sides, strict=True)], 1)


def load_member(path: Path, name: str) -> MemberNet:
    """Return the network of the member ``name`` with the weights in ``path``.

    Raises
    ------
    DataError
        If the file is not such a checkpoint, lacks keys or has others than `CLASSES`, or its two networks differ.
    """
    member = MEMBERS[name]
    state = state_dict_in(path, read_checkpoint(path, inert=CALLBACKS), "state_dict")
    if member.paired:
        state = _one_of_two(path, state)
    make = partial(MemberNet, member, model_cards()[name].dimension)
    return filled(path, make, state, drop=lambda name: name == CLASSES)


def _one_of_two(path: Path, state: State) -> State:
    """Return ``state`` with the network that it holds twice once, under the names of `MemberNet`.

    The older class has one module under two names (Facebook_model_v20.py 1184-1220); the published descriptors are
    those of ``qry_``.
    """
    references = {name.removeprefix("ref_"): value for name, value in state.items() if name.startswith("ref_")}
    queries = {name.removeprefix("qry_"): value for name, value in state.items() if name.startswith("qry_")}
    different = sorted(
        name
        for name in references.keys() | queries.keys()
        if name not in references or name not in queries or not torch.equal(references[name], queries[name])
    )
    if different:
        raise DataError(
            f"{path}: {len(different)} weights differ between ref_ and qry_, or are in one of them only; the first "
            f"is {different[0]}",
            hint="give the published file",
        )
    rest = {name: value for name, value in state.items() if not name.startswith(("ref_", "qry_"))}
    return {_new_name(name): value for name, value in queries.items()} | rest


def _new_name(name: str) -> str:
    for old, new in (("backbone.", "backbone.0."), ("neck.0.", "backbone.1.")):
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def stored_copy(image: Image.Image, side: int) -> Image.Image:
    """Return the image at ``side`` x ``side`` after it was a JPEG file, as the published data set holds it.

    AugsDS_v13.py 127-140: Pillow's default filter, bicubic since 7.0, and the defaults of its JPEG writer.
    """
    file = BytesIO()
    square(image, side, Image.Resampling.BICUBIC).save(file, "JPEG", quality=JPEG_QUALITY, subsampling=JPEG_SUBSAMPLING)
    return Image.open(file)


def network_input(stored: Image.Image, side: int) -> torch.Tensor:
    """Return an image of the data set as (3, side, side) float32, resized only if it has another size.

    AugsDS_v13.py 1052-1086 and 1377-1393. The resize is AugLy's, which named no filter until 2021-10 (0.1.10), so it is
    Pillow's bicubic; later releases of AugLy name bilinear. Subtraction and multiplication are float32, in this order.
    """
    import torch

    small = stored if stored.size == (side, side) else square(stored, side, Image.Resampling.BICUBIC)
    values = np.asarray(small, dtype=np.float32) - np.array(MEAN, np.float32)
    values *= np.reciprocal(np.array(DEVIATION, np.float32))
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))


def preprocess(image: Image.Image, member: Member) -> torch.Tensor:
    """Return the input of one member, (3, side, side) float32."""
    return network_input(stored_copy(image, member.stored), member.side)


def preprocess_all(image: Image.Image) -> torch.Tensor:
    """Return the inputs of all members in one row, each size once: 512, 224 and 160, 1,013,760 float32 numbers."""
    stored_sides = {member.side: member.stored for member in MEMBERS.values()}
    copies = {stored: stored_copy(image, stored) for stored in stored_sides.values()}
    return in_one_row([network_input(copies[stored], side) for side, stored in stored_sides.items()])


def load(card: ModelCard, weights: LocalWeights, device: str) -> TorchBaseline:
    """Return the ensemble or one member on ``device``."""
    if card.name in MEMBERS:
        model: nn.Module = load_member(weights.only, card.name)
        prepare = partial(preprocess, member=MEMBERS[card.name])
    else:
        paths = [weights.paths[file.name] for file in card.weights.files] if card.weights else []
        model = EnsembleNet(
            [load_member(path, name) for path, name in zip(paths, MEMBERS, strict=True)],
            [member.side for member in MEMBERS.values()],
        )
        prepare = partial(preprocess_all)
    return TorchBaseline(card, model, prepare, device=device, micro_batch=MICRO_BATCH, weights=weights)


BASELINES = registrations("efnet", load)
