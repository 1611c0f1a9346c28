"""The settings of a training run: a TOML file, checked before anything is read or trained."""

from __future__ import annotations

import hashlib
import tomllib
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ndec_bench.errors import UsageError, os_errors

if TYPE_CHECKING:
    from pathlib import Path

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1000)]
Count = Annotated[int, Field(ge=1, le=10_000_000)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Data(_Section):
    """What is trained on."""

    split: str = Field(description="Split whose training images are used: ndec, ndec-mini-1")
    every: Count = Field(default=1, description="Take each N-th training image, sorted by id; the published runs: 10")
    look_alikes: bool = Field(default=True, description="Add the hard-negative pairs of the split")
    held_out: Annotated[float, Field(ge=0, le=0.5)] = Field(
        default=0.1, description="Share of the originals that early stopping looks at; 0 for none"
    )


class Network(_Section):
    """What is trained."""

    backbone: Literal["mobilenetv2", "50", "152", "ibn"] = Field(
        description="50, 152, ibn: as BoT, D2LV; or mobilenetv2"
    )
    initial: str = Field(
        default="none",
        description="File of first weights (Barlow Twins, torchvision, another run), imagenet, or none",
    )
    side: Annotated[int, Field(ge=32, le=1024)] = Field(default=256, description="Side of the square input")
    hidden: Count = Field(default=4096, description="Width between the projector's layers")
    projected: Count = Field(default=8192, description="Width of the projector's output")
    frozen: Annotated[int, Field(ge=0, le=64)] = Field(default=0, description="First blocks left as they are")
    norm: Literal["projected", "pooled"] = Field(default="projected", description="Tensor whose norm tells direction")
    descriptor: Literal["projected", "pooled"] = Field(default="projected", description="Tensor that is searched")


class Losses(_Section):
    """Weights of the losses; 0 leaves one out."""

    classification: Weight = Field(default=10.0, description="Weight of cross-entropy over the originals")
    smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.1, description="Label smoothing of it")
    triplet: Weight = Field(default=1.0, description="Weight of batch-hard triplets of pooled features")
    norm_ratio: Weight = Field(default=1.0, description="Weight of the norm-ratio loss")
    sampled: bool = Field(default=False, description="One drawn pair per group, as published, in place of all")
    look_alikes: Weight = Field(default=1.0, description="Weight of triplets whose negatives are look-alikes")


class Batch(_Section):
    """How a batch is put together."""

    originals: Count = Field(default=32, description="Groups in a batch (P)")
    images: Annotated[int, Field(ge=2, le=64)] = Field(
        default=4, description="Images in a group (K), the original one of them"
    )
    pairs: Annotated[int, Field(ge=0)] = Field(default=8, description="Of the groups, this many pairs of look-alikes")
    sub_batch: Count = Field(default=32, description="Images that are normalised together")
    sums: Literal["float64", "float32"] = Field(
        default="float64", description="Precision in which sub-batches add up; in float32 the number of processes shows"
    )

    @property
    def size(self) -> int:
        """Return the number of images in a batch."""
        return self.originals * self.images

    @property
    def sub_batches(self) -> int:
        """Return the number of sub-batches."""
        return self.size // self.sub_batch

    @model_validator(mode="after")
    def _fits(self) -> Batch:
        if self.sub_batch % self.images or self.size % self.sub_batch:
            raise ValueError(
                f"sub_batch = {self.sub_batch} must be a multiple of images = {self.images} and divide "
                f"originals x images = {self.size}"
            )
        if 2 * self.pairs > self.originals:
            raise ValueError(f"pairs = {self.pairs} need {2 * self.pairs} groups, a batch has {self.originals}")
        return self


class Edits(_Section):
    """How copies are made while training (`ndec_bench.edits`)."""

    least: Annotated[int, Field(ge=1, le=8)] = Field(default=1, description="Fewest edits of a copy")
    most: Annotated[int, Field(ge=1, le=8)] = Field(default=4, description="Most edits of a copy")
    kinds: Literal["all", "ndec-mini"] = Field(default="all", description="Those of ndec-mini alone, or all there are")
    lowest_of: Annotated[int, Field(ge=1, le=8)] = Field(default=1, description="2 and more favour mild edits")
    scale: Literal["area", "content"] = Field(
        default="area", description="What the loss compares: remaining area, or also what other edits take away"
    )

    @model_validator(mode="after")
    def _in_order(self) -> Edits:
        if self.least > self.most:
            raise ValueError(f"least = {self.least} is above most = {self.most}")
        return self


class Schedule(_Section):
    """How long, how fast, how exact."""

    steps: Count = Field(description="Steps, at most")
    learning_rate: Annotated[float, Field(gt=0, le=10)] = Field(default=3.5e-4, description="The highest one, of Adam")
    head_factor: Annotated[float, Field(gt=0, le=1000)] = Field(
        default=1.0, description="The learning rate of projector and classifier over that of the trunk"
    )
    warm_up: Share = Field(default=0.2, description="Share of the steps with a rising learning rate; published 5 of 25")
    flat: Share = Field(default=0.2, description="Share of the steps after that with the full one; published 5 of 25")
    precision: Literal["float32", "float16", "bfloat16"] = Field(
        default="float32", description="Precision of the network; losses are float32"
    )
    checkpointing: bool = Field(default=False, description="Compute features again on the way back, for less memory")
    log_every: Count = Field(default=10, description="Steps between rows of the log")
    validate_every: Count = Field(default=100, description="Steps between looks at the part held out, and states kept")
    patience: Count = Field(default=10, description="Validations without a better one after which training stops")

    @model_validator(mode="after")
    def _fits(self) -> Schedule:
        if self.warm_up + self.flat > 1:
            raise ValueError(f"warm_up + flat = {self.warm_up + self.flat:g} is above 1")
        return self


class Config(_Section):
    """A training run."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(default=1, description="Seed of all that is drawn")
    data: Data
    network: Network
    losses: Losses = Losses()
    batch: Batch = Batch()
    edits: Edits = Edits()
    schedule: Schedule

    @property
    def sha256(self) -> str:
        """Return the digest (hex) of the settings that are not the defaults: a later one changes nothing."""
        return hashlib.sha256(self.model_dump_json(exclude_defaults=True).encode()).hexdigest()

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if self.batch.pairs and not self.data.look_alikes:
            raise ValueError("batch.pairs is above 0, but data.look_alikes is false; set one of them")
        return self


def read_config(path: Path, *, seed: int | None = None) -> Config:
    """Return the settings in the TOML file ``path``, with ``seed`` in place of the file's if given.

    Raises
    ------
    UsageError
        If the file cannot be read, is not TOML, or has an unknown, missing or impossible setting; all are named.
    """
    try:
        with os_errors(f"{path}: cannot be read", UsageError, hint="give a TOML file"):
            content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML ({error})", hint="see docs/asl.md for an example") from error
    if seed is not None:
        content["seed"] = seed
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        )
        raise UsageError(f"{path}: {said}", hint="see the settings in docs/asl.md") from error
