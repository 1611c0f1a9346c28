"""Signed links that a user copied from Meta's page after accepting its licence.

The links expire after some days and say who may download, so no part of their query is ever shown or written down.
A link finds its file by name: that of the object, or one next to the link. Where there is none, the beginning of the
archive says which it is (`identified`).
"""

from __future__ import annotations

import html
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from ndec_bench.archives.zip_index import parse_local_header
from ndec_bench.data.registry import find, image_sets, shards
from ndec_bench.download.exchange import DEFAULT_POLICY, Location, Policy, new_session
from ndec_bench.download.range_reader import RangeReader
from ndec_bench.errors import DataError, NdecBenchError, NetworkError, os_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ndec_bench.data.registry import RemoteFile

_MOST_BYTES = 1 << 24
_WORD = re.compile(r"(https?://[^\s\"'<>\\^`{|}]+)|[A-Za-z0-9_.-]{1,100}")
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*\.(?:zip|csv|tar(?:\.a[a-z])?|h5|pth|pt)", re.IGNORECASE)
_ESCAPE = re.compile(r"\\u00([2-7][0-9a-f])|\\(/)", re.IGNORECASE)
_FRESH = "open Meta's page again, accept the licence, and copy fresh links"
_BEGIN = 512
"""Bytes of an archive that hold the name of its first image, behind those of its folders."""
_AT_ONCE = 8


@dataclass(frozen=True)
class Link:
    """One link: its address with the signature, and its line in the list."""

    url: str
    line: int

    @property
    def object(self) -> str:
        """Return host and path, which name the object whatever the signature."""
        parts = urlsplit(self.url)
        return f"{parts.hostname}{unquote(parts.path)}"

    @property
    def expires(self) -> int | None:
        """Return when the signature expires, in seconds of Unix time; None if it does not say."""
        given = parse_qs(urlsplit(self.url).query).get("oe", [""])[0]
        return int(given, 16) if re.fullmatch(r"[0-9A-Fa-f]{8}", given) else None

    def fresh_location(self, name: str) -> Location:
        """Return the location of the file ``name``. Raises NetworkError if the link has expired."""
        if self.expires is not None and self.expires <= time.time():
            days = (time.time() - self.expires) / 86_400
            raise NetworkError(f"{name}: its link (line {self.line}) expired {days:,.0f} days ago", hint=_FRESH)
        return Location(self.url)


@dataclass(frozen=True)
class Links:
    """Links by the name of their file in the registry, and those to archives that no name tells apart."""

    by_name: Mapping[str, Link]
    unnamed: tuple[Link, ...] = ()


def read_links(path: Path) -> Links:
    """Return the links in the text file ``path``: a list in any form, with or without names, or any text with links.

    A link belongs to the file that its object is named after, else to the name next to it: before it where the line
    begins with a name, behind it where it begins with a link; of a line without names to the one in the next line, or
    the one before. Names are compared as `registry.same_name` does. Links to other things are passed over.

    Raises
    ------
    DataError
        If the file cannot be read, has no usable link, gives one file two objects, or two files one object.
    """
    links: dict[str, Link] = {}
    unnamed: dict[str, Link] = {}
    for name, link in _found(_text(path)):
        file = find(_object_name(link)) or (find(name) if name else None)
        if file is None:
            if _object_name(link).lower().endswith(".zip"):
                unnamed[link.object] = link
            continue
        other = links.setdefault(file.name, link)
        if other.object != link.object:
            raise DataError(
                f"{path}: line {link.line} gives {file.name} another object than line {other.line}",
                hint="keep the right one; copy the links again if in doubt",
            )
        links[file.name] = link
    if not links and not unnamed:
        raise DataError(
            f"{path}: no link to a file of DISC21",
            hint="expected lines like https://…/refs_50k_0.zip?…, or refs_50k_0.zip followed by its link",
        )
    _refuse_shared(path, links)
    return Links(links, tuple(unnamed.values()))


def identified(links: Links, *, policy: Policy = DEFAULT_POLICY) -> tuple[Links, list[str]]:
    """Return ``links`` with names for those that had none, and why some still have none.

    The first bytes of each archive are asked for: they hold the name of its first image, and that says which shard it
    is.

    Raises
    ------
    NdecBenchError
        If no link at all is left.
    """
    found: dict[str, Link] = {}
    errors: list[NdecBenchError] = []

    def look(link: Link) -> None:
        try:
            found[_first_shard(link, policy).name] = link
        except NdecBenchError as error:
            errors.append(error)

    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="links") as pool:
        list(pool.map(look, links.unnamed))
    named = {**found, **links.by_name}
    if errors and not named:
        raise errors[0]
    return Links(named), [str(error) for error in errors]


def _first_shard(link: Link, policy: Policy) -> RemoteFile:
    name = f"the link in line {link.line}"
    with new_session() as session:
        begin = RangeReader(name, partial(link.fresh_location, name), session=session, policy=policy).read_at(0, _BEGIN)
    while begin.startswith(b"PK\x03\x04"):
        (member, _), length = parse_local_header(name, begin)
        file = _shard_of(PurePosixPath(member).stem)
        if file is not None:
            return file
        begin = begin[length:]  # that was a folder, which has no content
    raise DataError(f"{name}: leads to nothing of DISC21", hint="remove it from the list")


def _shard_of(identifier: str) -> RemoteFile | None:
    """Return the archive of DISC21 that holds an image; None if none does."""
    for (dataset, part), images in image_sets().items():
        if dataset == "disc21" and images.first is not None and re.fullmatch(images.id or "", identifier):
            files, place = shards(dataset, part), int(identifier[1:]) - images.first
            if 0 <= place < images.images:
                return files[place * len(files) // images.images]
    return None


def _object_name(link: Link) -> str:
    return unquote(urlsplit(link.url).path).rpartition("/")[2]


def _found(text: str) -> Iterator[tuple[str | None, Link]]:
    """Yield each link with the name next to it."""
    lines = [tokens for number, line in enumerate(text.splitlines(), 1) if (tokens := list(_tokens(line, number)))]
    for at, tokens in enumerate(lines):
        alone: list[Link | str] = []
        if len(tokens) == 1 and isinstance(tokens[0], Link):
            # aria2 gives the name in the line after its link, pages that were copied in the one before.
            near = lines[at + 1 : at + 2] if isinstance(lines[0][0], Link) else lines[max(at - 1, 0) : at]
            alone = [line[0] for line in near if len(line) == 1 and isinstance(line[0], str)]
        yield from _in_line([*alone, *tokens])


def _in_line(tokens: list[Link | str]) -> Iterator[tuple[str | None, Link]]:
    if isinstance(tokens[0], Link):  # names come behind: read from the end, they come before
        tokens = tokens[::-1]
    name = None
    for token in tokens:
        if isinstance(token, str):
            name = token
        else:
            yield name, token
            name = None


def _tokens(line: str, number: int) -> Iterator[Link | str]:
    for match in _WORD.finditer(line):
        if match[1] is None:
            name = match[0].strip(".-")
            if _NAME.fullmatch(name):
                yield name
            continue
        link = Link(html.unescape(match[1]).rstrip(".,;)"), number)
        try:
            readable = bool(link.object and urlsplit(link.url).hostname)
        except ValueError:
            readable = False
        if readable:
            yield link


def _refuse_shared(path: Path, links: Mapping[str, Link]) -> None:
    owners: dict[str, str] = {}
    for name, link in links.items():
        other = owners.setdefault(link.object, name)
        if other != name:
            raise DataError(
                f"{path}: {other} (line {links[other].line}) and {name} (line {link.line}) point to one object",
                hint="one of the links was copied twice: copy the other from Meta's page again",
            )


def _text(path: Path) -> str:
    """Return the text of the list, in UTF-8 or, as Windows saves it, in UTF-16; escapes of JSON undone."""
    with os_errors(f"{path}: cannot be read"):
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path}: larger than 16 MiB, which no list of links is", hint="check the path")
        content = path.read_bytes()
    wide = content[:2] in {b"\xff\xfe", b"\xfe\xff"}
    text = content.decode("utf-16" if wide else "utf-8-sig", errors="replace")
    return _ESCAPE.sub(lambda found: found[2] or chr(int(found[1], 16)), text)
