"""Addresses that strangers name, asked only where the public network answers: not this machine, not the one around it.

A card's address is fetched by whoever reproduces the row, in a pull request's check too. It must not reach what only
the machine that runs it can reach (RFC 1918 networks, the metadata service of a cloud at 169.254.169.254).
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from ndec_bench.download.session import new_session
from ndec_bench.errors import NetworkError

if TYPE_CHECKING:
    import requests

_OWN_NAMES = ("localhost", "local", "internal", "lan", "intranet", "home.arpa")
_NAT64 = IPv6Network("64:ff9b::/96")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")


def is_public(host: str) -> bool:
    """Return whether ``host``, as it stands in an address, can be one of the public network; no name is looked up."""
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
