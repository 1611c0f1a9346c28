"""Print the table of docs/reliability.md: each fault injected into a download, what the user saw, what was lost.

``python tests/bench/faults.py`` runs the real download against a host on this machine that goes wrong on demand. Waits
are shortened, nothing else. Bytes fetched twice are counted by the host. A test compares the table with that of the
page. Kills at random moments are a test of their own (tests/download/test_killed.py).
"""

from __future__ import annotations

import re
import sys
import tempfile
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "servers"))

from typing import TYPE_CHECKING

from small_archives import tar_of
from static_host import Fault, Served, StaticHost

from ndec_bench.data.registry import RemoteFile, Source
from ndec_bench.download import cost, jobs
from ndec_bench.download.exchange import Policy
from ndec_bench.download.jobs import Outcome, Run, download, locked
from ndec_bench.errors import NdecBenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "query_images_h5.tar"
CONTENT = tar_of([(f"query_images_h5/Q{n}.jpg", bytes([n % 251]) * 99_000) for n in range(25_000, 25_040)])
HALF = len(CONTENT) // 2
HASTY = Policy(
    attempts=4, first_wait=0.01, longest_wait=0.05, connect_timeout=9.0, read_timeout=1.5, slowest=1 << 13, slow_for=2.0
)
MOST_TWICE = 1 << 20


@dataclass(frozen=True)
class Case:
    """One fault: how it is made, how the first run must end, and what the user does then, if anything."""

    title: str
    faults: tuple[Fault, ...] = ()
    always: bool = False
    ends: str = "fetched"
    sha256: str | None = None
    prepare: Callable[[Path, StaticHost], None] | None = None
    around: Callable[[Path], AbstractContextManager[None]] | None = None
    others: dict[str, bytes] = field(default_factory=dict)
    before: str | None = None


def _half_there(root: Path, _host: StaticHost) -> None:
    """Leave what a killed run leaves: half of the file, and no sidecar."""
    part = cost.part_of(root / "ndec" / NAME)
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT[:HALF])


def _torn_sidecar(root: Path, host: StaticHost) -> None:
    _half_there(root, host)
    part = cost.part_of(root / "ndec" / NAME)
    part.with_name(f"{part.name}.json").write_text('{"version": 1, "si')


def _changed_on_disk(root: Path, host: StaticHost) -> None:
    _run(root, host, Case(""))
    (root / "ndec" / NAME).write_bytes(CONTENT[:-1] + b"x")


def _changed_at_source(root: Path, host: StaticHost) -> None:
    _run(root, host, Case(""))
    (root / "ndec" / NAME).unlink()
    host.change(f"/{NAME}", CONTENT[:-20_000] + b"other" + CONTENT[-19_995:])


@contextmanager
def _nearly_full(_root: Path) -> Iterator[None]:
    """Let the disk look nearly full; a full one is refused by the system itself, with the same end."""
    free, every = jobs.disk_free, jobs._LOOK_AT_DISK
    jobs.disk_free, jobs._LOOK_AT_DISK = (lambda _root: 200_000_000), 1 << 20  # type: ignore[assignment]
    try:
        yield
    finally:
        jobs.disk_free, jobs._LOOK_AT_DISK = free, every


PAGE = "<!doctype html><title>Sign in to continue</title><p>Your session has expired."
CASES = (
    Case("connection cut in mid-body, twice", (Fault(cut_after=HALF // 2), Fault(cut_after=HALF // 2))),
    Case("connection reset in mid-body", (Fault(cut_after=HALF, reset=True, rate=8e6),)),
    Case("status 500, then 503", (Fault(status=500), Fault(status=503))),
    Case("status 429 with Retry-After: 1", (Fault(status=429, retry_after="1"),)),
    Case("source goes silent in mid-body", (Fault(stall_at=HALF, stall=30.0),)),
    Case("source drips 2 kB/s", (Fault(rate=2000.0),)),
    Case("cut, then the source ignores Range", (Fault(cut_after=HALF), Fault(ignore_range=True))),
    Case(
        "cut, then the file at the source has another ETag", (Fault(cut_after=HALF), Fault(headers={"ETag": '"new"'}))
    ),
    Case("address expired (403) in mid-file, fresh one works", (Fault(cut_after=HALF), Fault(status=403))),
    Case("redirect to another path", (Fault(redirect="/elsewhere"),), others={"/elsewhere": CONTENT}),
    Case("unfinished file without its facts", prepare=_half_there),
    Case("unfinished file with torn facts", prepare=_torn_sidecar),
    Case("status 500 for ever", (Fault(status=500),), always=True, ends="failed"),
    Case("status 404", (Fault(status=404),), always=True, ends="failed"),
    Case("a web page instead of the file, status 200", (Fault(html=PAGE),), always=True, ends="failed"),
    Case("Content-Encoding: gzip", (Fault(gzip=True),), always=True, ends="failed"),
    Case("Content-Length too large by 100", (Fault(content_length=len(CONTENT) + 100),), always=True, ends="failed"),
    Case("redirect in a circle", (Fault(redirect=f"/{NAME}"),), always=True, ends="failed"),
    Case("bytes with another digest than the published one", ends="failed", sha256="0" * 64),
    Case("file changed on disk since it was verified", ends="failed", prepare=_changed_on_disk),
    Case("file at the source changed since it was verified", ends="failed", prepare=_changed_at_source),
    Case("first of two sources has no file", before="/gone.tar"),
    Case("first of two sources gives a web page", before="/page.tar", others={"/page.tar": PAGE.encode()}),
    Case("less than 256 MiB of disk free", ends="stopped", around=_nearly_full),
    Case("a second run on the same root", ends="stopped", around=locked),
)


def main() -> None:
    """Print the table."""
    print("| Fault | How it ended | What the user saw | Bytes fetched twice |")
    print("| --- | --- | --- | --- |")
    for line in rows():
        print(line)


def rows() -> list[str]:
    """Return the rows of the table; raise AssertionError where something was lost or ended otherwise."""
    return [_row(case) for case in CASES]


def _row(case: Case) -> str:
    with tempfile.TemporaryDirectory() as folder, StaticHost({f"/{NAME}": CONTENT, **case.others}) as host:
        root = Path(folder)
        if case.prepare is not None:
            case.prepare(root, host)
        asked = len(host.requests)
        host.fault(f"/{NAME}", *case.faults, always=case.always) if case.faults else None
        try:
            with case.around(root) if case.around is not None else nullcontext():
                outcome = _run(root, host, case)
            ended, saw = outcome.state, str(outcome.error) if outcome.error else "; ".join(outcome.notes) or "nothing"
        except NdecBenchError as error:
            ended, saw = "stopped", str(error)
        assert ended == case.ends, (case.title, ended, saw)
        twice = _twice(host.requests[asked:])
        if ended == "fetched":
            assert (root / "ndec" / NAME).read_bytes() == CONTENT, case.title
            assert not list(root.rglob("*.part*")), case.title
        else:
            assert not (root / "ndec" / NAME).exists() or case.prepare is _changed_on_disk, case.title
        return f"| {case.title} | {ended} | {_plain(saw, root, host)} | {_amount(twice)} |"


def _run(root: Path, host: StaticHost, case: Case) -> Outcome:
    addresses = [f"{host.url}{path}" for path in (case.before, f"/{NAME}") if path]
    file = RemoteFile(
        name=NAME,
        dataset="ndec",
        part="none",
        bytes=len(CONTENT),
        bytes_exact=False,
        sha256=case.sha256,
        licence="CC-BY-NC-4.0",
        unpack="none",
        sources=tuple(Source(kind="web", url=each, address=each) for each in addresses),
    )
    with locked(root):
        (outcome,) = download(cost.plan((file,), root), Run(root, policy=HASTY), jobs=1)
    return outcome


def _twice(requests: list[Served]) -> int:
    """Return how many bytes of the file were sent more than once."""
    twice = reached = 0
    for request in (found for found in requests if found.status in {200, 206} and found.sent):
        begun = int(re.fullmatch(r"bytes=(\d+)-", request.range or "bytes=0-")[1])  # type: ignore[index]
        begun = 0 if request.status == 200 else begun
        twice += max(min(reached, begun + request.sent) - begun, 0)
        reached = max(reached, begun + request.sent)
    return twice


def _amount(twice: int) -> str:
    if twice <= MOST_TWICE:
        return "at most 1 MiB"
    whole, rest = divmod(twice, len(CONTENT))
    return f"the file {whole}×" if whole and rest <= MOST_TWICE else "half of it"


def _plain(text: str, root: Path, host: StaticHost) -> str:
    """Return ``text`` without what differs from run to run: folders and ports."""
    text = text.replace(str(root), "ROOT").replace(host.url.removeprefix("http://"), "HOST")
    text = re.sub(r"\b([0-9a-f]{8})[0-9a-f]{56}\b", r"\1…", text)
    return re.sub(r"127\.0\.0\.1(:\d+)?", "HOST", text).replace("|", "/")


if __name__ == "__main__":
    main()
