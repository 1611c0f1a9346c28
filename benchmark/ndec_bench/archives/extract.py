"""Archives unpacked into a folder: each file whole or not at all; where a run broke off the next goes on."""

from __future__ import annotations

import os
import stat
import unicodedata
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

from ndec_bench.archives import safe
from ndec_bench.archives.archive import Archive
from ndec_bench.errors import DataError, InterruptedRun
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence
    from pathlib import Path

_BLOCK = 1 << 20
_ON_WINDOWS = os.name == "nt"
_NOT_ON_WINDOWS = frozenset('<>:"|?*\\')


def extract(
    paths: Sequence[Path],
    out: Path,
    *,
    progress: Progress = silent,
    stop: threading.Event | None = None,
    select: Callable[[str], object] = safe.is_image,
) -> int:
    """Return how many files of the archive ``paths`` lie in ``out``, under their paths in it, once all do.

    A file that is there with the right size, of a zip also with the right checksum, is kept. Others are written beside
    their place and moved. ``progress`` counts bytes.

    Parameters
    ----------
    paths
        A zip, a tar, or the raw pieces of one in order.
    select
        Which members to take, by name; images by default.
    stop
        Set to end the run.

    Raises
    ------
    InterruptedRun
        If ``stop`` is set; what was unpacked stays.
    DataError
        As `Archive` does; if two names differ only in case; if ``out`` cannot be written or has a link in the way.
    """
    with Archive(paths, progress=progress) as archive:
        members = archive.members
        rows = [int(row) for row in members.in_stream_order() if select(members.names[row])]
        _check_names(archive.file.name, [members.names[row] for row in rows])
        stage, total, done = f"unpacking {paths[0].name.removesuffix('.aa')}", sum(members.sizes[rows].tolist()), 0
        folders: set[Path] = set()
        progress(stage, done, total)
        for row in rows:
            if stop is not None and stop.is_set():
                raise InterruptedRun(f"{archive.file.name}: unpacking stopped", hint="run again to go on")
            _unpack(archive, row, out, folders)
            done += int(members.sizes[row])
            progress(stage, done, total)
    return len(rows)


def _unpack(archive: Archive, row: int, out: Path, folders: set[Path]) -> None:
    # The name comes from an index that is not trusted, so it is checked where it becomes a path.
    name = safe.plain_name(archive.file.name, archive.members.names[row])
    target = out / name
    try:
        if target.parent not in folders:
            _make_folder(target.parent, out)
            folders.add(target.parent)
        crc = None if archive.members.crcs is None else int(archive.members.crcs[row])
        if not _is_there(target, int(archive.members.sizes[row]), crc):
            _write(target, archive.read(row))
    except OSError as error:
        raise DataError(
            f"{target}: writing failed ({error.strerror or error})", hint="free disk space and run again"
        ) from error


def _check_names(archive: str, names: Sequence[str]) -> None:
    """Raise DataError if a file system could take two of ``names`` for one, or cannot hold one of them."""
    seen: dict[str, str] = {}
    for name in names:
        if _ON_WINDOWS and not _NOT_ON_WINDOWS.isdisjoint(name):
            raise safe.refusal(archive, name, "a name that Windows does not allow")
        key = unicodedata.normalize("NFC", name.casefold())
        if key in seen:
            raise safe.refusal(archive, name, f"the same name as {safe.shown(seen[key])} but for case")
        seen[key] = name


def _make_folder(folder: Path, out: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not folder.resolve().is_relative_to(out.resolve()):
        raise DataError(f"{folder}: a link leads out of {out}", hint="unpack into a folder without links")


def _is_there(target: Path, size: int, crc: int | None) -> bool:
    try:
        state = target.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(state.st_mode) or state.st_size != size:
        return False
    return crc is None or _crc(target) == crc


def _crc(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            value = zlib.crc32(block, value)
    return value


def _write(target: Path, content: bytes) -> None:
    # Not flushed to disk one by one: 200,000 flushes take an hour. A file that a power cut left short is written anew.
    temporary = target.with_name(f".{target.name[:100]}.part")
    temporary.unlink(missing_ok=True)
    try:
        with temporary.open("xb") as file:
            file.write(content)
        temporary.replace(target)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
