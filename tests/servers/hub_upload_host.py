"""A look-alike of the Hugging Face hub that takes uploads, on 127.0.0.1: makes data sets, stores large files, commits.

    with HubUploadHost("hf_token") as hub:
        # HF_ENDPOINT=hub.url, HF_TOKEN=hf_token

It speaks what huggingface_hub does without xet: create, preupload, the LFS batch, PUT, commit, and HEAD on the file.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from local_server import LocalServer

COMMIT = "c0ffee" * 6 + "c0ff"


@dataclass
class Repository:
    """A data set and its files."""

    private: bool
    files: dict[str, str] = field(default_factory=dict)  # path to SHA-256


class HubUploadHost(LocalServer):
    """A context manager: takes uploads from its entry to its exit.

    Attributes
    ----------
    url
        ``http://127.0.0.1:PORT``, for HF_ENDPOINT.
    repositories
        Data sets by USER/REPO.
    stored
        Contents by SHA-256.
    asked
        Method and path of each request.
    refusing
        A status with which everything is answered; None for the truth.
    other_digest
        Whether files are said to have another digest than they have.
    """

    def __init__(self, token: str) -> None:
        self.token = token
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.refusing: int | None = None
        self.other_digest = False
        super().__init__(_Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60.0

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        hub, path, body = self._asked()
        if not self._may(hub):
            return
        if path == "/api/repos/create":
            told = json.loads(body)
            name = f"{told['organization']}/{told['name']}"
            there = name in hub.repositories
            private = (
                told.get("visibility") == "private" or told.get("private") is True
            )  # as newer and older clients ask
            hub.repositories.setdefault(name, Repository(private))
            self._answer(409 if there else 200, {"url": f"{hub.url}/datasets/{name}", "id": name})
        elif path.endswith("/preupload/main"):
            files = [
                {"path": one["path"], "uploadMode": "lfs", "shouldIgnore": False} for one in json.loads(body)["files"]
            ]
            self._answer(200, {"files": files})
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._answer(200, {"objects": [self._place(hub, one) for one in json.loads(body)["objects"]]})
        elif path.endswith("/commit/main"):
            name = path.removeprefix("/api/datasets/").removesuffix("/commit/main")
            for line in body.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "lfsFile":
                    hub.repositories[name].files[entry["value"]["path"]] = entry["value"]["oid"]
            commit = {"commitUrl": f"{hub.url}/datasets/{name}/commit/{COMMIT}", "commitOid": COMMIT}
            self._answer(200, {**commit, "success": True})
        else:
            self._answer(404, {})

    def do_PUT(self) -> None:
        hub, path, body = self._asked()
        digest = hashlib.sha256(body).hexdigest()
        hub.stored[digest] = body
        self._answer(200 if path == f"/store/{digest}" else 400, {})

    def do_HEAD(self) -> None:
        hub, path, _ = self._asked()
        name, _, rest = path.removeprefix("/datasets/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        digest = hub.repositories[name].files.get(file) if name in hub.repositories else None
        if digest is None or revision != COMMIT:
            self._answer(404, {})
            return
        claimed = hashlib.sha256(b"other").hexdigest() if hub.other_digest else digest
        headers = {
            "X-Repo-Commit": COMMIT,
            "X-Linked-Size": str(len(hub.stored[digest])),
            "X-Linked-Etag": f'"{claimed}"',
            "Location": f"https://store.invalid/{digest}",  # another host, as that of the hub is
        }
        self._answer(302, {}, headers)

    def do_GET(self) -> None:
        self.do_HEAD()

    def _asked(self) -> tuple[HubUploadHost, str, bytes]:
        hub: HubUploadHost = cast("Any", self.server).host
        path = unquote(urlsplit(self.path).path)
        hub.asked.append((self.command, path))
        if self.headers.get("Transfer-Encoding") == "chunked":
            return hub, path, self._chunks()
        return hub, path, self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _chunks(self) -> bytes:
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _may(self, hub: HubUploadHost) -> bool:
        if hub.refusing is not None:
            self._answer(hub.refusing, {"error": "no"})
        elif self.headers.get("Authorization") != f"Bearer {hub.token}":
            self._answer(401, {"error": "no such token"})
        else:
            return True
        return False

    def _place(self, hub: HubUploadHost, one: dict[str, Any]) -> dict[str, Any]:
        if one["oid"] in hub.stored:
            return one
        return {**one, "actions": {"upload": {"href": f"{hub.url}/store/{one['oid']}", "header": {}}}}

    def _answer(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = b"" if self.command == "HEAD" else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")  # the library keeps connections, and this host waits for their end
        self.close_connection = True
        self.end_headers()
        self.wfile.write(body)
