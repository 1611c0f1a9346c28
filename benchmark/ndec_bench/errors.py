"""The exceptions that users see, each with the exit code of the command line.

::

    NdecBenchError            1  (never raised itself)
    ├── UsageError            2  options that contradict each other or name something unknown
    ├── SubmissionError       3  descriptors, pairs or submission.toml that cannot be scored
    ├── DataError             4  data that is missing, incomplete or not what its digest says
    │   └── MissingDataError  4  data that is not there at all
    ├── NetworkError          5  a source that does not answer or answers with something else
    └── InterruptedRun        6  stopped by the user; what was finished is kept

A message is a repair instruction: where (file, row, id), what was found, what was expected, the next step.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator


class NdecBenchError(Exception):
    """An error with a message for users and an exit code for scripts."""

    exit_code: ClassVar[int] = 1
    kind: ClassVar[str] = "error"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        """Keep ``message`` (what is wrong, where) and ``hint`` (the next step) apart for display."""
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}; {self.hint}"

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions cross process borders in the builder; the keyword argument must survive pickling.
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(cls: type[NdecBenchError], message: str, hint: str | None) -> NdecBenchError:
    return cls(message, hint=hint)


class UsageError(NdecBenchError):
    """Options that contradict each other or name something unknown."""

    exit_code = 2
    kind = "wrong use"


class SubmissionError(NdecBenchError):
    """Descriptors, pairs or a ``submission.toml`` that cannot be scored."""

    exit_code = 3
    kind = "bad submission"


class DataError(NdecBenchError):
    """Data that is missing, incomplete or not what its digest says."""

    exit_code = 4
    kind = "bad or missing data"


class MissingDataError(DataError):
    """Data that is not there at all, where a caller may go on without."""


class NetworkError(NdecBenchError):
    """A source that does not answer or answers with something else."""

    exit_code = 5
    kind = "network"


class InterruptedRun(NdecBenchError):  # noqa: N818 -- an interruption, not an error
    """Stopped by the user; what was finished is kept."""

    exit_code = 6
    kind = "interrupted"


@contextmanager
def os_errors(
    what: str,
    kind: type[NdecBenchError] = DataError,
    *,
    hint: str = "check the path and its permissions",
) -> Iterator[None]:
    """Turn an OSError of the block into ``kind``, with the message ``what (reason)``.

    ``what`` says where and what failed, such as ``mine.h5: cannot be read``.
    """
    try:
        yield
    except OSError as error:
        raise kind(f"{what} ({reason(error)})", hint=hint) from error


def reason(error: OSError) -> str:
    """Return why the system refused, in its own words and without the path."""
    return error.strerror or str(error)
