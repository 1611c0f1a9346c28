"""A look-alike of the Hugging Face hub on 127.0.0.1: it resolves files and leaves their bytes to a store.

    with StaticHost({}) as store, HuggingFaceHost(store) as hub:
        hub.add("datasets/OWNER/NAME", "REVISION", "file.tar", b"...")
        # HF_ENDPOINT=hub.url

As the hub does, it answers HEAD on ``/datasets/OWNER/NAME/resolve/REVISION/PATH`` with 302, the commit, size and
SHA-256 of the file in headers of its own, and a signed address of the store on another port. What is unknown gets 404
with an error code. Addresses are signed anew each time; `expire` makes the store refuse those given so far.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from local_server import LocalServer
from static_host import Fault

if TYPE_CHECKING:
    from static_host import StaticHost


@dataclass
class Repository:
    """A repository with one revision, its files, and who may see it."""

    revision: str
    files: dict[str, bytes] = field(default_factory=dict)
    token: str | None = None
    gated: bool = False


class HuggingFaceHost(LocalServer):
    """A context manager: serves repositories from its entry to its exit.

    Attributes
    ----------
    url
        ``http://127.0.0.1:PORT``, for HF_ENDPOINT.
    asked
        Method, path and Authorization header of each request for a file.
    commit
        Commit that every answer claims, in place of the revision asked for; None for the truth.
    failing
        Statuses of the next answers, first to last.
    """

    def __init__(self, store: StaticHost) -> None:
        self.store = store
        self.repositories: dict[str, Repository] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.commit: str | None = None
        self.failing: list[int] = []
        self._signed = 0
        super().__init__(_Handler)

    def add(self, repository: str, revision: str, path: str, content: bytes) -> None:
        """Keep ``content`` as the file ``path`` of ``datasets/OWNER/NAME`` at ``revision``."""
        self.repositories.setdefault(repository, Repository(revision)).files[path] = content

    def sign(self, content: bytes) -> str:
        """Return a new address of the store that serves ``content``."""
        self._signed += 1
        path = f"/lfs/{self._signed}/{hashlib.sha256(content).hexdigest()}"
        self.store.change(path, content, f'"{hashlib.sha256(content).hexdigest()}"')
        return f"{self.store.url}{path}?X-Amz-Signature=SECRET{self._signed}"

    def expire(self) -> None:
        """Let the store refuse every address that was given so far, as it does when signatures expire."""
        for path in list(self.store.files):
            self.store.fault(path, Fault(status=403), always=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60.0

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        hub: HuggingFaceHost = cast("Any", self.server).host
        path, token = unquote(urlsplit(self.path).path), self.headers.get("Authorization")
        if "/resolve/" in path:  # the library asks for other things on its own
            hub.asked.append((self.command, path, token))
        if hub.failing:
            self._answer(hub.failing.pop(0))
            return
        name, _, rest = path.removeprefix("/").partition("/resolve/")
        revision, _, file = rest.partition("/")
        repository = hub.repositories.get(name)
        if repository is None or (repository.token and token != f"Bearer {repository.token}"):
            self._answer(404 if token else 401, {"X-Error-Code": "RepoNotFound"})
        elif repository.gated:
            self._answer(403, {"X-Error-Code": "GatedRepo"})
        elif revision != repository.revision:
            self._answer(404, {"X-Error-Code": "RevisionNotFound"})
        elif file not in repository.files:
            self._answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": revision})
        else:
            self._found(hub, repository.files[file], revision)

    def do_GET(self) -> None:
        self.do_HEAD()

    def _found(self, hub: HuggingFaceHost, content: bytes, revision: str) -> None:
        headers = {
            "X-Repo-Commit": hub.commit or revision,
            "X-Linked-Size": str(len(content)),
            "X-Linked-Etag": f'"{hashlib.sha256(content).hexdigest()}"',
            "Location": hub.sign(content),
        }
        self._answer(302, headers)

    def _answer(self, status: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.send_header("Connection", "close")  # the library keeps connections, and this host waits for their end
        self.close_connection = True
        self.end_headers()
