"""The places a file can be had from, in order of preference, each ready to be asked.

A user's signed link comes first. Then come the sources of the registry; the mirror that an environment variable names
stands in place of a source's own host, because whoever sets one may have no way to the other.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

from ndec_bench.download import gdrive, huggingface, mirrors, ranges
from ndec_bench.download.location import Location
from ndec_bench.errors import NetworkError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import requests

    from ndec_bench.data.registry import RemoteFile, Source
    from ndec_bench.download.links import Links
    from ndec_bench.download.location import Advance, Fetched, Resolve


class Fetch(Protocol):
    """Fetches the file into ``part``, going on with what is there."""

    def __call__(self, part: Path, advance: Advance, stop: threading.Event | None, /) -> Fetched:
        """Return what came. Raises NetworkError, DataError (the disk) and InterruptedRun."""


@dataclass(frozen=True)
class Candidate:
    """One source of one file.

    Attributes
    ----------
    label
        What it is called in messages and records: ``huggingface``, ``mirror of meta``, ``link``.
    url
        Its address for people; never with a signature or a token.
    fetch
        Fetches the file.
    resolve
        Finds the address for single ranges of the file; None where there are none, as on Drive.
    """

    label: str
    url: str
    fetch: Fetch
    resolve: Resolve | None


def candidates(
    file: RemoteFile,
    *,
    session: requests.Session,
    policy: ranges.Policy,
    links: Links | None = None,
    environ: Mapping[str, str] = os.environ,
) -> tuple[Candidate, ...]:
    """Return the sources of ``file`` in the order in which they are to be tried. Nothing is asked of them yet.

    Raises
    ------
    UsageError
        If a mirror's address is none.
    """
    return tuple(_candidates(file, session, policy, links, environ))


def _candidates(
    file: RemoteFile,
    session: requests.Session,
    policy: ranges.Policy,
    links: Links | None,
    environ: Mapping[str, str],
) -> Iterator[Candidate]:
    def ranged(label: str, url: str, resolve: Resolve) -> Candidate:
        def fetch(part: Path, advance: Advance, stop: threading.Event | None) -> Fetched:
            return ranges.fetch(resolve, part, session=session, policy=policy, advance=advance, stop=stop)

        return Candidate(label, url, fetch, resolve)

    link = None if links is None else links.get(file)
    if link is not None:
        yield ranged("link", link.url.partition("?")[0], partial(_unexpired, file, links))
    for source in file.sources:
        mirror = mirrors.mirror_of(source, environ=environ)
        if mirror:
            places = mirrors.places(mirror, file, source)
            yield ranged(f"mirror of {source.kind}", mirrors.shown(mirror), _Places(places))
        elif source.kind == "huggingface":
            resolve = partial(huggingface.resolve, file.name, source, policy=policy, environ=environ)
            yield ranged(source.kind, source.url, resolve)
        elif source.kind == "gdrive":
            yield Candidate(source.kind, source.url, _drive(file, source, policy), None)
        else:
            yield ranged(source.kind, source.url, partial(Location, source.url))


def _drive(file: RemoteFile, source: Source, policy: ranges.Policy) -> Fetch:
    def fetch(part: Path, advance: Advance, stop: threading.Event | None) -> Fetched:
        return gdrive.fetch(file, source.address, part, policy=policy, advance=advance, stop=stop)

    return fetch


class _Places:
    """Resolves a file that may lie at several places: the downloader asks again when an address does not serve."""

    def __init__(self, places: tuple[str, ...]) -> None:
        self._places = places
        self._asked = 0

    def __call__(self) -> Location:
        place = self._places[self._asked % len(self._places)]
        self._asked += 1
        return Location(place)


def _unexpired(file: RemoteFile, links: Links | None) -> Location:
    location = None if links is None else links.get(file)
    if location is None or links is None:
        raise NetworkError(f"{file.name}: no link for it", hint="copy fresh links")
    links.check_fresh(file)
    return location
