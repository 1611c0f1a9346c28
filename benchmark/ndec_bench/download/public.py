"""Files at addresses that strangers name, asked of the public network alone: not of this machine or its network.

A card's address is fetched by whoever reproduces the row, in a pull request's check too. It must not reach what only
the machine that runs it can reach (RFC 1918 networks, the metadata service of a cloud at 169.254.169.254).
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from ndec_bench.data.registry import DRIVE_HOST
from ndec_bench.data.trust import sha256_of
from ndec_bench.download import gdrive, ranges
from ndec_bench.download.answer import host_of
from ndec_bench.download.cost import RESERVE, disk_free, part_of
from ndec_bench.download.exchange import DEFAULT_POLICY, Location, Policy, new_session
from ndec_bench.download.jobs import Run, locked, move_to_place
from ndec_bench.download.range_reader import RangeReader
from ndec_bench.errors import DataError, NetworkError
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import requests

    from ndec_bench.download.exchange import Resolve

_OWN_NAMES = ("localhost", "local", "internal", "lan", "intranet", "home.arpa")
_NAT64 = IPv6Network("64:ff9b::/96")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_DRIVE_PATH = re.compile(r"/(?:file/)?d/([\w-]+)")
_DRIVE_ID = re.compile(r"[\w-]{10,100}")
_HUB = "huggingface.co"


def fetch_public(
    url: str,
    target: Path,
    *,
    name: str,
    sha256: str,
    largest: int,
    private: bool = False,
    policy: Policy = DEFAULT_POLICY,
    tell: Callable[[str], None] = lambda _: None,
    progress: Progress = silent,
) -> Path:
    """Return ``target`` once it is the file at ``url`` with the SHA-256 ``sha256``; nothing is asked if it is already.

    Addresses are http(s), those of Hugging Face and Google Drive among them; whatever they redirect to, only public
    ones are asked. An interrupted fetch goes on where it stopped. A file with another digest is removed.

    Parameters
    ----------
    name
        Name of the file for messages.
    largest
        Most bytes that are fetched.
    private
        Whether addresses of this machine and its network are asked too.
    policy
        How patient the download is.
    tell
        Called with a sentence for people before a byte is fetched: how much it is, where it goes.
    progress
        Called as ``progress(stage, done, total)`` in bytes.

    Raises
    ------
    DataError
        If the disk is too small or fails, the file is too large, or another process fetches into the folder.
    NetworkError
        If the source does not answer, is not public, or serves something else.
    InterruptedRun
        If the user stops it; what was received is kept.
    """
    if target.is_file() and sha256_of(target, progress, f"{name}: reading") == sha256:
        return target
    run = Run(target.parent, policy=replace(policy, largest=largest), progress=progress)
    part, drive_id = part_of(target), _drive_id(url)
    resolve: Resolve = partial(Location, served(url), sha256=sha256)
    if drive_id is not None:
        resolve = partial(gdrive.location, name, drive_id, sha256)
    with locked(run.root), new_session() if private else public_session() as session:
        size = _size(name, resolve, run.policy, session)
        done = part.stat().st_size if part.is_file() else 0
        _check_room(name, size, done, largest, run.root)
        tell(_cost(name, url, size, done, run.root))

        def advance(done: int, total: int | None) -> None:
            run.tell(name, done, max(total or size or 0, done))

        ranges.fetch(resolve, part, session=session, policy=run.policy, advance=advance)
        move_to_place(part, target)
    return target


def served(url: str) -> str:
    """Return the address that serves the bytes: the hub's page of a file is not the file."""
    parts = urlsplit(url)
    if parts.hostname == _HUB and "/blob/" in parts.path:
        return parts._replace(path=parts.path.replace("/blob/", "/resolve/", 1)).geturl()
    return url


def _drive_id(url: str) -> str | None:
    """Return the id of the file on Google Drive that ``url`` shows to people; None for other addresses."""
    parts = urlsplit(url)
    if parts.hostname != urlsplit(DRIVE_HOST).hostname:
        return None
    in_path = _DRIVE_PATH.match(parts.path)
    found = in_path[1] if in_path else next(iter(parse_qs(parts.query).get("id", [])), "")
    return found if _DRIVE_ID.fullmatch(found) else None


def _size(name: str, resolve: Resolve, policy: Policy, session: requests.Session) -> int | None:
    """Return the bytes of the file, asked of its source with one byte of it; None where it cannot tell."""
    patience = replace(policy, attempts=min(policy.attempts, 2))
    try:
        return RangeReader(name, resolve, session=session, policy=patience).size or None
    except NetworkError:
        return None


def _check_room(name: str, size: int | None, done: int, largest: int, folder: Path) -> None:
    if size is None:
        return
    if size > largest:
        raise DataError(f"{name}: {size:,} bytes, at most {largest:,} are fetched", hint="give the file with --file")
    free = disk_free(folder)
    if size - done + RESERVE > free:
        raise DataError(
            f"{folder}: {size - done:,} bytes are to be fetched and 1 GiB to be left, {free:,} are free",
            hint="free disk space, or give the file with --file",
        )


def _cost(name: str, url: str, size: int | None, done: int, folder: Path) -> str:
    amount = "a file of unknown size" if size is None else f"{size:,} bytes"
    there = f", {done:,} of which are there" if done else ""
    return f"fetching {name} from {host_of(url)}: {amount}{there}, to {folder} ({disk_free(folder):,} bytes free)"


def is_public(host: str) -> bool:
    """Return whether ``host``, as written in an address, can be one of the public network; no name is looked up."""
    name = host.lower().rstrip(".")
    if ":" in name or _NUMBER.fullmatch(name.rpartition(".")[2]):  # all that systems read as a number, 127.1 too
        return _is_public_number(name)
    return "." in name and not any(name == own or name.endswith(f".{own}") for own in _OWN_NAMES)


def public_session() -> requests.Session:
    """Return a session, to be closed by the caller, that asks public addresses alone; a proxy asks what it likes.

    The address of the open connection counts, before a request is sent over it: names may lead anywhere, and
    elsewhere each time. Raises NetworkError from the request.
    """
    session = new_session()
    session.mount("http://", _PublicAdapter())
    session.mount("https://", _PublicAdapter())
    return session


def _is_public_number(text: str) -> bool:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        nat64 = IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
        address = address.ipv4_mapped or address.sixtofour or nat64 or address
    return address.is_global and not address.is_multicast


def _check_peer(connection: HTTPConnection) -> None:
    found = connection.sock.getpeername()[0] if connection.sock is not None else ""
    if not _is_public_number(found):
        connection.close()
        raise NetworkError(
            f"{connection.host} is {found}, an address of this machine or its network, which is not asked for a file "
            "of strangers",
            hint="if you trust it, fetch it yourself and give the file with --file",
        )


class _PublicConnection(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _check_peer(self)


class _PublicTlsConnection(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        _check_peer(self)


class _PublicPool(HTTPConnectionPool):
    ConnectionCls = _PublicConnection


class _PublicTlsPool(HTTPSConnectionPool):
    ConnectionCls = _PublicTlsConnection


class _PublicAdapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 -- those of requests
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _PublicPool, "https": _PublicTlsPool}
