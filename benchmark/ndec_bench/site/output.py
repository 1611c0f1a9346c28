"""A folder that appears whole or not at all, and never in place of somebody's files."""

from __future__ import annotations

import errno
import hashlib
import json
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ndec_bench.errors import DataError
from ndec_bench.submissions.entries import MARKER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MANIFEST = ".ndec-bench-pages.json"

_SWAPS = 10


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
    target = resolved(target)
    check_replaceable(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # The outer folder is private to this process; the inner one gets the permissions of the user's umask.
        with tempfile.TemporaryDirectory(prefix=f".{target.name[:100]}.", dir=target.parent) as temporary:
            fresh = Path(temporary, "new")
            fresh.mkdir()
            yield fresh
            (fresh / MARKER).write_text("Built by ndec-bench site, which replaces this folder.\n", encoding="utf-8")
            _swap(fresh, target, Path(temporary, "old"))
    except OSError as error:
        raise DataError(
            f"{target}: cannot be written ({error.strerror or error})",
            hint="choose another folder or free its disk",
        ) from error


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
        If it is anything else, or cannot be looked into.
    """
    try:
        _check_replaceable(target)
    except OSError as error:
        raise DataError(
            f"{target}: cannot be read ({error.strerror or error})", hint="choose another folder"
        ) from error


def _check_replaceable(target: Path) -> None:
    if target.is_dir():
        if (target / MARKER).is_file() or not any(target.iterdir()):
            return
        raise DataError(f"{target}: holds files that are no site of ndec-bench", hint="choose an empty or new folder")
    if target.exists() or target.is_symlink():
        raise DataError(f"{target}: is no folder", hint="choose an empty or new folder")


def _swap(fresh: Path, target: Path, old: Path) -> None:
    """Move ``fresh`` to ``target``, what is there to ``old``; put it back if that fails.

    Where another build comes first, its folder is replaced like any older one.
    """
    for attempt in range(_SWAPS):
        kept = old.with_name(f"{old.name}-{attempt}")
        try:
            with suppress(FileNotFoundError):
                target.rename(kept)
            fresh.rename(target)
        except BaseException as error:
            if kept.exists() and not target.exists():
                kept.rename(target)
            if not isinstance(error, OSError) or error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return
    raise OSError(errno.EBUSY, "other builds replace it at the same time")


class Output:
    """The files of a site that is being built, with those of the last build at hand.

    Parameters
    ----------
    folder
        Where files are written.
    last
        The site of the last build, or a folder that is none.
    """

    def __init__(self, folder: Path, last: Path) -> None:
        self._folder = folder
        self._last = last
        self._before = _read_manifest(last / MANIFEST)
        self._keys: dict[str, dict[str, str]] = {}

    def write(self, path: str, content: Callable[[], str | bytes], *, key: str | None = None) -> bool:
        """Return whether ``path`` (with slashes) was written anew.

        With a ``key`` that names everything the content depends on, a file of the last build with that key stays, if it
        is still what was written then. Text is UTF-8 with LF.
        """
        target = self._folder.joinpath(*path.split("/"))
        target.parent.mkdir(parents=True, exist_ok=True)
        if key is not None and self._kept(path, key, target):
            return False
        made = content()
        data = made.encode("utf-8") if isinstance(made, str) else made
        target.write_bytes(data)
        if key is not None:
            self._keys[path] = {"key": key, "sha256": hashlib.sha256(data).hexdigest()}
        return True

    def copy_tree(self, source: Path, folder: str) -> None:
        """Copy the files of ``source`` into ``folder`` of the site, contents only."""
        for path in sorted(source.rglob("*")):
            if path.is_file():
                self.write(f"{folder}/{path.relative_to(source).as_posix()}", path.read_bytes)

    def manifest(self) -> str:
        """Return the keys and digests of the files that may stay in the next build, as JSON."""
        return json.dumps(self._keys, indent=0, sort_keys=True) + "\n"

    def _kept(self, path: str, key: str, target: Path) -> bool:
        known = self._before.get(path)
        if known is None or known["key"] != key:
            return False
        old = self._last.joinpath(*path.split("/"))
        try:
            if old.is_symlink() or hashlib.sha256(old.read_bytes()).hexdigest() != known["sha256"]:
                return False
            shutil.copy2(old, target)  # with its time: who mirrors a site sends what has changed
        except OSError:
            return False
        self._keys[path] = known
        return True


def _read_manifest(path: Path) -> dict[str, dict[str, str]]:
    """Return the manifest of the last build; empty where there is none or it cannot be read."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {
        name: entry
        for name, entry in content.items()
        if isinstance(entry, dict) and isinstance(entry.get("key"), str) and isinstance(entry.get("sha256"), str)
    }
