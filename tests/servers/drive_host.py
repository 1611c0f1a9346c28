"""A look-alike of Google Drive: its pages, redirects and bytes, for `connect_proxy`.

    drive = DriveHost()
    drive.add("ID", b"...", scanned=False)               # a file too large to be scanned: a page warns of it first
    drive.fault(BYTES, Fault(cut_after=1000))            # the next answer with bytes goes wrong
    with ConnectProxy(authority, drive.hosts) as proxy: ...

As Drive does, ``drive.google.com/uc?id=ID`` redirects to ``drive.usercontent.google.com/download``, which answers with
the bytes, or with a web page of status 200: the form that warns of a file nobody scanned, or a reason for giving none.
Pages set cookies. What needs an account leads to ``accounts.google.com``.
"""

from __future__ import annotations

import html
import random
import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Literal, cast
from urllib.parse import parse_qs, urlsplit

from static_host import Fault, Faults, Served

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Mapping

    from connect_proxy import Serve

DRIVE, CONTENT, DOCS = "drive.google.com", "drive.usercontent.google.com", "docs.google.com"
ACCOUNTS = "accounts.google.com"

FRONT, BYTES = "front", "bytes"
"""Where a fault can be: at the address that redirects, or where the bytes are."""

ID = "1ZrPNoa3mTAxl6lViVjNtN90i20VSuzJs"
"""The id that Drive has for NDEC's ground truth."""
WHOLE = random.Random(4).randbytes(2_000_000)  # noqa: S311
"""A file for tests that need no certain one."""

_SEND = 1 << 14
_MODIFIED = 1_650_000_000

QUOTA = (
    "Too many users have viewed or downloaded this file recently. Please try accessing the file again later. "
    "It's a large file or is shared with many people: it may take up to 24 hours until it can be viewed or downloaded. "
    "After that, ask whoever looks after the domain."
)

Refusal = Literal["quota", "sign-in", "access", "busy", "no-form"]


@dataclass(frozen=True)
class DriveFile:
    """A file on Drive.

    Attributes
    ----------
    content
        Its bytes.
    filename
        What Content-Disposition calls it.
    scanned
        Whether Drive scanned it for viruses; if not, a page comes first.
    refusal
        Why it is not given, if it is not: ``quota`` used up, ``sign-in`` needed, no ``access``, ``busy`` (429), a page
        without a form (``no-form``).
    """

    content: bytes
    filename: str = "file.csv"
    scanned: bool = True
    refusal: Refusal | None = None


@dataclass(frozen=True)
class DriveFault(Fault):
    """A fault with ``endless``: the body comes again and again. ``rate`` begins after ``stall_at`` bytes, if given."""

    endless: bool = False


@dataclass
class Asked(Served):
    """One request; ``host`` is the host of the tunnel and ``place`` where its answer came from."""

    host: str = ""
    place: str = ""

    @property
    def cookie(self) -> str | None:
        """Return the Cookie header."""
        return self.headers.get("cookie")


@dataclass
class DriveHost(Faults):
    """Files by id, what goes wrong with them, and all that was asked.

    ``warns`` lets the page that warns come again and again.
    """

    files: dict[str, DriveFile] = field(default_factory=dict)
    requests: list[Asked] = field(default_factory=list)
    warns: bool = False
    closing: threading.Event = field(default_factory=threading.Event)
    uuids: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def add(
        self,
        drive_id: str,
        content: bytes,
        *,
        filename: str = "file.csv",
        scanned: bool = True,
        refusal: Refusal | None = None,
    ) -> None:
        """Keep ``content`` as the file ``drive_id``."""
        self.files[drive_id] = DriveFile(content, filename, scanned, refusal)

    def answers(self, place: str) -> list[Asked]:
        """Return the requests that were answered from ``place``, in order."""
        return [asked for asked in self.requests if asked.place == place]

    @property
    def hosts(self) -> Mapping[str, Serve]:
        """Return the hosts of Drive for the proxy."""
        return dict.fromkeys((DRIVE, CONTENT, DOCS, ACCOUNTS), self._serve)

    def _serve(self, connection: ssl.SSLSocket, host: str) -> None:
        _Handler(connection, (host, 443), self)  # type: ignore[arg-type]  # it wants a server only to hand it on


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0

    @property
    def drive(self) -> DriveHost:
        return cast("DriveHost", self.server)

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(address.query).items()}
        self.host = self.client_address[0]
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.asked = Asked(self.command, address.path, address.query, headers, host=self.host)
        self.fault = Fault()
        self.drive.requests.append(self.asked)
        file = self.drive.files.get(self.query.get("id", ""))
        if (self.host, address.path) == (DRIVE, "/uc"):
            self._front(file)
        elif (self.host, address.path) == (CONTENT, "/download") and file is not None:
            self._download(file)
        elif (self.host, address.path) == (DRIVE, "/open") and file is not None:
            self._redirect(f"https://{DRIVE}/file/d/{self.query['id']}/view?usp=drive_open", status=302)
        elif self.host == DRIVE and address.path.startswith("/file/d/"):
            self._page("viewer", "<title>file.csv - Google Drive</title><div role='main'></div>")
        elif self.host == ACCOUNTS:
            self._page("sign-in", "<title>Sign in - Google Accounts</title><form action='/signin'><input></form>")
        else:
            self._page("unknown", "<title>Error 404 (Not Found)!!1</title><p><b>404.</b> That's an error.", 404)

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def _front(self, file: DriveFile | None) -> None:
        self.asked.place = FRONT
        self.fault = self.drive.take_fault(FRONT)
        self.drive.closing.wait(self.fault.stall)
        if self.fault.status is not None:
            self._failed(self.fault.status)
        elif file is None:
            self._page("unknown", "<title>Google Drive - Page Not Found</title><p>Sorry, the file does not exist.", 404)
        elif file.refusal == "sign-in":
            self._redirect(f"https://{ACCOUNTS}/ServiceLogin?continue=https://{DRIVE}/uc?id={self.query['id']}")
        elif file.refusal == "busy":
            self._page("busy", "<title>Sorry...</title><h1>We're sorry...</h1><p>... automated queries", 429)
        else:
            self._redirect(f"https://{CONTENT}/download?id={self.query['id']}&export=download")

    def _download(self, file: DriveFile) -> None:
        if file.refusal == "quota":
            caption = "<p class='uc-error-caption'>Sorry, you can't view or download this file at this time.</p>"
            text = html.escape(QUOTA)
            self._page("quota", f'<title>Quota exceeded</title>{caption}\n<p class="uc-error-subcaption">{text}</p>')
        elif file.refusal == "access":
            self._page("access", "<title>Google Drive - Access Denied</title><p>You need access. Request it.", 403)
        elif file.refusal == "no-form":
            self._page(
                "no-form", "<title>Google Drive - Virus scan warning</title><p>can't scan this file for viruses."
            )
        elif self.drive.warns or not (file.scanned or self._confirmed()):
            self._warn()
        else:
            self._bytes(file)

    def _confirmed(self) -> bool:
        return self.query.get("confirm") == "t" and self.query.get("uuid") in self.drive.uuids

    def _warn(self) -> None:
        uuid = f"00000000-0000-4000-8000-{len(self.drive.uuids):012d}"
        self.drive.uuids.add(uuid)
        values = {"id": self.query["id"], "export": "download", "confirm": "t", "uuid": uuid}
        inputs = "".join(f'<input type="hidden" name="{name}" value="{value}">' for name, value in values.items())
        self._page(
            "warning",
            "<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>\n"
            '<p class="uc-warning-subcaption">Google Drive can\'t scan this file for viruses.</p>'
            f'<form id="download-form" action="https://{CONTENT}/download" method="get">'
            f'<input type="submit" id="uc-download-link" value="Download anyway"/>{inputs}</form>\n</body></html>',
            cookies=(f"download_warning_13058876669334088843_{self.query['id']}=t", "NID=511=abc; domain=.google.com"),
        )

    def _redirect(self, address: str, *, status: int = 303) -> None:
        self._head(status, {"Location": address, "Set-Cookie": "NID=510=first; domain=.google.com; path=/"})

    def _failed(self, status: int) -> None:
        phrase = HTTPStatus(status).phrase
        self._page(self.asked.place, f"<title>Error {status} ({phrase})!!1</title><p><b>{status}.</b>", status)

    def _page(self, place: str, text: str, status: int = 200, cookies: tuple[str, ...] = ()) -> None:
        body = text.encode()
        self.asked.place = place
        self._head(status, {"Content-Type": "text/html; charset=utf-8"}, len(body), cookies)
        self.wfile.write(body)

    def _bytes(self, file: DriveFile) -> None:
        self.asked.place = BYTES
        self.fault = fault = self.drive.take_fault(BYTES)
        if fault.stall_at is None:
            self.drive.closing.wait(fault.stall)
        if fault.status is not None:
            self._failed(fault.status)
            return
        content = file.content if fault.body is None else fault.body
        content = fault.html.encode() if fault.html is not None else content
        start = None if fault.ignore_range else self._range()
        headers = {
            "Content-Type": "text/html" if fault.html is not None else "application/octet-stream",
            "Content-Disposition": f"attachment; filename=\"{file.filename}\"; filename*=UTF-8''{file.filename}",
            "Accept-Ranges": "bytes",
            "Last-Modified": formatdate(_MODIFIED, usegmt=True),
        }
        if start is not None and start >= len(content):
            self._head(416, {"Content-Range": f"bytes */{len(content)}"})
            return
        if start is not None:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._head(200 if start is None else 206, headers, len(content) - (start or 0))
        self._send(content[start or 0 :])

    def _range(self) -> int | None:
        found = re.fullmatch(r"bytes=([0-9]+)-", self.headers.get("Range", ""))
        fresh = self.headers.get("If-Range", formatdate(_MODIFIED, usegmt=True)) == formatdate(_MODIFIED, usegmt=True)
        return int(found[1]) if found and fresh else None

    def _head(self, status: int, headers: Mapping[str, str], length: int = 0, cookies: tuple[str, ...] = ()) -> None:
        changed: dict[str, str | None] = {**headers, "Content-Length": str(length)}
        if self.fault.chunked:
            changed |= {"Transfer-Encoding": "chunked", "Content-Length": None}
        if self.fault.content_length is not None:
            changed["Content-Length"] = str(self.fault.content_length)
        if self.fault.gzip:
            changed["Content-Encoding"] = "gzip"
        changed |= self.fault.headers
        self.asked.status = status
        self.send_response(status)
        for name, value in changed.items():
            if value is not None:
                self.send_header(name, value)
        for cookie in cookies:
            self.send_header("Set-Cookie", cookie)
        self.end_headers()

    def _send(self, content: bytes) -> None:
        fault = self.fault
        for piece in self._pieces(content):
            self._hold_back(len(piece))
            if self.drive.closing.is_set():
                self.close_connection = True
                return
            self._put(piece)
        if fault.cut_after is not None:
            self._cut()
        elif fault.chunked:
            self.wfile.write(b"0\r\n\r\n")
        elif fault.content_length is not None:
            self.close_connection = True  # nobody can tell where the next answer would begin

    def _pieces(self, content: bytes) -> Iterator[bytes]:
        """Yield the body in pieces, small ones while it drips; without end if it shall have none."""
        content, at = content[: self.fault.cut_after], 0
        while at < len(content):
            step = 16 if self.fault.rate and self._late() else _SEND
            yield content[at : at + step]
            at += step
            if isinstance(self.fault, DriveFault) and self.fault.endless:
                at %= len(content)

    def _late(self) -> bool:
        return self.asked.sent >= (self.fault.stall_at or 0)

    def _hold_back(self, count: int) -> None:
        if self.fault.rate and self._late():
            self.drive.closing.wait(count / self.fault.rate)
        elif self.fault.stall_at is not None and self._late():
            self.drive.closing.wait(self.fault.stall)

    def _put(self, piece: bytes) -> None:
        # Counted before they go out, so that whoever has read the bytes finds them counted.
        self.asked.sent += len(piece)
        try:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if self.fault.chunked else piece)
        except OSError:
            self.asked.sent -= len(piece)
            raise

    def _cut(self) -> None:
        if self.fault.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
