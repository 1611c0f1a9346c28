"""A web server for one folder of pages, for this machine alone.

It listens on 127.0.0.1 and answers what a browser on this machine asks of ``localhost``. A page of another site could
reach it under that site's own name, made to point here (DNS rebinding): requests under other names are refused.
"""

from __future__ import annotations

import errno
import http
import socketserver
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from ndec_bench.errors import DataError, UsageError, reason
from ndec_bench.printable import one_line

if TYPE_CHECKING:
    import io
    import os
    from collections.abc import Callable
    from socket import socket

HOST = "127.0.0.1"
INDEX = "index.html"

_TYPES = {
    ".atom": "application/atom+xml; charset=utf-8",
    ".bib": "text/plain; charset=utf-8",  # so that a browser shows it
    ".css": "text/css; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".gif": "image/gif",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".svg": "image/svg+xml; charset=utf-8",
    ".tex": "text/plain; charset=utf-8",
    ".toml": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
    ".xml": "application/xml; charset=utf-8",
}
_HEADERS = {
    "Cache-Control": "no-cache",  # a site that was built again is seen at once
    "Content-Security-Policy": "frame-ancestors 'none'",  # it only counts as a header; the rest is in the pages
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_NOWHERE = ""


class FolderServer(ThreadingHTTPServer):
    """A server of the files in ``folder``, bound to 127.0.0.1 and not yet serving; close it after use.

    Folders are answered with their ``index.html`` and never listed. What is missing, hidden (a name that begins with a
    dot) or, by way of a symbolic link, outside ``folder`` is answered with 404.

    Parameters
    ----------
    folder
        It must hold an ``index.html``.
    port
        0 for any that is free.
    log
        Called with one line per answer, such as ``200 GET /index.html``; None for no log.

    Raises
    ------
    DataError
        If ``folder`` is missing or has no ``index.html``.
    UsageError
        If the port is in use or not allowed.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int, *, log: Callable[[str], None] | None = None) -> None:
        self.folder = _checked(folder)
        self.log = log
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            raise _no_port(port, error) from error

    @property
    def address(self) -> str:
        """Return the address of the first page, such as ``http://127.0.0.1:8000/``."""
        return f"http://{HOST}:{self.server_port}/"

    @property
    def hosts(self) -> frozenset[str]:
        """Return what a request may call this server in its header ``Host``."""
        port = self.server_port
        names = {f"{name}:{port}" for name in (HOST, "localhost")}
        return frozenset(names | ({HOST, "localhost"} if port == 80 else set()))

    def server_bind(self) -> None:
        """Bind the socket. The library's own method also asks the name service who 127.0.0.1 is, which may be slow."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, self.server_address[1]

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: object) -> None:
        """Pass over what ended one request: mostly a browser that had enough."""
        if self.log is not None:
            self.log("--- a request was broken off")


class _Handler(SimpleHTTPRequestHandler):
    """Answers one request."""

    server: FolderServer
    server_version = "ndec-bench"
    sys_version = ""
    timeout = 60.0

    def __init__(self, request: socket, client_address: tuple[str, int], server: FolderServer) -> None:
        super().__init__(request, client_address, server, directory=str(server.folder))

    def send_head(self) -> io.BytesIO | BinaryIO | None:
        """Return the open file to send, after its headers; None where the answer is complete without."""
        if self.headers.get("Host", "").lower() not in self.server.hosts:
            self.send_error(http.HTTPStatus.MISDIRECTED_REQUEST, f"this server is {self.server.address}")
            return None
        return super().send_head()

    def translate_path(self, path: str) -> str:
        """Return the file or folder that ``path`` of a request names; for all else the empty path, which is nowhere."""
        named = Path(super().translate_path(path))
        try:
            within = named.relative_to(self.server.folder)
            served = named / INDEX if named.is_dir() else named
            real = served.resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # of links in a circle, of zero bytes
            return _NOWHERE
        hidden = any(part.startswith(".") for part in within.parts)
        if hidden or not real.is_file() or not real.is_relative_to(self.server.folder):
            return _NOWHERE
        # A slash behind the name of a file makes another address of it, at which its links lead astray.
        if served is named and path.partition("?")[0].endswith("/"):
            return _NOWHERE
        return str(named)

    def guess_type(self, path: str | os.PathLike[str]) -> str:
        """Return the type of the file ``path``, by its ending; text is UTF-8."""
        return _TYPES.get(PurePosixPath(path).suffix.lower(), "application/octet-stream")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer with ``code`` and a line of plain text."""
        status = http.HTTPStatus(code)
        text = f"{status.value} {status.phrase}" + (f": {message}" if code == status.MISDIRECTED_REQUEST else "")
        body = f"{text}\n".encode()
        self.send_response(status.value)
        self.send_header("Connection", "close")
        self.send_header("Content-Type", _TYPES[".txt"])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def end_headers(self) -> None:
        """Add what every answer says, then end its headers."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log one answer."""
        if self.server.log is not None:
            status = code.value if isinstance(code, http.HTTPStatus) else code
            line = f"{status} {self.requestline.rpartition(' HTTP/')[0] or self.requestline}"
            self.server.log(one_line(line))

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing further: what went wrong shows in the status."""


def _checked(folder: Path) -> Path:
    """Return ``folder`` without symbolic links. Raises DataError if it is none or has no index."""
    hint = 'build a site with "ndec-bench site --out DIR"'
    if not folder.is_dir():
        found = "is not a folder" if folder.exists() else "missing"
        raise DataError(f"{folder}: {found}", hint=hint)
    if not (folder / INDEX).is_file():
        raise DataError(f"{folder}: has no {INDEX}", hint=f"name the folder of a site, or {hint}")
    return folder.resolve()


def _no_port(port: int, error: OSError) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"--port {port}: in use by another program", hint="take another, or --port 0 for any free one"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return UsageError(f"--port {port}: not allowed to you", hint="take one from 1024 up, or --port 0")
    return UsageError(f"--port {port}: cannot listen ({reason(error)})", hint="try --port 0")
