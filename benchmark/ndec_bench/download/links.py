"""Signed links that a user copied from Meta's page after accepting its licence.

The links expire after some days and say who may download, so no part of their query is ever shown or written down.
A link finds its file by name: that of the object, or one next to the link.
"""

from __future__ import annotations

import html
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from ndec_bench.data.registry import find
from ndec_bench.download.exchange import Location
from ndec_bench.errors import DataError, NetworkError, os_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from ndec_bench.data.registry import RemoteFile

_MOST_BYTES = 1 << 24
_URL = re.compile(r"https?://[^\s\"'<>\\^`{|}]+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.(?:zip|csv|tar(?:\.a[a-z])?|h5|pth|pt)\b", re.IGNORECASE)
_FRESH = "open Meta's page again, accept the licence, and copy fresh links"


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


class Links:
    """Links by the name of their file in the registry."""

    def __init__(self, links: Mapping[str, Link]) -> None:
        self._links = dict(links)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the files there are links for, sorted."""
        return tuple(sorted(self._links))

    def location(self, file: RemoteFile) -> Location:
        """Return the location of ``file`` by its link. Raises KeyError if it has none, see `names`."""
        return Location(self._links[file.name].url)

    def fresh_location(self, file: RemoteFile) -> Location:
        """Return the same. Raises NetworkError if the link has expired."""
        link = self._links[file.name]
        if link.expires is not None and link.expires <= time.time():
            days = (time.time() - link.expires) / 86_400
            raise NetworkError(f"{file.name}: its link (line {link.line}) expired {days:,.0f} days ago", hint=_FRESH)
        return self.location(file)


def read_links(path: Path) -> Links:
    """Return the links in the text file ``path``: one per line, alone or with a name, or any text with links in it.

    A link belongs to the file that its object is named after, else to the last name before it in the line. Names are
    compared as `registry.same_name` does. Links to other things are passed over.

    Raises
    ------
    DataError
        If the file cannot be read, has no usable link, gives one file two objects, or two files one object.
    """
    links: dict[str, Link] = {}
    for name, link in _found(_text(path)):
        other = links.setdefault(name, link)
        if other.object != link.object:
            raise DataError(
                f"{path}: line {link.line} gives {name} another object than line {other.line}",
                hint="keep the right one; copy the links again if in doubt",
            )
        links[name] = link
    if not links:
        raise DataError(
            f"{path}: no link to a file of DISC21",
            hint="expected lines like https://…/refs_50k_0.zip?…, or refs_50k_0.zip followed by its link",
        )
    _refuse_shared(path, links)
    return Links(links)


def _found(text: str) -> Iterator[tuple[str, Link]]:
    for number, line in enumerate(text.splitlines(), start=1):
        at = 0
        for match in _URL.finditer(line):
            url = html.unescape(match[0]).rstrip(".,;)")
            names = _NAME.findall(line[at : match.start()])
            at = match.end()
            try:
                file = find(unquote(urlsplit(url).path).rpartition("/")[2])
            except ValueError:  # brackets that hold no address
                continue
            if file is None and names:
                file = find(names[-1])
            if file is not None:
                yield file.name, Link(url, number)


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
    with os_errors(f"{path}: cannot be read"):
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{path}: larger than 16 MiB, which no list of links is", hint="check the path")
        return path.read_text(encoding="utf-8-sig", errors="replace")
