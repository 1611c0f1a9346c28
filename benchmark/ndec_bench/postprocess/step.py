"""What a post-processing step is: a frozen record, written as ``NAME:key=value,key=value``."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from ndec_bench.errors import SubmissionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ndec_bench.descriptors import VectorSource
    from ndec_bench.postprocess.workspace import Workspace
    from ndec_bench.protocol import Metric

Side = Literal["query", "reference", "background", "images"]
"""``images`` are those of a file that does not say which side they are of."""
PLURAL: Mapping[Side, str] = {
    "query": "queries",
    "reference": "references",
    "background": "background images",
    "images": "images",
}
SEPARATOR = " | "
"""Stands between steps in the attribute ``steps`` of a file."""


class Kind(Protocol):
    """What the values of a parameter may be, and how they are written."""

    @property
    def words(self) -> str:
        """Return what is expected, in words."""

    def parse(self, text: str) -> object:
        """Return the value that ``text`` stands for. Raises ValueError if it stands for none."""

    def accepts(self, value: object) -> bool:
        """Return whether ``value`` is such a value."""

    def shown(self, value: Any) -> str:  # noqa: ANN401 -- whatever `accepts` says yes to
        """Return ``value`` as `parse` reads it."""


@dataclass(frozen=True)
class Whole:
    """Whole numbers of at least ``least``."""

    least: int = 0

    @property
    def words(self) -> str:
        """Return what is expected, in words."""
        return f"a whole number of at least {self.least}"

    def parse(self, text: str) -> int:
        """Return the number. Raises ValueError."""
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise ValueError(text)
        return int(text)

    def accepts(self, value: object) -> bool:
        """Return whether ``value`` is such a number."""
        return isinstance(value, int) and not isinstance(value, bool) and value >= self.least

    def shown(self, value: int) -> str:
        """Return ``value`` as `parse` reads it."""
        return str(value)


@dataclass(frozen=True)
class Positive:
    """Finite numbers above zero."""

    words: ClassVar[str] = "a number above 0"

    def parse(self, text: str) -> float:
        """Return the number. Raises ValueError."""
        if not re.fullmatch(r"[0-9.]+(e[+-]?[0-9]+)?", text):
            raise ValueError(text)
        return float(text)

    def accepts(self, value: object) -> bool:
        """Return whether ``value`` is such a number."""
        return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 < value < math.inf

    def shown(self, value: float) -> str:
        """Return ``value`` as `parse` reads it, as short as tells it apart."""
        return repr(float(value)).removesuffix(".0")


@dataclass(frozen=True)
class YesNo:
    """``yes`` or ``no``; True or False in Python."""

    words: ClassVar[str] = "yes or no"

    def parse(self, text: str) -> bool:
        """Return the value. Raises ValueError."""
        if text not in ("yes", "no"):
            raise ValueError(text)
        return text == "yes"

    def accepts(self, value: object) -> bool:
        """Return whether ``value`` is True or False."""
        return isinstance(value, bool)

    def shown(self, value: bool) -> str:
        """Return ``value`` as `parse` reads it."""
        return "yes" if value else "no"


@dataclass(frozen=True)
class OneOf:
    """One of some words."""

    choices: tuple[str, ...]

    @property
    def words(self) -> str:
        """Return what is expected, in words."""
        return ", ".join(self.choices[:-1]) + f" or {self.choices[-1]}"

    def parse(self, text: str) -> str:
        """Return ``text``. Raises ValueError if it is none of the words."""
        if text not in self.choices:
            raise ValueError(text)
        return text

    def accepts(self, value: object) -> bool:
        """Return whether ``value`` is one of the words."""
        return value in self.choices

    def shown(self, value: str) -> str:
        """Return ``value`` itself."""
        return value


def parameter(kind: Kind, default: object = MISSING) -> Any:  # noqa: ANN401 -- as dataclasses.field
    """Return a dataclass field that holds values of ``kind``; without ``default`` it must be given."""
    if default is MISSING:
        return field(metadata={"kind": kind})
    return field(default=default, metadata={"kind": kind})


@dataclass(frozen=True)
class Step(ABC):
    """One step with its parameters. Equal steps make equal numbers.

    Attributes
    ----------
    name
        As it is written.
    about
        What it does, in one line.
    source
        Whose formula it is.
    per_side
        It treats queries and references differently.
    metric
        Metric of the descriptors that it makes; None leaves the metric as it is.
    final
        No step may follow.
    """

    name: ClassVar[str]
    about: ClassVar[str]
    source: ClassVar[str]
    per_side: ClassVar[bool] = False
    metric: ClassVar[Metric | None] = None
    final: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the parameters. Raises UsageError."""
        for key, kind in self.kinds().items():
            value = getattr(self, key)
            if value is not None and not kind.accepts(value):
                raise UsageError(f"step {self.name}: {key} is {value!r}, expected {kind.words}", hint=usage(type(self)))

    def __str__(self) -> str:
        """Return the step in full, as ``parse_step`` reads it: every parameter that is not None, in a fixed order."""
        kinds = self.kinds()
        values = {key: getattr(self, key) for key in kinds}
        shown = [f"{key}={kinds[key].shown(value)}" for key, value in values.items() if value is not None]
        return self.name + (":" + ",".join(shown) if shown else "")

    @classmethod
    def kinds(cls) -> Mapping[str, Kind]:
        """Return what each parameter may be, by name, in order."""
        return {item.name: item.metadata["kind"] for item in fields(cls)}

    @property
    def fitted_on(self) -> tuple[Side, ...]:
        """Return the sides whose vectors the step must see before it can change any."""
        return ()


@dataclass(frozen=True)
class Fitted:
    """A step that has seen what it must see.

    Attributes
    ----------
    change
        Side and vectors of that side to the vectors after the step; the same object where the step leaves a side alone.
    facts
        What was found on the way, for the report.
    scratch
        Vectors that `change` reads and nothing else does.
    """

    change: Callable[[Side, VectorSource], VectorSource]
    facts: Mapping[str, int | float] = field(default_factory=dict)
    scratch: tuple[VectorSource, ...] = ()


class Change(Step):
    """A step that changes vectors one by one, once it is fitted."""

    @abstractmethod
    def fit(self, sides: Mapping[Side, VectorSource], work: Workspace) -> Fitted:
        """Return the step fitted on the sides of `Step.fitted_on`, all of which are in ``sides``.

        Raises
        ------
        SubmissionError
            If they are too few, or the formula has no value for them.
        """


class Fusion(Step):
    """A step that makes one vector of the vectors that several files hold for an image."""

    @abstractmethod
    def fuse(self, where: str, sources: Sequence[VectorSource], work: Workspace) -> VectorSource:
        """Return one vector per image out of ``sources``, which hold the same ids in the same order.

        Raises SubmissionError, opened by ``where``, if the sources do not fit together.
        """


def usage(step: type[Step]) -> str:
    """Return how ``step`` is written, for example ``pca:dim=…,whiten=yes|no[,on=background|references|queries]``."""
    must, may = [], []
    for item in fields(step):
        kind = item.metadata["kind"]
        choices = "yes|no" if isinstance(kind, YesNo) else "|".join(kind.choices) if isinstance(kind, OneOf) else "…"
        if item.default is MISSING:
            must.append(f"{item.name}={choices}")
        elif item.default is None or isinstance(kind, OneOf):
            may.append(f"{item.name}={choices}")
        else:
            may.append(f"{item.name}={kind.shown(item.default)}")
    if not must and not may:
        return step.name
    optional = f"[{',' if must else ''}{','.join(may)}]" if may else ""
    return f"{step.name}:{','.join(must)}{optional}" if must else f"{step.name}[:{','.join(may)}]"


def check_rows(step: Step, source: VectorSource, needed: int, what: str) -> None:
    """Raise SubmissionError unless ``source`` holds ``needed`` rows, ``what`` in words."""
    if len(source) < needed:
        raise SubmissionError(
            f"step {step.name} needs {needed:,} {what}, found {len(source):,}",
            hint="give more images, or a step that looks at fewer",
        )
