"""Options that several commands share: the data root, submissions, and the splits to score or check against."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ndec_bench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ndec_bench.data.split import Split


def folder(text: str) -> Path:
    """Return the folder that ``--root`` names. Raises UsageError for an empty name.

    An empty name is what a shell makes of a variable that is not set; as a path it is the current folder, into which
    nobody wants half a terabyte by accident.
    """
    if not text.strip():
        raise UsageError("--root is empty", hint="name a folder; the current one is --root .")
    return Path(text)


Root = Annotated[
    Path | None,
    typer.Option(
        help="Data root; by default $NDEC_ROOT, else the platform's data folder.",
        metavar="DIR",
        parser=folder,
        show_default=False,
    ),
]
Asymmetric = Annotated[
    str,
    typer.Option(
        help="Asymmetric rule on the norms: none, ratio, ratio-after-list, hinge:L or tilt:L.", metavar="RULE"
    ),
]

Files = Annotated[
    list[Path] | None,
    typer.Argument(
        help="HDF5 of descriptors, or scored pairs as CSV or Parquet.", metavar="FILE...", show_default=False
    ),
]
Query = Annotated[
    list[Path] | None,
    typer.Option(
        help="Queries in the isc2021 form (vectors, image_names); several files.", metavar="F...", show_default=False
    ),
]
Reference = Annotated[
    list[Path] | None, typer.Option(help="References in that form; several files.", metavar="F...", show_default=False)
]
Background = Annotated[
    list[Path] | None,
    typer.Option(help="Descriptors of background images, for normalisation.", metavar="F...", show_default=False),
]
GroundTruthFile = Annotated[
    Path | None,
    typer.Option(
        help="Your own ground truth, CSV query_id,reference_id or JSON.", metavar="GT.csv", show_default=False
    ),
]
HardNegatives = Annotated[
    Path | None, typer.Option(help="Its hard negatives, one id per line.", metavar="IDS.txt", show_default=False)
]
Queries = Annotated[
    Path | None,
    typer.Option(
        help="All labelled queries, one id per line, for a ground truth that lists matches only.",
        metavar="IDS.txt",
        show_default=False,
    ),
]
Parts = Annotated[
    list[str] | None,
    typer.Option("--part", help="A part of your own, scored as if alone.", metavar="NAME=IDS.txt", show_default=False),
]
Splits = Annotated[
    list[str] | None,
    typer.Option("--split", help="A known split; by default the file's own.", metavar="NAME", show_default=False),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="File of trained weights, or folder of them, where the baseline needs any.", show_default=False),
]
WeightsSha256 = Annotated[
    str | None,
    typer.Option(help="Digest of weights of your own, in place of the published one.", show_default=False),
]
Detections = Annotated[
    Path | None,
    typer.Option(
        help="CSV of detected overlays that queries are cut to, where the system does that.", show_default=False
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Workers = Annotated[int | None, typer.Option(help="Threads that describe.", min=1, show_default="one per core")]
Threads = Annotated[
    int | None, typer.Option(help="Threads of the search.", min=1, metavar="N", show_default="one per core")
]
Backend = Annotated[
    Literal["auto", "blas", "faiss", "torch"],
    typer.Option(help="Library of the fast pass of the search; no result depends on it."),
]
Multi = Annotated[bool, typer.Option("--multi", help="Queries may have several references.")]


@dataclass(frozen=True)
class Target:
    """The options that say what to score against, as given."""

    ground_truth: Path | None = None
    hard_negatives: Path | None = None
    queries: Path | None = None
    parts: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    root: Path | None = None
    multi: bool = False

    @property
    def files(self) -> list[Path]:
        """Return the files that are read for the split."""
        named = [path for path in (self.ground_truth, self.hard_negatives, self.queries) if path is not None]
        return named + [_part(text)[1] for text in self.parts]

    def splits(self, submissions: Sequence[Path]) -> list[Split]:
        """Return the splits named, or else the one that the files name or whose query ids they have.

        Raises
        ------
        UsageError
            If options exclude each other or nothing names a split.
        DataError
            If a split is missing or unusable.
        """
        from ndec_bench.data.roots import data_root, find_split
        from ndec_bench.data.split import Split
        from ndec_bench.scoring.inputs import split_from, split_of

        if self.ground_truth is not None:
            if self.names or self.root is not None:
                raise UsageError("--ground-truth and --split/--root exclude each other", hint="give one of them")
            return [
                Split.from_ground_truth(
                    self.ground_truth,
                    hard_negatives=self.hard_negatives,
                    multi=self.multi,
                    queries=self.queries,
                    parts=_parts(self.parts),
                )
            ]
        for option, value in (
            ("--hard-negatives", self.hard_negatives),
            ("--queries", self.queries),
            ("--part", self.parts),
            ("--multi", self.multi),
        ):
            if value:
                raise UsageError(f"{option} goes with --ground-truth", hint="a known split has its own")
        root = data_root(self.root)
        if not self.names:
            return [split_from(split_of(submissions, root), root, str(submissions[0]))]
        return [find_split(name, root) for name in self.names]


def check_forms(files: list[Path] | None, query: list[Path] | None, reference: list[Path] | None) -> None:
    """Raise UsageError unless one form of submission is given: files, or queries and references."""
    if bool(files) == bool(query):
        raise UsageError(
            "no submission is given" if not files else "FILE and --query exclude each other",
            hint="give a submission file, or --query F... --reference F...",
        )
    if bool(query) != bool(reference):
        raise UsageError("--query and --reference go together", hint="give the files of both sides")


def check_inputs_stay(outputs: Iterable[Path], inputs: Sequence[Path]) -> None:
    """Raise UsageError if a file to write is one that is read, or the same as another one to write."""
    from ndec_bench.atomic import is_stream

    written = list(outputs)
    for number, path in enumerate(written):
        if path.resolve() in [other.resolve() for other in written[:number]] and not is_stream(path):
            raise UsageError(f"{path} is given for two outputs", hint="write each to a file of its own")
        if path.exists() and any(one.exists() and path.samefile(one) for one in inputs):
            raise UsageError(f"{path} is an input of this command", hint="write to another file")


def spread(arguments: list[str]) -> list[str]:
    """Return ``arguments`` with ``--query a b`` written as ``--query a --query b``, for options of several values.

    Where a submission is a FILE, what cannot be a further value of the option is one: ``--background b.h5 mine.h5``.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    in_parts = any(argument in ("--query", "--reference") for argument in arguments[:end])
    spread_out: list[str] = []
    option: str | None = None
    taken = 0
    for argument in arguments[:end]:
        if argument.startswith("-") and argument != "-":
            option, taken = (argument if argument in _SEVERAL else None), 0
        elif option is not None:
            if taken and not (in_parts or _SEVERAL[option](argument)):
                option = None
            elif taken:
                spread_out.append(option)
            taken += 1
        spread_out.append(argument)
    return spread_out + arguments[end:]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# Options that take any number of values after one name, and what can be a further value next to a FILE.
_SEVERAL: Mapping[str, Callable[[str], bool]] = {
    "--query": lambda _: True,
    "--reference": lambda _: True,
    "--background": lambda _: False,
    "--precision": _is_number,
    "--part": lambda text: "=" in text,
    "--split": lambda text: not Path(text).is_file(),
}


def _parts(texts: Iterable[str]) -> dict[str, Path]:
    parts: dict[str, Path] = {}
    for name, path in map(_part, texts):
        if name in parts:
            raise UsageError(f"--part {name} appears twice", hint="give each part one list and a name of its own")
        parts[name] = path
    return parts


def _part(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not name or not path:
        raise UsageError(f"--part {text!r}", hint="write NAME=IDS.txt")
    return name, Path(path)
