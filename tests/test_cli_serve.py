"""``ndec-bench serve`` as a browser and a stranger meet it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection
from typing import TYPE_CHECKING

import pytest

from ndec_bench.cli import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPResponse
    from pathlib import Path

COMMAND = [sys.executable, "-c", "from ndec_bench.cli import main; main()"]
LIMIT = 120  # seconds, for a machine that is busy with something else
PAGE = "<!DOCTYPE html><title>µAP</title>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with pages, data of every kind, and ways out of it."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.txt").write_text("secret")
    folder = tmp_path_factory.mktemp("served") / "site"
    for path in ("index.html", "s/one/index.html", "static/site.css", "static/site.js", "static/mark.svg"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(PAGE, encoding="utf-8")
    for name in ("results.json", "results.csv", "feed.xml", "feed.atom", "cite.bib", "table.tex", "what.ever"):
        (folder / name).write_text("{}")
    (folder / "empty").mkdir()
    (folder / ".hidden").write_text("hidden")
    (folder / "linked.txt").symlink_to(outside / "secret.txt")
    (folder / "linked").symlink_to(outside, target_is_directory=True)
    (folder / "trap").mkdir()
    (folder / "trap" / "index.html").symlink_to(outside / "secret.txt")
    (folder / "inner.html").symlink_to(folder / "index.html")
    (folder / "circle").symlink_to(folder / "circle")
    os.mkfifo(folder / "pipe")
    return folder


class Serving:
    """The command in a process of its own, from its first line on."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "serve", str(folder), "--port", "0", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        self.port = int(self.address.rpartition(":")[2].rstrip("/") or 0)

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def raw(self, request: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT) as connection:
            connection.sendall(request)
            received = b""
            while part := connection.recv(65536):
                received += part
            return received

    def end(self, with_signal: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
        self.process.send_signal(with_signal)
        out, err = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, out, err


@pytest.fixture(scope="module")
def serving(folder: Path) -> Iterator[Serving]:
    served = Serving(folder)
    yield served
    assert served.end() == (0, "", served_note(folder))


def served_note(folder: Path) -> str:
    return f"serving {folder} to this machine alone; Ctrl-C ends it\n"


def test_the_first_line_is_the_address_of_this_machine(serving: Serving) -> None:
    assert serving.address == f"http://127.0.0.1:{serving.port}/"
    assert serving.port > 0


@pytest.mark.parametrize("with_signal", [signal.SIGINT, signal.SIGTERM])
def test_either_signal_is_the_normal_end(folder: Path, with_signal: signal.Signals) -> None:
    served = Serving(folder)
    assert served.ask("/")[0].status == 200
    assert served.end(with_signal) == (0, "", served_note(folder))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/s/one/", "text/html; charset=utf-8"),
        ("/inner.html?ids=a,b", "text/html; charset=utf-8"),
        ("/static/site.css", "text/css; charset=utf-8"),
        ("/static/site.js", "text/javascript; charset=utf-8"),
        ("/static/mark.svg", "image/svg+xml; charset=utf-8"),
        ("/results.json", "application/json; charset=utf-8"),
        ("/results.csv", "text/csv; charset=utf-8"),
        ("/feed.xml", "application/xml; charset=utf-8"),
        ("/feed.atom", "application/atom+xml; charset=utf-8"),
        ("/cite.bib", "text/plain; charset=utf-8"),
        ("/table.tex", "text/plain; charset=utf-8"),
        ("/what.ever", "application/octet-stream"),
    ],
)
def test_what_is_there_comes_with_its_type(serving: Serving, path: str, kind: str) -> None:
    response, body = serving.ask(path)
    assert (response.status, response.headers["Content-Type"]) == (200, kind)
    assert body in (PAGE.encode(), b"{}")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cache-Control"] == "no-cache"
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
    assert "Python" not in response.headers["Server"]


@pytest.mark.parametrize(
    "path",
    [
        "/missing.html",
        "/empty/",
        "/empty",
        "/index.html/",
        "/.hidden",
        "/linked.txt",
        "/linked/secret.txt",
        "/trap/",
        "/circle",
        "/pipe",
        "/../outside0/secret.txt",
        "/..%2f..%2f..%2f..%2fetc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/%00",
        "/%ED%A0%80",
        "/" + "a" * 5000,
    ],
)
def test_all_else_is_not_found(serving: Serving, path: str) -> None:
    response, body = serving.ask(path)
    assert (response.status, body) == (404, b"404 Not Found\n")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_a_folder_without_slash_is_sent_on(serving: Serving) -> None:
    response, _ = serving.ask("/s/one?x=1")
    assert (response.status, response.headers["Location"]) == (301, "/s/one/?x=1")


def test_head_and_unchanged_pages_have_no_body(serving: Serving) -> None:
    head, body = serving.ask("/", "HEAD")
    assert (head.status, head.headers["Content-Length"], body) == (200, str(len(PAGE.encode())), b"")
    again, body = serving.ask("/", **{"If-Modified-Since": head.headers["Last-Modified"]})
    assert (again.status, body) == (304, b"")
    missing, body = serving.ask("/missing", "HEAD")
    assert (missing.status, body) == (404, b"")


def test_nothing_can_be_sent_to_it(serving: Serving) -> None:
    assert serving.ask("/", "POST")[0].status == 501


@pytest.mark.parametrize(
    "host", ["attacker.example", "attacker.example:{port}", "127.0.0.1", "localhost:1", "", "[::1]"]
)
def test_other_names_for_this_machine_are_refused(serving: Serving, host: str) -> None:
    for method in ("GET", "HEAD"):
        response, body = serving.ask("/", method, Host=host.format(port=serving.port))
        assert response.status == 421
        assert PAGE.encode() not in body


def test_its_own_names_are_not(serving: Serving) -> None:
    for name in ("127.0.0.1", "localhost", "LOCALHOST"):
        assert serving.ask("/", Host=f"{name}:{serving.port}")[0].status == 200


def test_broken_requests_are_answered_and_break_nothing(serving: Serving) -> None:
    assert b"400" in serving.raw(b"GET / HTTP/nine\r\n\r\n").splitlines()[0]
    assert b"414" in serving.raw(b"GET /" + b"a" * 70_000).splitlines()[0]
    assert b" 421 " in serving.raw(b"GET / HTTP/1.0\r\n\r\n").splitlines()[0]
    assert serving.ask("/")[0].status == 200


def test_several_are_served_at_once(serving: Serving) -> None:
    with socket.create_connection(("127.0.0.1", serving.port), timeout=LIMIT) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\n")
        assert serving.ask("/")[0].status == 200


def test_the_log_is_harmless_and_goes_to_stderr(folder: Path) -> None:
    served = Serving(folder, "--verbose")
    served.ask("/results.json")
    served.raw(b"GET /\x1b[31mred HTTP/1.0\r\nHost: localhost:%d\r\n\r\n" % served.port)
    code, out, err = served.end()
    assert (code, out) == (0, "")
    assert err.splitlines()[1:] == ["200 GET /results.json", "404 GET / [31mred"]


def test_open_gives_a_browser_the_address(folder: Path, tmp_path: Path) -> None:
    pipe, browser = tmp_path / "pipe", tmp_path / "browser"
    os.mkfifo(pipe)
    browser.write_text(f'#!/bin/sh\necho "$1" > {pipe}\n')
    browser.chmod(0o755)
    served = Serving(folder, "--open", BROWSER=f"{browser} %s")
    with pipe.open() as told:
        assert told.read().strip() == served.address
    assert served.end()[0] == 0


@pytest.mark.parametrize(
    ("name", "said"), [("missing", "missing"), ("file.txt", "is not a folder"), ("empty", "has no index.html")]
)
def test_what_cannot_be_served_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").touch()
    assert run(["serve", str(tmp_path / name), "--port", "0"]) == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert "ndec-bench site --out DIR" in shown.err


def test_a_port_in_use_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["serve", str(folder), "--port", str(port)]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert f"--port {port}: in use" in shown.err
    assert "--port 0" in shown.err
