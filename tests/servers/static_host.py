"""A static file host on 127.0.0.1 that behaves well, and badly on demand.

    with StaticHost({"/a.zip": b"..."}) as host:
        host.fault("/a.zip", Fault(cut_after=1000), Fault(status=503))  # two requests go wrong, the next do not
        host.fault("/b.zip", Fault(status=404), always=True)            # every request goes wrong
        client.get(host.url + "/a.zip")
        host.requests[0].sent                                           # bytes of the body handed to the socket

It speaks HTTP/1.1 with keep-alive: Range (one range), If-Range, If-Match, strong ETags, Last-Modified, HEAD. It answers
from threads of its own, so that the client may run in a subprocess. Paths are matched without their query string.
"""

from __future__ import annotations

import hashlib
import re
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from local_server import LocalServer, send_little_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_SEND = 1 << 14
_MODIFIED = 1_700_000_000


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request; several of these can be true at once.

    Attributes
    ----------
    status
        Answer with this status and a short text instead of the file.
    redirect
        Answer 302 to this address (a path or a URL).
    retry_after
        Value of a Retry-After header.
    cut_after
        Close the connection after so many bytes of the body; ``reset`` closes it with a TCP reset.
    rate
        Send so many bytes per second, in small pieces (a slow drip).
    stall
        Say nothing for so many seconds before the status line; ``stall_at`` moves that to after so many bytes of body.
    content_length
        Value of Content-Length, whatever the body has.
    body
        Serve these bytes instead of the file, with the file's ETag (wrong bytes).
    ignore_range
        Answer 200 with the whole file to a Range request.
    html
        Answer 200 with this text as ``text/html``.
    gzip
        Say Content-Encoding: gzip.
    chunked
        Send the body in chunks without Content-Length.
    headers
        Headers to set; None leaves a header out.
    """

    status: int | None = None
    redirect: str | None = None
    retry_after: str | None = None
    cut_after: int | None = None
    reset: bool = False
    rate: float | None = None
    stall: float = 0.0
    stall_at: int | None = None
    content_length: int | None = None
    body: bytes | None = None
    ignore_range: bool = False
    html: str | None = None
    gzip: bool = False
    chunked: bool = False
    headers: Mapping[str, str | None] = field(default_factory=dict)


@dataclass
class Served:
    """One request and what was answered. Header names are in lower case; ``sent`` counts bytes of the body."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    status: int = 0
    sent: int = 0

    @property
    def range(self) -> str | None:
        """Return the Range header."""
        return self.headers.get("range")


class Faults:
    """What goes wrong with the next answers, by their path or another name for a place."""

    def __init__(self) -> None:
        self._faults: dict[str, deque[Fault]] = {}
        self._always: dict[str, Fault] = {}
        self._lock = threading.Lock()

    def fault(self, place: str, *faults: Fault, always: bool = False) -> None:
        """Let the next answers of ``place`` go wrong one after the other; with ``always``, the last one for ever."""
        with self._lock:
            self._faults[place] = deque(faults[:-1] if always else faults)
            self._always.pop(place, None)
            if always:
                self._always[place] = faults[-1]

    def take_fault(self, place: str) -> Fault:
        """Return the fault of the next answer of ``place``, used up; one without faults if none is planned."""
        with self._lock:
            waiting = self._faults.get(place)
            return waiting.popleft() if waiting else self._always.get(place, Fault())


class StaticHost(LocalServer, Faults):
    """A context manager: serves ``files`` (path to content or to a file on disk) from its entry to its exit.

    Parameters
    ----------
    files
        Path (with its leading slash) to bytes or to a file. It may be changed while the host runs.
    rate
        Bytes per second over all connections together, sent in pieces of 16 KiB; None for no limit.

    Attributes
    ----------
    url
        ``http://127.0.0.1:PORT``.
    requests
        Everything that was asked, in order of arrival.
    """

    def __init__(self, files: Mapping[str, bytes | Path], *, rate: float | None = None) -> None:
        self.files = dict(files)
        self.requests: list[Served] = []
        self.rate = rate
        self.closing = threading.Event()
        self._etags: dict[str, str] = {}
        self._free_at = 0.0
        Faults.__init__(self)
        super().__init__(_Handler)

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        super().__exit__()

    def change(self, path: str, content: bytes, etag: str | None = None) -> None:
        """Serve other bytes from now on, under another ETag (or the one given)."""
        with self._lock:
            self.files[path] = content
            self._etags[path] = etag or _etag(content)

    def etag(self, path: str) -> str:
        """Return the strong ETag of ``path``, quotes included."""
        with self._lock:
            content = self.files[path]
            if path not in self._etags:
                self._etags[path] = _etag(content if isinstance(content, bytes) else str(content).encode())
            return self._etags[path]

    def sent(self, path: str | None = None) -> int:
        """Return the bytes of bodies handed to sockets, of one path or of all."""
        with self._lock:
            return sum(request.sent for request in self.requests if path in {None, request.path})

    def note(self, served: Served, sent: int = 0) -> None:
        """Enter a request in the log, or more bytes sent for it."""
        with self._lock:
            if served.status == 0 and not sent:
                self.requests.append(served)
            served.sent += sent

    def throttle(self, count: int, rate: float | None) -> None:
        """Wait until ``count`` bytes may go out: at ``rate`` for this request and at the rate of the host."""
        if rate:
            self.closing.wait(count / rate)
        if self.rate:
            with self._lock:
                start = max(self._free_at, time.monotonic())
                self._free_at = due = start + count / self.rate
            self.closing.wait(max(0.0, due - time.monotonic()))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    disable_nagle_algorithm = True

    def setup(self) -> None:
        send_little_ahead(self.request)
        super().setup()
        self.host: StaticHost = cast("Any", self.server).host

    def do_GET(self) -> None:
        host = self.host
        address = urlsplit(self.path)
        path = unquote(address.path)
        self.served = Served(
            self.command, path, address.query, {key.lower(): value for key, value in self.headers.items()}
        )
        host.note(self.served)
        self.fault = host.take_fault(path)
        if self.fault.stall_at is None:
            host.closing.wait(self.fault.stall)
        self._answer(path)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def _answer(self, path: str) -> None:
        fault, content = self.fault, self.host.files.get(path)
        if fault.redirect is not None:
            self._text(302, "", {"Location": fault.redirect})
        elif fault.status is not None:
            self._text(fault.status, HTTPStatus(fault.status).phrase)
        elif fault.html is not None:
            self._text(200, fault.html, {"Content-Type": "text/html; charset=utf-8"})
        elif content is None:
            self._text(404, "Not Found")
        else:
            self._file(path, fault.body if fault.body is not None else content)

    def _text(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        body = text.encode()
        self._head(status, {"Content-Type": "text/plain", **(headers or {}), "Content-Length": str(len(body))})
        self._send(iter([body]))

    def _file(self, path: str, content: bytes | Path) -> None:
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        etag = self.host.etag(path)
        if self.headers.get("If-Match", etag) != etag:
            self._text(412, "Precondition Failed")
            return
        asked = None if self.fault.ignore_range else self._range(size, etag)
        start, stop = asked or (0, size)
        headers = {
            "Content-Type": "application/octet-stream",
            "Accept-Ranges": "bytes",
            "ETag": etag,
            "Last-Modified": formatdate(_MODIFIED, usegmt=True),
        }
        if asked and start >= stop:
            self._text(416, "", {**headers, "Content-Range": f"bytes */{size}"})
            return
        if asked:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        if self.fault.chunked:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(stop - start)
        self._head(206 if asked else 200, headers)
        self._send(_blocks(content, start, stop))

    def _range(self, size: int, etag: str) -> tuple[int, int] | None:
        condition = self.headers.get("If-Range", etag)
        if condition not in {etag, formatdate(_MODIFIED, usegmt=True)}:
            return None
        found = re.fullmatch(r"bytes=([0-9]*)-([0-9]*)", self.headers.get("Range", ""))
        if not found or not (found[1] or found[2]):
            return None
        if not found[1]:
            return max(0, size - int(found[2])), size
        return int(found[1]), min(size, int(found[2]) + 1) if found[2] else size

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        fault = self.fault
        changed: dict[str, str | None] = {**headers, **fault.headers}
        if fault.content_length is not None:
            changed["Content-Length"] = str(fault.content_length)
        if fault.gzip:
            changed["Content-Encoding"] = "gzip"
        if fault.retry_after is not None:
            changed["Retry-After"] = fault.retry_after
        self.served.status = status
        self.send_response(status)
        for key, value in changed.items():
            if value is not None:
                self.send_header(key, value)
        self.end_headers()

    def _send(self, blocks: Iterator[bytes]) -> None:
        host, fault, left = self.host, self.fault, self.fault.cut_after
        if self.command == "HEAD":
            return
        for block in blocks:
            piece = block if left is None else block[:left]
            if fault.stall_at is not None and self.served.sent >= fault.stall_at:
                host.closing.wait(fault.stall)
            for at in range(0, len(piece), self._step()):
                self._put(piece[at : at + self._step()])
            if left is not None:
                left -= len(piece)
                if left <= 0:
                    self._cut()
                    return
            if host.closing.is_set():
                break
        if fault.chunked:
            self.wfile.write(b"0\r\n\r\n")
        if fault.content_length is not None or host.closing.is_set():
            self.close_connection = True  # nobody can tell where the next answer would begin

    def _step(self) -> int:
        return max(1, min(_SEND, int(self.fault.rate / 20))) if self.fault.rate else _SEND

    def _put(self, piece: bytes) -> None:
        self.host.throttle(len(piece), self.fault.rate)
        # Counted before they go out, so that whoever has read the bytes finds them counted.
        self.host.note(self.served, len(piece))
        try:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if self.fault.chunked else piece)
        except OSError:
            self.host.note(self.served, -len(piece))
            raise

    def _cut(self) -> None:
        if self.fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


def _blocks(content: bytes | Path, start: int, stop: int) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield from (content[at : min(at + _SEND, stop)] for at in range(start, stop, _SEND))
        return
    with content.open("rb") as file:
        file.seek(start)
        for at in range(start, stop, _SEND):
            yield file.read(min(_SEND, stop - at))


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'
