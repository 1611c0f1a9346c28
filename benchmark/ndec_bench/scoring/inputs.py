"""What a submission file holds, and which split it is for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ndec_bench.data.known import KNOWN, recognise
from ndec_bench.data.roots import find_split
from ndec_bench.data.split import Split
from ndec_bench.descriptors import read_attributes, read_query_ids
from ndec_bench.errors import SubmissionError, UsageError, os_errors
from ndec_bench.matches import read_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

_HEAD = 256


def split_from(given: Split | str | PathLike[str] | None, root: Path, where: str = "the submission") -> Split:
    """Return the split that ``given`` means: a `Split`, a name, a folder or a ground-truth file.

    Raises
    ------
    UsageError
        If ``given`` is None: ``where`` does not say which split it is for.
    DataError
        If the split is missing or unusable.
    """
    if given is None:
        raise UsageError(
            f"{where} does not say which split it is for, and its query ids are not those of one known split",
            hint="give --split NAME, or --ground-truth GT.csv, or write the attribute split",
        )
    if isinstance(given, Split):
        return given
    if given not in KNOWN:
        if Path(given).is_file():
            return Split.from_ground_truth(Path(given))
        if Path(given).is_dir():
            return Split.from_folder(Path(given))
    return find_split(str(given), root)


def split_of(paths: Sequence[Path], root: Path) -> str | None:
    """Return the split that submission files are for: the one their attribute ``split`` names, else by query ids.

    ``paths`` belong to one submission; ``root`` is where splits lie. None where nothing tells.
    """
    queries: set[str] = set()
    for path in paths:
        if not is_descriptors(path):
            queries.update(read_pairs(path).query_ids.tolist())
            continue
        name = read_attributes(path).get("split")
        if name is not None:
            return name
        queries.update(read_query_ids(path))
    return recognise(queries, root=root)


def is_descriptors(path: Path) -> bool:
    """Return whether ``path`` is to be read as HDF5 descriptors, by content; otherwise it holds scored pairs.

    Raises
    ------
    SubmissionError
        If it cannot be read, or is not a file that can be read twice.
    """
    with os_errors(f"{path}: cannot be read", SubmissionError):
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise SubmissionError(f"{path}: not a regular file", hint="write the submission to a file first")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return True
    if head.startswith(b"PAR1") or b"query_id" in head.partition(b"\n")[0]:
        return False
    # Other text is taken for pairs unless it claims to be HDF5: each reader says what is wrong with its kind of file.
    return path.suffix.lower() in (".h5", ".hdf5") or b"\0" in head
