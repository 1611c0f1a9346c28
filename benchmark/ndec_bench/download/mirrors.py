"""Mirrors: hosts that environment variables put in place of a source's own, for institutes with a proxy and for tests.

Whoever sets one may have no way to the source itself, so a source with a mirror is not asked.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from ndec_bench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ndec_bench.data.registry import RemoteFile, Source

VARIABLE = "NDEC_BENCH_BASE_URL_{}"


def mirror_of(source: Source, *, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the address of the mirror of ``source``, without a slash at its end; None if it has none.

    Raises
    ------
    UsageError
        If what the variable holds is no address of http or https.
    """
    variable = VARIABLE.format(source.kind.upper())
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
            f"{variable}={shown(address)[:200]} is no address", hint="give http://HOST/PATH or https://HOST/PATH"
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
