"""Post-processing steps as records that check themselves, written as ``NAME:key=value,key=value``."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ndec_bench.errors import SubmissionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Self

    from pydantic import ModelWrapValidatorHandler
    from pydantic.fields import FieldInfo

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
"""Between the steps in the attribute ``steps`` of a file."""

# The description of a parameter says what is expected, for the message about another value.
Count = Annotated[int, Field(ge=1, description="a whole number of at least 1")]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, description="a number above 0")]
YesNo = Annotated[bool, Field(description="yes or no")]


class Step(BaseModel):
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
    on_background
        It is fitted on background images.

    Raises
    ------
    UsageError
        If a parameter is missing, unknown or out of range; the message says what is expected.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    about: ClassVar[str]
    source: ClassVar[str]
    per_side: ClassVar[bool] = False
    metric: ClassVar[Metric | None] = None
    final: ClassVar[bool] = False
    on_background: ClassVar[bool] = False

    name: str

    @model_validator(mode="wrap")
    @classmethod
    def _explained(cls, values: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(values)
        except ValidationError as error:
            raise UsageError(_wrong(cls, error), hint=f"it is written {usage(cls)}") from None

    def __str__(self) -> str:
        """Return the step in full, as ``parse_step`` reads it: every parameter that is not None, in a fixed order."""
        values = {key: getattr(self, key) for key in parameters(type(self))}
        shown = [f"{key}={_shown(value)}" for key, value in values.items() if value is not None]
        return self.name + (":" + ",".join(shown) if shown else "")

    @property
    def fitted_on(self) -> tuple[Side, ...]:
        """Return the sides whose vectors the step must see before it can change any."""
        return ("background",) if self.on_background else ()

    def check_rows(self, source: VectorSource, needed: int, what: str = "background images") -> None:
        """Raise SubmissionError unless ``source`` holds ``needed`` rows, ``what`` in words."""
        if len(source) < needed:
            raise SubmissionError(
                f"step {self.name} needs {needed:,} {what}, found {len(source):,}",
                hint="give more images, or a step that looks at fewer",
            )


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


def parameters(kind: type[Step]) -> dict[str, FieldInfo]:
    """Return what each parameter of a kind of step may be, by name, in order."""
    return {key: info for key, info in kind.model_fields.items() if key != "name"}


def usage(kind: type[Step]) -> str:
    """Return how a step is written, for example ``pca:dim=…,whiten=yes|no[,on=background|references|queries]``."""
    must, may = [], []
    for key, info in parameters(kind).items():
        words = "yes|no" if info.annotation is bool else "|".join(filter(_is_text, get_args(info.annotation)))
        if info.is_required():
            must.append(f"{key}={words or '…'}")
        else:
            may.append(f"{key}={words or ('…' if info.default is None else _shown(info.default))}")
    optional = f"[{',' if must else ':'}{','.join(may)}]" if may else ""
    return f"{_name(kind)}{':' if must else ''}{','.join(must)}{optional}"


def _wrong(kind: type[Step], error: ValidationError) -> str:
    """Return what is wrong with the values that a step was given."""
    problems, known = error.errors(include_url=False), parameters(kind)
    missing = [str(problem["loc"][0]) for problem in problems if problem["type"] == "missing"]
    if missing:
        return f"step {_name(kind)} needs {', '.join(missing)}"
    key, value = str(problems[0]["loc"][0]), problems[0]["input"]
    if key not in known:
        what = f"known: {', '.join(known)}" if known else "it has no parameters"
        return f"step {_name(kind)}: {key[:80]!r} is unknown; {what}"
    return f"step {_name(kind)}: {key} is {repr(value)[:80]}, expected {known[key].description}"


def _name(kind: type[Step]) -> str:
    return str(kind.model_fields["name"].default)


def _shown(value: Any) -> str:  # noqa: ANN401 -- of whatever type a parameter is
    if isinstance(value, bool):
        return "yes" if value else "no"
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def _is_text(choice: object) -> bool:
    return isinstance(choice, str)
