"""Words for what sources do: safe to show, and never with an address beyond its host (addresses are signed)."""

from __future__ import annotations

import ssl
from http import HTTPStatus
from urllib.parse import unquote, urlsplit

import requests
from urllib3.exceptions import NameResolutionError

AGAIN = "check the connection and run again: it goes on where it stopped"
OTHER = "try again later or use another source"


def host_of(url: str | None) -> str:
    """Return the host of an address for messages: nothing of it that could be a secret, and no control characters."""
    try:
        host = urlsplit(url or "").hostname or "the source"
    except ValueError:
        host = "the source"
    return shown(host)


def name_of(url: str) -> str:
    """Return the last part of an address's path for messages, where no better name is known."""
    try:
        name = unquote(urlsplit(url).path).rpartition("/")[2]
    except ValueError:
        name = ""
    return shown(name) or "the file"


def shown(text: str) -> str:
    """Return text from outside for a message: printable, on one line, short."""
    plain = "".join(sign if sign.isprintable() else " " for sign in text)
    words = " ".join(plain.split()).replace('"', "'")
    return words if len(words) <= 80 else f"{words[:79]}…"


def answered(status: int) -> str:
    """Return what a host did that answered so, with the phrase of the standard, not that of the host."""
    try:
        return f"answered {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"answered {status}"


def phrase(error: BaseException) -> str:
    """Return what happened, in words; never the text of the error, which may hold the signed address."""
    for kinds, words in (
        ((NameResolutionError,), "is not known by that name"),
        ((requests.exceptions.ProxyError,), "cannot be reached through the proxy"),
        ((ConnectionRefusedError,), "refuses connections"),
        ((requests.exceptions.ConnectTimeout,), "does not answer"),
        ((TimeoutError, requests.exceptions.Timeout), "sent nothing more in time"),
        ((ssl.SSLError,), "broke the encrypted connection"),
    ):
        if any(follows_from(error, kind) for kind in kinds):
            return words
    return "broke the connection"


def follows_from(error: BaseException, kind: type[BaseException]) -> bool:
    """Return whether ``error`` is, wraps or follows from an error of that kind."""
    seen: list[object] = [error]
    for item in seen:  # grows while it is read
        if isinstance(item, kind):
            return True
        if isinstance(item, BaseException) and len(seen) < 64:
            seen += [item.__cause__, item.__context__, getattr(item, "reason", None), *item.args]
    return False
