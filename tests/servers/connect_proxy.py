"""An HTTPS proxy on 127.0.0.1 behind which a few hosts of the internet are look-alikes.

    authority = trustme.CA()
    with ConnectProxy(authority, {"drive.google.com": handler}) as proxy:
        # HTTPS_PROXY=proxy.url, REQUESTS_CA_BUNDLE=the file that authority.cert_pem.write_to_path wrote

CONNECT to a known host on port 443 is answered with TLS under a certificate of the test's own authority, and what comes
through it goes to that host's handler. All else is refused with 502 and kept in ``refused``.
"""

from __future__ import annotations

import ssl
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, Protocol, cast

from local_server import LocalServer, send_little_ahead

if TYPE_CHECKING:
    from collections.abc import Mapping

    import trustme


class Serve(Protocol):
    """Answers the requests of one connection to ``host`` until one side ends it."""

    def __call__(self, connection: ssl.SSLSocket, host: str, /) -> None:
        """Return when the connection is done; the proxy closes it."""


class ConnectProxy(LocalServer):
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
        super().__init__(_Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60.0
    disable_nagle_algorithm = True

    def setup(self) -> None:
        send_little_ahead(self.request)
        super().setup()
        self.proxy: ConnectProxy = cast("Any", self.server).host

    def do_CONNECT(self) -> None:
        proxy = self.proxy
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
            proxy.open.add(encrypted)
            try:
                proxy.hosts[host](encrypted, host)
            finally:
                proxy.open.discard(encrypted)

    def do_GET(self) -> None:
        self._refuse()

    def do_HEAD(self) -> None:
        self._refuse()

    def _refuse(self) -> None:
        self.proxy.refused.append(f"{self.command} {self.path}")
        self.send_response(502, "Not a look-alike")
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass
