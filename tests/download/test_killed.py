"""A download that is killed twenty times ends with the same bytes, and fetches next to nothing twice."""

from __future__ import annotations

import io
import json
import os
import random
import re
import subprocess
import sys
import tarfile
import time
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from static_host import StaticHost

if TYPE_CHECKING:
    from pathlib import Path

    from static_host import Served

KILLS = 20
RATE = 3_000_000
MOST_TWICE = 1 << 20


def tar(folder: str, size: int, seed: int) -> bytes:
    """Return a tar archive of ``size`` bytes of noise or more, under names as the published archive has them."""
    noise, buffer = random.Random(seed), io.BytesIO()  # noqa: S311 -- bytes for a test
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for number in range(size // 500_000):
            content = noise.randbytes(500_000)
            member = tarfile.TarInfo(f"{folder}/Q{25_000 + number}.jpg")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def published() -> dict[str, bytes]:
    pairs = tar("negative_pair/00001", 18_000_000, 1)
    third = len(pairs) // 3 + 7
    chunks = {f"negative_pair.tar.a{'abc'[n]}": pairs[n * third : (n + 1) * third] for n in range(3)}
    return {"query_images_h5.tar": tar("query_images_h5", 6_000_000, 2), **chunks}


def start(root: Path, url: str) -> subprocess.Popen[str]:
    command = ("download", "ndec", "queries", "negative-pairs", "--root", str(root), "--yes", "--json")
    return subprocess.Popen(
        [sys.executable, "-c", "from ndec_bench.cli import main; main()", *command],
        env={**os.environ, "NDEC_BENCH_BASE_URL_HUGGINGFACE": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_at_a_random_moment(process: subprocess.Popen[str], host: StaticHost, moments: random.Random) -> bool:
    """Kill ``process`` within half a second of its first request. Return whether it was still alive."""
    asked = len(host.requests)
    while len(host.requests) == asked and process.poll() is None:
        time.sleep(0.005)
    time.sleep(moments.uniform(0, 0.5))
    alive = process.poll() is None
    process.kill()
    process.communicate()
    return alive


def fetched_twice(requests: list[Served]) -> list[int]:
    """Return for each request of a file after the first how many bytes it asked for that had been sent before."""
    reached: dict[str, int] = {}
    twice = []
    for request in requests:
        if request.range == "bytes=0-0":  # how large is it? asked where the published sizes would not fit the disk
            continue
        begun = int(re.fullmatch(r"bytes=(\d+)-", request.range)[1]) if request.range else 0  # type: ignore[index]
        if request.path in reached:
            twice.append(max(reached[request.path] - begun, 0))
        reached[request.path] = max(reached.get(request.path, 0), begun + request.sent)
    return twice


@pytest.mark.slow
def test_twenty_kills_cost_nothing_but_a_mebibyte_each(tmp_path: Path) -> None:
    files = published()
    moments = random.Random(20)  # noqa: S311 -- moments for a test
    with StaticHost({f"/{name}": content for name, content in files.items()}, rate=RATE) as host:
        alive = [kill_at_a_random_moment(start(tmp_path, host.url), host, moments) for _ in range(KILLS)]
        assert all(alive), "the archives were too small: a run ended before it was killed"
        host.rate = None
        last = start(tmp_path, host.url)
        out, err = last.communicate()
        requests = list(host.requests)
    assert last.returncode == 0, err
    states = {file["name"]: (file["state"], file["sha256"]) for file in json.loads(out)["files"]}
    for name, content in files.items():
        assert (tmp_path / "ndec" / name).read_bytes() == content
        assert states[name][1] == sha256(content).hexdigest()
    assert not list(tmp_path.rglob("*.part*"))
    twice = fetched_twice(requests)
    assert len(twice) >= KILLS
    assert max(twice) <= MOST_TWICE
    trusted = json.loads((tmp_path / "ndec-bench.lock.json").read_text())["files"]
    assert {key: entry["sha256"] for key, entry in trusted.items()} == {
        f"ndec/{name}": sha256(content).hexdigest() for name, content in files.items()
    }
