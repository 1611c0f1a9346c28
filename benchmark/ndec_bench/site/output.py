"""A folder that is replaced as a whole, and keeps the files in it that are not ours."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ndec_bench.errors import DataError, os_errors
from ndec_bench.submissions.entries import MARKER

if TYPE_CHECKING:
    from collections.abc import Iterator

_TITLE = "Built by ndec-bench site, which replaces these files and keeps all others:"


@contextmanager
def replacing_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder next to ``target``; move it to ``target`` when the block succeeds.

    The marker file of a site lists the files that are ours. All others in ``target``, such as ``.git`` or ``CNAME``,
    are copied into the new folder first. When the block fails, ``target`` stays as it was. What a killed build left
    behind is cleared away by the next one; builds into folders of the same parent wait for each other.

    Raises
    ------
    DataError
        If `check_replaceable` does, a file that is not ours is in the place of a new one, or a folder cannot be
        written.
    """
    target = resolved(target)
    fresh, old = (target.with_name(f".{target.name}.ndec-bench-{word}") for word in ("new", "old"))
    with os_errors(f"{target}: cannot be written", hint="choose another folder or free its disk"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target.parent):
            _put_back(target, old)
            check_replaceable(target)
            for left in (fresh, old):
                if left.exists():
                    shutil.rmtree(left)
            fresh.mkdir()
            try:
                yield fresh
                _finish(fresh, target)
                _swap(fresh, target, old)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def resolved(target: Path) -> Path:
    """Return ``target`` as an absolute path without links. Raises DataError where links lead nowhere."""
    try:
        return target.resolve()
    except (OSError, RuntimeError) as error:  # the latter for links in a circle
        raise DataError(f"{target}: cannot be followed ({error})", hint="choose another folder") from error


def check_replaceable(target: Path) -> None:
    """Return if ``target`` is missing, empty or a site.

    Raises
    ------
    DataError
        If it is anything else, cannot be read, or is a site without a list of its files.
    """
    with os_errors(f"{target}: cannot be read", hint="choose another folder"):
        if not target.exists() and not target.is_symlink():
            return
        if not target.is_dir():
            raise DataError(f"{target}: is not a folder", hint="choose an empty or new folder")
        if not any(target.iterdir()):
            return
        if not (target / MARKER).is_file():
            raise DataError(f"{target}: is not a site of ndec-bench", hint="choose an empty or new folder")
        if not _ours(target):
            raise DataError(
                f"{target}: {MARKER} does not list the files of the site", hint="remove the folder, or choose another"
            )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other build works in ``folder``. The lock ends with the process, however that ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _put_back(target: Path, old: Path) -> None:
    """Move the site back that a build moved aside and then was killed."""
    if not old.exists():
        return
    if target.is_dir() and not any(target.iterdir()):  # made by a script since
        target.rmdir()
    if not target.exists():
        old.rename(target)


def _ours(site: Path) -> frozenset[str]:
    """Return the paths of our files, with slashes, from the marker file; empty if it has no list."""
    title, *paths = (site / MARKER).read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    return frozenset(paths) if title == _TITLE else frozenset()


def _finish(fresh: Path, target: Path) -> None:
    """Add the list of our files, and the files of the site before that are not ours."""
    written = sorted(path.relative_to(fresh).as_posix() for path in fresh.rglob("*") if path.is_file())
    (fresh / MARKER).write_text("\n".join((_TITLE, MARKER, *written, "")), encoding="utf-8")
    if not target.is_dir() or not any(target.iterdir()):
        return
    ours = _ours(target)
    for path in _foreign(target, ours, {target / parent for name in ours for parent in Path(name).parents}):
        copy = fresh / path.relative_to(target)
        folder = path.is_dir() and not path.is_symlink()
        if os.path.lexists(copy) and not (folder and copy.is_dir()):
            raise DataError(f"{path}: is in the place of a file of the site", hint="move it elsewhere")
        if folder:
            copy.mkdir(parents=True, exist_ok=True)
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy, follow_symlinks=False)


def _foreign(folder: Path, ours: frozenset[str], folders: set[Path], above: str = "") -> Iterator[Path]:
    """Yield what is not ours in ``folder``, each folder before its files; ``folders`` are those with files of ours."""
    for path in sorted(folder.iterdir()):
        name = f"{above}{path.name}"
        if path.is_dir() and not path.is_symlink():
            if path not in folders:
                yield path
            yield from _foreign(path, ours, folders, f"{name}/")
        elif name not in ours:
            yield path


def _swap(fresh: Path, target: Path, old: Path) -> None:
    """Move ``target`` to ``old`` and ``fresh`` to ``target``; undo the first move if the second fails."""
    if target.exists():
        target.rename(old)
    try:
        fresh.rename(target)
    except BaseException:
        if old.exists():
            old.rename(target)
        raise
