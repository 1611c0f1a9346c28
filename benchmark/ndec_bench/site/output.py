"""A folder that appears whole or not at all, and never in place of somebody's files."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

MARKER = ".ndec-bench-site"


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target``; move it to ``target`` when the block succeeds.

    A `target` that exists is replaced if it is empty or holds the marker file of a site. The temporary folder is
    removed when the block fails, and ``target`` stays as it was.

    Raises
    ------
    DataError
        If ``target`` holds anything else, or the folder cannot be written.
    """
    target = target.resolve()
    check_replaceable(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # The outer folder is private to this process; the inner one gets the permissions of the user's umask.
        with tempfile.TemporaryDirectory(prefix=f".{target.name[:100]}.", dir=target.parent) as temporary:
            fresh = Path(temporary, "new")
            fresh.mkdir()
            yield fresh
            (fresh / MARKER).write_text("Built by ndec-bench site, which replaces this folder.\n", encoding="utf-8")
            if target.exists():
                target.rename(Path(temporary, "old"))
            fresh.rename(target)
    except OSError as error:
        raise DataError(
            f"{target}: cannot be written ({error.strerror or error})",
            hint="choose another folder or free its disk",
        ) from error


def check_replaceable(target: Path) -> None:
    """Return if ``target`` is missing, empty or a site.

    Raises
    ------
    DataError
        If it is anything else.
    """
    if target.is_dir():
        if (target / MARKER).is_file() or not any(target.iterdir()):
            return
        raise DataError(f"{target}: holds files that are no site of ndec-bench", hint="choose an empty or new folder")
    if target.exists() or target.is_symlink():
        raise DataError(f"{target}: is no folder", hint="choose an empty or new folder")


def write_page(folder: Path, path: str, content: str | bytes) -> None:
    """Write ``content`` to ``path`` (with slashes) inside ``folder``; text as UTF-8 with LF."""
    target = folder.joinpath(*path.split("/"))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def copy_tree(source: Path, folder: Path) -> None:
    """Copy the files of ``source`` into ``folder``, contents only."""
    for path in sorted(source.rglob("*")):
        if path.is_file():
            target = folder / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
