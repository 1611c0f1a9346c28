"""The contract of a baseline: what it says about itself, and what it does with images.

A baseline is registered as a `Registration`: a `ModelCard` of facts, which can be read without importing the model's
libraries, and a function that loads the model. A loaded baseline (`Baseline`) preprocesses one image and describes a
batch; `ndec_baselines.describing.extract` does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import ConfigDict

from ndec_bench.errors import UsageError
from ndec_bench.progress import silent
from ndec_bench.submissions.card import Answer, Labels, References, Selection, TrainImages  # noqa: TC001 -- for pydantic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL import Image

    from ndec_baselines.describing.boxes import Box
    from ndec_bench.data.images import ImageSource
    from ndec_bench.matches import Matches
    from ndec_bench.progress import Progress

    ModelInput = NDArray[Any] | torch.Tensor
    Batch = ModelInput | Sequence[ModelInput]
    ChooseBox = Callable[[tuple[int, int], Sequence[Box]], tuple[float, float, float, float] | None]


_NO_OTHER_KEYS = ConfigDict(extra="forbid")  # where a record is read from cards.toml

Measure = Literal["micro_ap", "recall_at_p90", "recall_at_1", "recall_at_10"]
METRICS: tuple[Measure, ...] = ("micro_ap", "recall_at_p90", "recall_at_1", "recall_at_10")


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

    __pydantic_config__ = _NO_OTHER_KEYS

    size: str
    filter: str
    colour: str
    normalisation: str
    exif: str = "orientation not applied"

    def __str__(self) -> str:
        parts = (self.colour, f"{self.size}, {self.filter}", self.normalisation, f"EXIF {self.exif}")
        return "; ".join(parts)


@dataclass(frozen=True)
class WeightsFile:
    """One published file of trained numbers.

    Attributes
    ----------
    name
        Name of the published file.
    source
        Where it is published: an http(s) address, or ``gdrive:ID`` for a file on Google Drive.
    size
        Bytes; None where nobody has stated them.
    sha256
        SHA-256 (hex); a file with another digest is refused. None where no digest is known.
    """

    __pydantic_config__ = _NO_OTHER_KEYS

    name: str
    source: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Weights:
    """Trained numbers: the files, where they come from, and what may be done with them.

    Attributes
    ----------
    files
        All files the baseline needs, at least one.
    instruction
        How to get them, for people.
    licence
        SPDX name of the licence of the weights, or what is known of it.
    commercial_use
        Whether that licence allows commercial use.
    trained_on
        Images and labels that formed the weights, in a sentence.
    train_images, labels_used, reference_images_in_training, ndec_pairs, external_data
        The same as `ndec_bench.submissions.card.Declarations` names it; unknown where the source is silent.
    container
        What the file is, in a few words: ``state dict``, ``TorchScript``, ``PyTorch-Lightning checkpoint``.
    runs_code
        Whether loading the file can run code in it (TorchScript). Such a file is opened only if its digest is pinned
        here or given by the user.
    published
        Whether the authors published the files at all; if not, ``source`` is empty and a user's own file is taken.
    """

    __pydantic_config__ = _NO_OTHER_KEYS

    files: tuple[WeightsFile, ...]
    instruction: str
    licence: str
    commercial_use: Literal["yes", "no", "unclear"]
    trained_on: str
    train_images: tuple[TrainImages, ...] = ("unknown",)
    labels_used: tuple[Labels, ...] = ("unknown",)
    reference_images_in_training: References = "unknown"
    ndec_pairs: Answer = "unknown"
    external_data: Answer = "unknown"
    container: str = "state dict"
    runs_code: bool = False
    published: bool = True


@dataclass(frozen=True)
class Expected:
    """A published result of a baseline: a number on a split, and where it was published.

    Attributes
    ----------
    split
        Name of the split, for example ``disc21-dev1``.
    metric
        ``micro_ap``, ``recall_at_p90``, ``recall_at_1`` or ``recall_at_10``.
    value
        As a share of 1.
    source
        Where it was read.
    protocol
        Rules it was scored under: ``ndec-1``, or an entry of the protocol card (``isc2021``, ``drivendata``, ``sscd``).
    score_norm
        Normalisation of that protocol's score, ``none`` or a name of the protocol card.
    steps
        Post-processing behind the number, as `ModelCard.steps`; None for that of the card.
    detections
        Whether a detector looked at the queries first, whose finds the user brings.
    """

    __pydantic_config__ = _NO_OTHER_KEYS

    split: str
    metric: Measure
    value: float
    source: str
    protocol: str = "ndec-1"
    score_norm: str = "none"
    steps: tuple[str, ...] | None = None
    detections: bool = False


@dataclass(frozen=True)
class ModelCard:
    """What a baseline says about itself. The cards of this package are in ``cards.toml``.

    Attributes
    ----------
    name
        Name for the command line; lower case letters, digits, ``-`` and ``_``.
    version
        Raised whenever the same image would get another descriptor.
    title, description
        Name in tables, and one paragraph: how an image becomes a descriptor.
    dimension
        Components of a descriptor as ``describe`` writes it, before `steps`; of a matcher, 0.
    metric
        ``l2`` (score is the negated squared distance) or ``ip`` (inner product).
    preprocessing
        From the decoded image to the model's input.
    postprocessing
        From the model's output to the descriptor as ``describe`` writes it.
    input
        Model input in a few characters, for tables.
    code_licence
        SPDX name of the licence of the code.
    weights
        None where nothing is learned.
    requires
        Packages beyond those of ndec-bench, by their import name.
    install
        Arguments of ``pip install`` that bring them.
    parameters
        Learned numbers in the model.
    gflops
        Billions of multiply-adds of the model per image; None where there is no such count.
    paper
        Address of the paper that describes the method.
    selected_on
        Data whose scores were looked at when settings were chosen, as `ndec_bench.submissions.card.Declarations` names
        them; a result on them flatters the method. Unknown where the source is silent.
    selection
        The same in a sentence; empty where there is nothing to say.
    query_independent
        Whether every score holds for its query and reference alone.
    expected
        Published results.
    steps
        Post-processing of the published system on descriptor files, in the grammar of ``ndec-bench postprocess``;
        ``ndec-bench run`` applies it. Steps that need background images take those of the split.
    track
        ``descriptor``: `describe` gives a vector per image. ``matching``: the system scores pairs; ``ndec-bench run``
        writes them, ``describe`` refuses.
    background
        Of a system that scores pairs: whether it takes the background images of the split. Steps say it themselves.
    family
        Name of the system that it is a variant of; the list of baselines has one row per system. None if it has none.
    hidden
        Whether lists leave it out: it is asked for as a parameter of its system (``d2lv:blur-cc-50``).
    never_run
        Whether the line from images to scores has never been run with the published weights.
    """

    __pydantic_config__ = _NO_OTHER_KEYS

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
    gflops: float | None = None
    paper: str | None = None
    selected_on: tuple[Selection, ...] = ("unknown",)
    selection: str = ""
    query_independent: Answer = "yes"
    expected: tuple[Expected, ...] = ()
    steps: tuple[str, ...] = ()
    track: Literal["descriptor", "matching"] = "descriptor"
    background: bool = False
    family: str | None = None
    hidden: bool = False
    never_run: bool = False


Card = ModelCard
"""The name of `ModelCard` in packages written for earlier versions."""


@dataclass(frozen=True)
class LocalWeights:
    """Weights files on this machine, their digests checked.

    Attributes
    ----------
    paths
        Published name to file, for every file of the card's `Weights`.
    sha256
        SHA-256 (hex): of a single file its own; of several, over the sorted lines ``name TAB sha256-of-file LF``.
    """

    paths: Mapping[str, Path]
    sha256: str

    @property
    def only(self) -> Path:
        """Return the path of the one file. Raises ValueError if there are several."""
        (path,) = self.paths.values()
        return path


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
    def card(self) -> ModelCard:
        """Return what the baseline says about itself."""

    @property
    def device(self) -> str:
        """Return where the model runs: ``cpu`` or ``cuda``."""

    @property
    def weights_sha256(self) -> str | None:
        """Return the SHA-256 (hex) of the weights file in use; None without weights."""

    def preprocess(self, image: Image.Image) -> ModelInput:
        """Return the model's input for one RGB image, of fixed shape, without batch axis; on the CPU."""

    def describe(self, batch: Batch) -> Described:
        """Return the descriptors of a batch: preprocessed images stacked along a first axis, or a list of them.

        A list is needed where a model takes images of different sizes.
        """


class Matcher(Protocol):
    """A loaded system of the matching track: it scores pairs of images and has no single descriptor."""

    @property
    def card(self) -> ModelCard:
        """Return what the system says about itself; its ``track`` is ``matching``."""

    @property
    def device(self) -> str:
        """Return where its models run: ``cpu`` or ``cuda``."""

    @property
    def weights_sha256(self) -> str | None:
        """Return the SHA-256 (hex) of the weights files in use; None without weights."""

    def match(
        self, images: SplitImages, work: Path, *, cap: int, workers: int | None = None, progress: Progress = silent
    ) -> Matches:
        """Return at most ``cap`` scored pairs, each of which holds for its query and reference alone.

        Descriptor files go into the folder ``work``; those that are there from the same recipe are used again.
        """


@dataclass(frozen=True)
class SplitImages:
    """The images of a split as a matcher needs them.

    Attributes
    ----------
    queries, references
        Both sides.
    background
        Images outside both; None where the split has none.
    detections
        What the user's detector found in queries, by id; empty where there was none.
    """

    queries: ImageSource
    references: ImageSource
    background: ImageSource | None = None
    detections: Mapping[str, Sequence[Box]] = field(default_factory=dict)


class Loader(Protocol):
    """Loads a baseline or matcher from its weights onto a device."""

    def __call__(self, weights: LocalWeights | None, device: str) -> Baseline | Matcher:
        """Return the loaded baseline; ``weights`` is None where the card names none, ``device`` auto, cpu or cuda."""


@dataclass(frozen=True)
class Registration:
    """A baseline as it is registered, in `ndec_baselines.BASELINES` or by an entry point.

    Attributes
    ----------
    card, loader
        What it says about itself, and what loads it.
    choose_box
        Of systems that cut a query to a detected overlay first: maps (width, height) of the stored image and its
        detections (`ndec_baselines.describing.boxes.Box`, in the detector's order) to the box (left, top, right,
        bottom) in pixels that replaces the image, or to None to keep it. The detections come from the user.
    """

    card: ModelCard
    loader: Loader
    choose_box: ChooseBox | None = None


def check_cpu(name: str, device: str) -> None:
    """Raise UsageError unless ``device`` lets the baseline ``name``, which knows no other, run on the CPU."""
    if device not in ("auto", "cpu"):
        raise UsageError(f"baseline {name} runs on the CPU only, not on {device!r}", hint="leave --device out")


def recipe(baseline: Baseline | Matcher) -> Mapping[str, str]:
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
        texts["weights"] = ", ".join(sorted(file.name for file in card.weights.files))
    if baseline.weights_sha256 is not None:
        texts["weights_sha256"] = baseline.weights_sha256
    precision = getattr(baseline, "precision", "float32")
    if precision != "float32":
        texts["precision"] = precision
    return texts
