"""The Range downloader in a process of its own: killed, out of disk; and under any sequence of faults."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ranged import CONTENT, MIB, NAME, check, leave
from static_host import Fault, StaticHost

from ndec_bench.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ndec_bench.download.ranges import Fetched


CHILD = """
import resource, sys
from pathlib import Path
import requests
from ndec_bench.download.exchange import Location, Policy
from ndec_bench.download.ranges import fetch
from ndec_bench.errors import NdecBenchError
url, part, limit = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with requests.Session() as session:
        session.trust_env = False
        print(fetch(lambda: Location(url), part, session=session, policy=Policy(first_wait=0.01)).sha256)
except NdecBenchError as error:
    print(error)
"""


def child(host: StaticHost, part: Path, limit: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, host.url + NAME, str(part), str(limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_disk_that_fills_up_in_mid_file_keeps_what_fitted(
    host: StaticHost, get: Callable[..., Fetched], part: Path
) -> None:
    with child(host, part, limit=100_001) as process:
        found, _ = process.communicate()
    assert found.startswith(f"images.zip: {part.parent} takes no file beyond 100,001 bytes of 600,000; choose")
    assert part.read_bytes() == CONTENT[:100_001]
    check(get(), part)
    assert host.requests[-1].range == "bytes=100001-"


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_at_any_moment_it_goes_on_and_fetches_at_most_one_mib_twice(tmp_path: Path) -> None:
    content = np.random.default_rng(5).bytes(5 * MIB)
    part, moments = tmp_path / "images.zip.part", np.random.default_rng(6)
    with StaticHost({NAME: content}, rate=6 * MIB) as host:
        for kill in range(1, 5):
            goal = kill * MIB + int(moments.integers(MIB // 2))
            with child(host, part) as process:
                while host.sent() < goal and process.poll() is None:
                    host.closing.wait(0.002)
                process.send_signal(signal.SIGKILL)
            assert process.returncode == -signal.SIGKILL
            assert part.read_bytes() == content[: part.stat().st_size]
        with child(host, part) as process:
            found, _ = process.communicate()
        assert found.strip() == hashlib.sha256(content).hexdigest()
        assert part.read_bytes() == content
        assert host.sent() - len(content) <= 4 * MIB
        assert sum(request.range is not None for request in host.requests) >= 3


FAULTS = st.one_of(
    st.sampled_from([Fault(status=status) for status in (403, 404, 410, 416, 429, 500, 503)]),
    st.builds(Fault, cut_after=st.integers(0, 50_000), chunked=st.booleans(), ignore_range=st.booleans()),
    st.builds(Fault, headers=st.sampled_from([{"ETag": '"other"'}, {"ETag": None}, {"Content-Range": "bytes 1-2/3"}])),
    st.builds(Fault, redirect=st.just(NAME)),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=st.lists(FAULTS, max_size=8), kept=st.integers(0, 50_000))
def test_whatever_goes_wrong_the_bytes_are_right_or_there_is_an_error(
    host: StaticHost, get: Callable[..., Fetched], part: Path, faults: Sequence[Fault], kept: int
) -> None:
    small = CONTENT[:50_000]
    host.change(NAME, small)
    leave(host, part, kept, size=len(small))
    host.fault(NAME, *faults)
    for _ in range(20):
        try:
            check(get(), part, small)
            return
        except NetworkError:
            assert not part.exists() or small.startswith(part.read_bytes())
    pytest.fail("never ended, although the source was well again")
