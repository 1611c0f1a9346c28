"""What the look-alikes have in common: a server on 127.0.0.1 that leaves no socket and no thread behind."""

from __future__ import annotations

import socket
import sys
import threading
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self, cast

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler


class LocalServer:
    """A context manager: answers with ``handler`` from its entry to its exit.

    Attributes
    ----------
    url
        ``http://127.0.0.1:PORT``.
    open
        Connections that are cut at the exit; a handler adds those it makes itself.
    """

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self.open: set[socket.socket] = set()
        self._server = _Server(self, handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.005})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._hang_up()
        self._server.server_close()
        self._thread.join()

    def _hang_up(self) -> None:
        """Close what clients keep open, so that the threads that wait for their next request end."""
        for connection in list(self.open):
            try:
                # Of the socket under TLS: its own shutdown() would take the state away from the thread that writes.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                continue


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, host: LocalServer, handler: type[BaseHTTPRequestHandler]) -> None:
        self.host: Any = host  # handlers know which look-alike they belong to
        super().__init__(("127.0.0.1", 0), handler)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        self.host.open.add(cast("socket.socket", request))
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        self.host.open.discard(cast("socket.socket", request))
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # clients that hang up are no error here
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def send_little_ahead(connection: socket.socket) -> None:
    """Let little wait in the socket, so that the bytes sent are about those that the client has."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 15)
