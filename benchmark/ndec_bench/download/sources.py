"""The places a file can be had from, in order of preference, each ready to be asked.

A user's signed link comes first, then the sources of the registry. The mirror that an environment variable names takes
the place of a source's own host: whoever sets one, an institute with a proxy or a test, may have no way to the other.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlsplit

from ndec_bench.download import gdrive, huggingface, ranges
from ndec_bench.download.exchange import Location, new_session
from ndec_bench.download.range_reader import RangeReader
from ndec_bench.errors import NdecBenchError, NetworkError, UsageError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import requests

    from ndec_bench.data.registry import RemoteFile, Source
    from ndec_bench.download.exchange import Policy, Resolve
    from ndec_bench.download.links import Links
    from ndec_bench.download.ranges import Advance, Fetched

_T = TypeVar("_T")
_VARIABLE = "NDEC_BENCH_BASE_URL_{}"
_LEAST_LIMIT = 1 << 20


@dataclass(frozen=True)
class Candidate:
    """One source of one file.

    Attributes
    ----------
    file
        What the registry says of the file.
    label
        What the source is called in messages and records: ``huggingface``, ``mirror of meta``, ``link``.
    url
        Its address for people; never with a signature or a token.
    session, policy
        How it is asked.
    resolve
        Finds the address of the bytes.
    drive_id
        What Google Drive calls the file; empty elsewhere.
    """

    file: RemoteFile
    label: str
    url: str
    session: requests.Session
    policy: Policy
    resolve: Resolve
    drive_id: str = ""

    def fetch(self, part: Path, advance: Advance, stop: threading.Event | None) -> Fetched:
        """Fetch the file into ``part``, going on with what is there; see `ranges.fetch`."""
        fetch = partial(ranges.fetch, self.resolve, part, session=self.session, advance=advance, stop=stop)
        if not self.drive_id:
            return fetch(policy=self.policy)
        try:
            # Twice an estimated size is believed: enough for an estimate that is off, and no stream without end.
            return fetch(policy=replace(self.policy, largest=2 * self.file.bytes + _LEAST_LIMIT))
        except NetworkError as error:
            by_hand = gdrive.BY_HAND.format(self.drive_id, part.with_name(self.file.name))
            raise NetworkError(error.message, hint=f"{error.hint}, or {by_hand}") from error

    def reader(self, stop: threading.Event | None) -> RangeReader:
        """Return a reader of single ranges of the file. Raises NetworkError, also where there are none, as on Drive."""
        return RangeReader(self.file.name, self.resolve, session=self.session, policy=self.policy, stop=stop)


def from_first(
    file: RemoteFile,
    use: Callable[[Candidate], _T],
    *,
    policy: Policy,
    links: Links | None = None,
    passed_over: tuple[type[NdecBenchError], ...] = (NetworkError,),
) -> tuple[_T, Candidate, list[str]]:
    """Return what ``use`` makes of the first source that serves ``file``, that source, and why others did not.

    Parameters
    ----------
    use
        Asks a source for what is wanted of the file.
    passed_over
        Errors of ``use`` after which the next source is asked.

    Raises
    ------
    NetworkError
        If no source serves; the one error of ``use`` where there is only one source.
    """
    reasons: list[str] = []
    last: NdecBenchError | None = None
    with new_session() as session:
        for candidate in candidates(file, session=session, policy=policy, links=links):
            try:
                return use(candidate), candidate, reasons
            except passed_over as error:
                reasons.append(f"{candidate.label}: {error.message}")
                last = error
    if len(reasons) == 1 and last is not None:
        raise last
    raise NetworkError(
        f"{file.name}: no source has it ({'; '.join(reasons) or 'none is known'})",
        hint=last.hint if last else "see docs/data.md for other ways to get it",
    )


def candidates(
    file: RemoteFile,
    *,
    session: requests.Session,
    policy: Policy,
    links: Links | None = None,
    environ: Mapping[str, str] = os.environ,
) -> tuple[Candidate, ...]:
    """Return the sources of ``file`` in the order in which they are to be tried. Nothing is asked of them yet.

    Raises
    ------
    UsageError
        If a mirror's address is not one.
    """
    made = partial(Candidate, file, session=session, policy=policy)
    found: list[Candidate] = []
    link = links.by_name.get(file.name) if links is not None else None
    if link is not None:
        found.append(made("link", link.url.partition("?")[0], resolve=partial(link.fresh_location, file.name)))
    for source in file.sources:
        mirror = mirror_of(source, environ=environ)
        if mirror:
            # The downloader asks again when an address does not serve: the next place then.
            locations = cycle([Location(place) for place in places(mirror, file, source)])
            found.append(made(f"mirror of {source.kind}", shown(mirror), resolve=partial(next, locations)))
        elif source.kind == "gdrive":
            resolve = partial(gdrive.location, file.name, source.address, file.sha256)
            found.append(made(source.kind, source.url, resolve=resolve, drive_id=source.address))
        elif source.kind == "huggingface":
            resolve = partial(huggingface.resolve, file.name, source, policy=policy, environ=environ)
            found.append(made(source.kind, source.url, resolve=resolve))
        else:
            found.append(made(source.kind, source.url, resolve=partial(Location, source.url)))
    return tuple(found)


def mirror_of(source: Source, *, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the address of the mirror of ``source``, without a slash at its end; None if it has none.

    Raises
    ------
    UsageError
        If what the variable holds is not an address of http or https.
    """
    variable = _VARIABLE.format(source.kind.upper())
    address = environ.get(variable, "").rstrip("/")
    if not address:
        return None
    try:
        parts = urlsplit(address)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        sound = False
    if not sound:
        raise UsageError(
            f"{variable}={shown(address)[:200]} is not an address", hint="give http://HOST/PATH or https://HOST/PATH"
        )
    return address


def places(mirror: str, file: RemoteFile, source: Source) -> tuple[str, ...]:
    """Return where on ``mirror`` the file may lie: under its name, then under the path it has at its own source."""
    original = source.address if source.kind == "gdrive" else urlsplit(source.url).path.lstrip("/")
    return tuple(f"{mirror}/{quote(place)}" for place in dict.fromkeys((file.name, original)))


def shown(address: str) -> str:
    """Return ``address`` for people: without user, password and query."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "..."
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if host else address.partition("?")[0]
