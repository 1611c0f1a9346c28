"""The contract of a baseline: what it says about itself, and what it does with images.

A baseline is registered as a `Registration`: a `Card` of facts, which can be read without importing the model's
libraries, and a function that loads the model. A loaded baseline (`Baseline`) preprocesses one image and describes a
batch; `ndec_baselines.extract` does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL import Image

    ModelInput = NDArray[Any] | torch.Tensor


@dataclass(frozen=True)
class Preprocessing:
    """What happens to an image before the model, exactly enough to repeat it.

    Attributes
    ----------
    size
        Size of the model's input and how the aspect ratio is treated.
    filter
        Resampling filter, by library and name.
    colour
        Colour space and order of conversion.
    normalisation
        From stored values to the model's input.
    exif
        Whether the EXIF orientation is applied. Images reach a baseline as `ndec_bench.data.images.read_image`
        decodes them, so this is a statement, not a setting.
    """

    size: str
    filter: str
    colour: str
    normalisation: str
    exif: str = "orientation not applied"

    def __str__(self) -> str:
        parts = (self.colour, f"{self.size}, {self.filter}", self.normalisation, f"EXIF {self.exif}")
        return "; ".join(parts)


@dataclass(frozen=True)
class Weights:
    """A file of trained numbers: where it comes from and what may be done with it.

    Attributes
    ----------
    file
        Name of the published file.
    source
        Where to get it, as an instruction.
    size
        Bytes.
    sha256
        SHA-256 (hex); a file with another digest is refused. None where no digest is known.
    licence
        SPDX name of the licence of the weights.
    commercial_use
        Whether that licence allows commercial use.
    trained_on
        Images and labels that formed the weights.
    """

    file: str
    source: str
    size: int
    sha256: str | None
    licence: str
    commercial_use: Literal["yes", "no", "unclear"]
    trained_on: str


@dataclass(frozen=True)
class Expected:
    """A published result of a baseline: which number on which split, and where it stands."""

    split: str
    metric: str
    value: float
    source: str


@dataclass(frozen=True)
class Card:
    """What a baseline says about itself.

    Attributes
    ----------
    name
        Name for the command line; lower case letters, digits, ``-`` and ``_``.
    version
        Raised whenever the same image would get another descriptor.
    title, description
        Name in tables, and one paragraph: how an image becomes a descriptor.
    dimension
        Components of a descriptor.
    metric
        ``l2`` (score is the negated squared distance) or ``ip`` (inner product).
    preprocessing
        From the decoded image to the model's input.
    postprocessing
        From the model's output to the descriptor.
    input
        Model input in a few characters, for tables.
    code_licence
        SPDX name of the licence of the code.
    weights
        None where nothing is learned.
    requires
        Packages beyond those of ndec-bench, by their import name, which is also the name of the distribution.
    install
        Arguments of ``pip install`` that bring them.
    parameters
        Learned numbers in the model.
    paper
        Address of the paper that describes the method.
    selected_on
        Data whose scores were looked at when settings were chosen; a result on them flatters the method.
    expected
        Published results.
    """

    name: str
    version: str
    title: str
    description: str
    dimension: int
    metric: Literal["l2", "ip"]
    preprocessing: Preprocessing
    postprocessing: str
    input: str
    code_licence: str
    weights: Weights | None = None
    requires: tuple[str, ...] = ()
    install: str = '".[baselines]" in a clone of ndec-bench'
    parameters: int = 0
    paper: str | None = None
    selected_on: str = "none"
    expected: tuple[Expected, ...] = ()


@dataclass(frozen=True)
class Described:
    """Descriptors of a batch.

    Attributes
    ----------
    vectors
        (n, d) float32, C order.
    norms
        (n,) float32 feature norms for asymmetric similarity, or None.
    """

    vectors: NDArray[np.float32]
    norms: NDArray[np.float32] | None = None


class Baseline(Protocol):
    """A loaded baseline. Both methods may be called from several threads at once.

    The descriptor of an image depends on that image alone: not on the other images of the batch, its place among
    them, their number, or the number of threads. On the CPU this holds to the bit on one machine and library version.
    """

    @property
    def card(self) -> Card:
        """Return what the baseline says about itself."""

    @property
    def device(self) -> str:
        """Return where the model runs: ``cpu`` or ``cuda``."""

    @property
    def weights_sha256(self) -> str | None:
        """Return the SHA-256 (hex) of the weights file in use; None without weights."""

    def preprocess(self, image: Image.Image) -> ModelInput:
        """Return the model's input for one RGB image, of fixed shape, without batch axis; on the CPU."""

    def describe(self, batch: ModelInput) -> Described:
        """Return the descriptors of a batch: preprocessed images stacked along a first axis, as array or tensor."""


class Loader(Protocol):
    """Loads a baseline from its weights onto a device."""

    def __call__(self, weights: Path | None, device: str) -> Baseline:
        """Return the loaded baseline. ``weights`` is None if none were given; ``device`` is auto, cpu or cuda."""


@dataclass(frozen=True)
class Registration:
    """A baseline as it is registered, in `ndec_baselines.BASELINES` or by an entry point."""

    card: Card
    loader: Loader


def recipe(baseline: Baseline) -> Mapping[str, str]:
    """Return the choices behind a baseline's descriptors as text, by name: the attributes of a descriptor file.

    What may differ between two runs with equal descriptors (versions, device, speed) is not among them.
    """
    card = baseline.card
    texts = {
        "baseline": card.name,
        "baseline_version": card.version,
        "metric": card.metric,
        "preprocessing": str(card.preprocessing),
        "postprocessing": card.postprocessing,
    }
    if card.weights is not None:
        texts["weights"] = card.weights.file
    if baseline.weights_sha256 is not None:
        texts["weights_sha256"] = baseline.weights_sha256
    return texts
