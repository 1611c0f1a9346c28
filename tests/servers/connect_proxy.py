"""An HTTPS proxy on 127.0.0.1 behind which a few hosts of the internet are look-alikes.

    authority = trustme.CA()
    with ConnectProxy(authority, {"drive.google.com": handler}) as proxy:
        # HTTPS_PROXY=proxy.url, REQUESTS_CA_BUNDLE=the file that authority.cert_pem.write_to_path wrote

CONNECT to a known host on port 443 is answered with TLS under a certificate of the test's own authority, and what comes
through it goes to that host's handler. All else is refused with 502 and kept in ``refused``.
"""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Protocol, Self, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

    import trustme


class Serve(Protocol):
    """Answers the requests of one connection to ``host`` until one side ends it."""

    def __call__(self, connection: ssl.SSLSocket, host: str, /) -> None:
        """Return when the connection is done; the proxy closes it."""


class ConnectProxy:
    """A context manager: a proxy from its entry to its exit.

    Attributes
    ----------
    url
        ``http://127.0.0.1:PORT``.
    tunnels
        Hosts to which a tunnel was made, in order.
    refused
        What else was asked: ``CONNECT host:port`` or another method and its address.
    """

    def __init__(self, authority: trustme.CA, hosts: Mapping[str, Serve]) -> None:
        self.hosts = dict(hosts)
        self.tunnels: list[str] = []
        self.refused: list[str] = []
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*self.hosts).configure_cert(self.context)
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.005})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.hang_up()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, proxy: ConnectProxy) -> None:
        self.proxy = proxy
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def hang_up(self) -> None:
        """Close what clients keep open, so that the threads that wait for their next request end."""
        for connection in list(self.open):
            try:
                # Of the socket under TLS: its own shutdown() would take the state away from the thread that writes.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                continue

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # clients that hang up are no error here
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = 5.0
    disable_nagle_algorithm = True

    def setup(self) -> None:
        # So little waits in the socket that the bytes sent are about those that the client has.
        cast("socket.socket", self.request).setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 15)
        super().setup()

    def do_CONNECT(self) -> None:
        proxy = self.server.proxy
        host, _, port = self.path.partition(":")
        if port != "443" or host not in proxy.hosts:
            self._refuse()
            return
        proxy.tunnels.append(host)
        self.send_response(200, "Connection established")
        self.end_headers()
        self.close_connection = True
        with proxy.context.wrap_socket(self.connection, server_side=True) as encrypted:
            encrypted.settimeout(None)
            self.server.open.add(encrypted)
            try:
                proxy.hosts[host](encrypted, host)
            finally:
                self.server.open.discard(encrypted)

    def do_GET(self) -> None:
        self._refuse()

    def do_HEAD(self) -> None:
        self._refuse()

    def _refuse(self) -> None:
        self.server.proxy.refused.append(f"{self.command} {self.path}")
        self.send_response(502, "Not a look-alike")
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass
