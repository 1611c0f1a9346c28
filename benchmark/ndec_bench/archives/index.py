"""The index of an archive, built once, kept next to it, and never trusted.

Format: a line of JSON (format, the state of the archive's files, kind, counts, SHA-256 of the rest), then the arrays of
`Members` in their order, little-endian, then the names in UTF-8 with line feeds between them. An index of another
state, or that does not fit its archive, is built again.
"""

from __future__ import annotations

import hashlib
import json
import operator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from platformdirs import user_cache_path

from ndec_bench import atomic
from ndec_bench.archives import safe
from ndec_bench.archives.members import DEFLATED, MAX_HEAD, STORED, Members
from ndec_bench.archives.tar_index import index_tar, is_tar
from ndec_bench.archives.zip_index import index_zip, is_zip
from ndec_bench.errors import DataError
from ndec_bench.file_kind import HEAD, FileKind, kind_of
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_bench.archives.joined import JoinedFile

FORMAT = "ndec-bench archive index 1"
SUFFIX = ".index"
_COLUMNS = {"offsets": "<i8", "heads": "<i8", "stored": "<i8", "sizes": "<i8", "methods": "<u1", "crcs": "<u4"}
_MAX_LINE = 2**20
_MAX_INDEX = safe.MAX_MEMBERS * 256


def members_of(file: JoinedFile, progress: Progress = silent) -> Members:
    """Return the members of ``file``, from its stored index if that fits; else they are listed, and stored if possible.

    Raises
    ------
    DataError
        If it is neither zip nor tar, or as `index_zip` and `index_tar` do.
    """
    for place in index_places(file):
        members = _load(place, file)
        if members is not None:
            return members
    start = file.read_at(0, HEAD)
    if is_zip(start):
        members = index_zip(file, progress)
    elif is_tar(start):
        members = index_tar(file, progress)
    else:
        kind = kind_of(start)
        if kind is None or kind.name in ("zip", "tar"):  # begins as one and is none
            kind = FileKind("other", "neither zip nor tar")
        raise DataError(
            f"{file.name}: {kind.what}, expected a zip or tar archive or the first piece of one",
            hint=kind.advice or "give the folder of images, or fetch the archive again",
        )
    _store(file, members)
    return members


def index_places(file: JoinedFile) -> tuple[Path, Path]:
    """Return where the index may lie: next to the first file, or in the user's cache if that folder is not writable."""
    first = file.paths[0]
    folder = hashlib.sha256(str(first.resolve().parent).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    cache = user_cache_path("ndec-bench", appauthor=False) / "indexes" / folder
    return first.with_name(first.name + SUFFIX), cache / (first.name + SUFFIX)


def _store(file: JoinedFile, members: Members) -> None:
    content = _encoded(file, members)
    for place in index_places(file):
        if place.exists() and not place.is_file():  # a pipe would wait for a reader
            continue
        try:
            atomic.write_bytes(place, content)
        except DataError:  # a folder that cannot be written; without an index the work is done again next time
            continue
        return


def _encoded(file: JoinedFile, members: Members) -> bytes:
    columns = [getattr(members, name) for name in _COLUMNS]
    body = b"".join(
        np.ascontiguousarray(column, dtype=kind).tobytes()
        for column, kind in zip(columns, _COLUMNS.values(), strict=True)
        if column is not None
    ) + "\n".join(members.names).encode("utf-8")
    head = _head(file) | {
        "kind": members.kind,
        "whole": members.whole,
        "members": len(members),
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    return json.dumps(head, sort_keys=True).encode("ascii") + b"\n" + body


def _head(file: JoinedFile) -> dict[str, Any]:
    return {"format": FORMAT, "files": [list(stamp) for stamp in file.stamps]}


def _load(place: Path, file: JoinedFile) -> Members | None:
    """Return the members that the index ``place`` lists; None if there is none or it is not one of ``file``."""
    try:
        if not place.is_file() or place.stat().st_size > _MAX_INDEX:
            return None
        with place.open("rb") as opened:
            head = json.loads(opened.readline(_MAX_LINE))
            if not isinstance(head, dict) or {key: head.get(key) for key in ("format", "files")} != _head(file):
                return None
            body = opened.read()
        if hashlib.sha256(body).hexdigest() != head["sha256"]:
            return None
        members = _decoded(head, body)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
    return members if _fits(members, file.size) else None


def _decoded(head: dict[str, Any], body: bytes) -> Members:
    count, position = int(head["members"]), 0
    if not 0 <= count <= safe.MAX_MEMBERS:
        raise ValueError("a count out of range")
    columns: dict[str, Any] = {}
    for name, kind in _COLUMNS.items():
        if name == "crcs" and head["kind"] != "zip":
            continue
        end = position + count * np.dtype(kind).itemsize
        columns[name] = np.frombuffer(body[position:end], dtype=kind).copy()
        position = end
    text = body[position:].decode("utf-8")
    names = text.split("\n") if count else []
    if any(len(column) != count for column in (*columns.values(), names)):
        raise ValueError("counts that differ")
    if head["kind"] not in {"zip", "tar"} or not isinstance(head["whole"], bool):
        raise ValueError("an unknown kind")
    return Members(kind=head["kind"], names=names, whole=head["whole"], **columns)


def _fits(members: Members, size: int) -> bool:
    """Return whether all members can lie in an archive of ``size`` bytes, in the order that a record has."""
    plain = members.methods == STORED
    numbers = (members.offsets, members.heads, members.stored, members.sizes)
    return bool(
        all((column >= 0).all() and (column <= size).all() for column in numbers[:3])
        and (members.heads <= MAX_HEAD).all()
        and (members.sizes >= 0).all()
        and (members.offsets + members.heads + members.stored <= size).all()
        and (plain | (members.methods == DEFLATED)).all()
        and (members.sizes[plain] == members.stored[plain]).all()
        and (members.kind == "zip" or (plain.all() and (members.heads > 0).all()))
        and (members.kind == "tar" or not any("\\" in name for name in members.names))
        and all(map(operator.lt, members.names, islice(members.names, 1, None)))
    )
