"""A hand-made split that the tests share, small enough for pencil and paper."""

from __future__ import annotations

import os
import shutil
import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings

from ndec_bench.data.ground_truth import GroundTruth
from ndec_bench.data.split import Split
from ndec_bench.descriptors import Descriptors, Submission

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser


FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# One thread for each process: several workers whose threads wait for one another take twice the time. torch and faiss,
# which are imported later, read this, and so do processes that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell lets what it starts in the background ignore Ctrl-C, and so would every process that a test starts and stops.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples in every run, and no verdict that depends on how busy the machine is.
settings.register_profile("ndec", deadline=None, derandomize=True)
settings.load_profile("ndec")


@pytest.fixture
def hand_made_split() -> Split:
    """Six queries: two copies (Q1, Q2), two plain distractors (Q3, Q4), two hard negatives (Q5, Q6)."""
    truth = GroundTruth(
        query_ids=("Q1", "Q2", "Q3", "Q4", "Q5", "Q6"),
        pairs=(("Q1", "R1"), ("Q2", "R2")),
    )
    return Split(
        name="hand-made",
        truth=truth,
        hard_negatives=frozenset({"Q5", "Q6"}),
        reference_ids=("R1", "R2", "R3"),
        edits={"Q1": ("crop", "text"), "Q2": ("crop",)},
    )


@pytest.fixture(scope="session")
def make_submission() -> Callable[..., tuple[Submission, Split]]:
    """A random submission with copies, plain distractors and look-alikes, and its split."""

    def make(queries: int = 60, references: int = 90, dimension: int = 16, seed: int = 0) -> tuple[Submission, Split]:
        generator = np.random.default_rng(seed)
        r = generator.normal(size=(references, dimension)).astype(np.float32)
        q = generator.normal(size=(queries, dimension)).astype(np.float32)
        third = queries // 3
        q[:third] = r[:third] + 0.5 * generator.normal(size=(third, dimension))
        q[2 * third :] = r[third : third + queries - 2 * third] + 0.8 * generator.normal(
            size=(queries - 2 * third, dimension)
        )
        query_ids = tuple(f"Q{i:05d}" for i in range(queries))
        reference_ids = tuple(f"R{i:06d}" for i in range(references))
        truth = GroundTruth(query_ids, tuple((query_ids[i], reference_ids[i]) for i in range(third)))
        split = Split("random", truth, frozenset(query_ids[2 * third :]), reference_ids)
        return Submission(Descriptors(query_ids, q), Descriptors(reference_ids, r)), split

    return make


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return Debian's Chromium."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing: apt-get install chromium, or name it in CHROMIUM")
        pytest.skip("Chromium is missing")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()
