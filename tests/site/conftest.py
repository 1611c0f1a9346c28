"""Results as a scorer would write them, from a seed: the numbers are invented, their relations are not."""

from __future__ import annotations

import functools
import json
import shutil
import threading
import zlib
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest

from ndec_bench.results.record import Result, write_result
from ndec_bench.scoring.hard_negatives import share
from ndec_bench.site import build
from ndec_bench.site.serving import FolderServer
from ndec_bench.submissions.card import SubmissionCard, write_card

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page, Request

SIZES = {  # queries, true pairs, hard negatives, references
    "ndec": (49_252, 5_009, 24_252, 1_000_000),
    "ndec-mini-1": (6_000, 2_000, 2_000, 8_000),
    "ndec-mini-1-small": (900, 300, 300, 1_000),
    "disc21-final": (50_000, 10_000, None, 1_000_000),
}
EDITS = (
    "aspect",
    "blur",
    "collage",
    "colour",
    "crop",
    "flip",
    "overlay",
    "paste",
    "recompress",
    "rotate",
    "screenshot",
)


def _curve(quality: float) -> dict[str, list[float]]:
    recall = np.linspace(0.002, min(0.98, quality * 1.25), 240)
    precision = np.clip(1.0 - 0.02 * recall - (recall / (quality * 1.18)) ** 7, 0.003, 1.0)
    return {
        "recall": recall.round(6).tolist(),
        "precision": precision.round(6).tolist(),
        "threshold": (-0.2 - 1.5 * recall).tolist(),
    }


def _part(name: str, quality: float, queries: int, positives: int, *, edits: bool, replicates: int) -> dict[str, Any]:
    shared = np.random.default_rng(7).normal(0.0, 0.007, replicates)
    own = np.random.default_rng(zlib.crc32(name.encode())).normal(0.0, 0.004, replicates)
    micro_ap = np.clip(quality + shared + own, 0.0, 1.0).round(8)
    curve = _curve(quality)
    reached = [r for r, p in zip(curve["recall"], curve["precision"], strict=True) if p >= 0.9]
    recall = np.clip((reached or [0.0])[-1] + shared + own, 0.0, 1.0).round(8)
    bounds = np.quantile(micro_ap, (0.025, 0.975)).tolist() if replicates else None
    return {
        "queries": queries,
        "positives": positives,
        "predictions": 10 * queries,
        "cap": 10 * queries,
        "micro_ap": quality,
        "micro_ap_interval": bounds,
        "recall_at_p90": reached[-1] if reached else None,
        "recall_at_p90_interval": np.quantile(recall, (0.025, 0.975)).tolist() if replicates else None,
        "threshold_at_p90": -0.2 - 1.5 * reached[-1] if reached else None,
        "recall_at_1": min(1.0, quality + 0.11),
        "recall_at_10": min(1.0, quality + 0.16),
        "precision_at_recall": {"0.5": 0.97, "0.7": 0.88 if quality > 0.6 else None, "0.8": None},
        "recall_by_edit": {
            edit: {
                "copies": 120 + 31 * i,
                "recall_at_1": round(quality * (0.7 + 0.04 * i), 4),
                "recall_at_p90": round(quality * (0.5 + 0.04 * i), 4),
            }
            for i, edit in enumerate(EDITS)
        }
        if edits
        else None,
        "pr_curve": curve,
        "replicates": {
            "stream": "ndec-poisson-1",
            "micro_ap": micro_ap.tolist(),
            "recall_at_p90": recall.tolist(),
        }
        if replicates
        else None,
    }


def _at_threshold(rates: tuple[float, float], hard: int, plain: int, positives: int, recall: float) -> dict[str, Any]:
    hits = int(rates[0] * hard), int(rates[1] * plain)
    true_positives = int(recall * positives)
    wrong = {"hard_negative": int(hits[0] * 1.3), "plain_distractor": hits[1], "wrong_reference": positives // 400}
    alerts = true_positives + sum(wrong.values())
    return {
        "threshold": -0.734251,
        "true_positives": true_positives,
        "false_positives": wrong,
        "precision": true_positives / alerts,
        "recall": true_positives / positives,
        "hard_negatives_hit": share(hits[0], hard).model_dump(),
        "plain_distractors_hit": share(hits[1], plain).model_dump(),
        "without_match_hit": share(sum(hits), hard + plain).model_dump(),
        "alerts_per_true_match": alerts / true_positives,
    }


def _account(quality: float, isc: float, hard: int, plain: int, positives: int) -> dict[str, Any]:
    return {
        "queries": hard,
        "plain_distractors": plain,
        "weight": (plain + hard) / plain,
        "micro_ap_isc_weighted": isc - 0.006,
        "cost": isc - 0.006 - quality,
        "difference": isc - quality,
        "at_p90_isc": _at_threshold((0.21 - 0.2 * quality, 0.012), hard, plain, positives, isc - 0.08),
        "at_p90_all": _at_threshold((0.02, 0.002), hard, plain, positives, quality - 0.09),
        "transfer": {
            "thresholds": [-0.731, -0.742],
            "true_positives": int(0.6 * positives),
            "false_positives": int(0.2 * positives),
            "precision": 0.75,
            "recall": int(0.6 * positives) / positives,
        },
    }


def direction_of(quality: float, hard: int, plain: int, positives: int, *, rule: str = "tilt:0.5") -> dict[str, Any]:
    """Return what a submission with norms has in addition; the rule helps."""

    def passing(rates: tuple[float, float], recall: float) -> dict[str, Any]:
        return {
            "threshold": -0.734251,
            "hard_negatives_hit": share(int(rates[0] * hard), hard).model_dump(),
            "plain_distractors_hit": share(int(rates[1] * plain), plain).model_dump(),
            "copies_found": share(int(recall * positives), positives).model_dump(),
        }

    both = {"without_rule": passing((0.21, 0.012), 0.71), "with_rule": passing((0.13, 0.008), 0.69)}
    part = {
        "without_rule": {"micro_ap": quality, "recall_at_p90": 0.4},
        "with_rule": {"micro_ap": quality + 0.0421, "recall_at_p90": None},
        "micro_ap_difference": 0.0421,
        "micro_ap_difference_interval": [-0.0102, 0.0815],
        "recall_at_p90_difference": -0.4,
        "recall_at_p90_difference_interval": None,
    }
    return {
        "rule": rule,
        "parts": {"all": part, "isc": part},
        "true_pairs": positives,
        "true_pairs_kept": share(int(0.93 * positives), positives).model_dump(),
        "true_pairs_kept_if_swapped": share(int(0.08 * positives), positives).model_dump(),
        "swap_gap": {"mean": 0.1234, "median": 0.0987, "above_zero": share(3, positives).model_dump()},
        "direction_auc": 0.95173,
        "direction_auc_interval": [0.94261, 0.96054],
        "at_p90_isc": both,
        "at_own_p90_isc": {**both, "with_rule": None},
        "dropped": {
            "true_pairs": {"pairs": 4000, "dropped": 271, "rate": 271 / 4000},
            "hard_negative_pairs": {"pairs": 0, "dropped": 0, "rate": None},
            "other_pairs": {"pairs": 90_000, "dropped": 43_021, "rate": 43_021 / 90_000},
        },
    }


def predictions_of(name: str) -> str:
    """Return the digest of the list of pairs in the result called ``name``."""
    return f"{zlib.crc32(name.encode()):08x}" * 8


def protocols_of(quality: float, queries: int, positives: int) -> dict[str, Any]:
    """Return a protocol card of two entries, the second outside the rules of its protocol."""
    part = {
        "queries": queries,
        "positives": positives,
        "predictions": 10 * queries,
        "micro_ap": quality - 0.0111,
        "recall_at_p90": None,
        "threshold_at_p90": None,
        "recall_at_1": quality + 0.1,
        "recall_at_10": quality + 0.15,
    }
    entry = {
        **part,
        "protocol": "sscd-disc",
        "candidates": "query10",
        "metric": "l2",
        "score_norm": "none",
        "signature": "uAP|...",
        "within_rules": True,
        "parts": {"all": part, "isc": {**part, "micro_ap": quality + 0.0777}},
    }
    return {"sscd": entry, "sscd-normalised": {**entry, "score_norm": "sscd-1.0[0,2]", "within_rules": False}}


def result_of(
    name: str, quality: float = 0.6, split: str = "ndec", *, replicates: int = 200, **changes: object
) -> Result:
    """Return a result of ``split`` with µAP ``quality``; ``changes`` replace fields of the JSON."""
    queries, positives, hard, references = SIZES.get(split, (400, 100, None, 1_500))
    isc = min(1.0, round(quality + 0.09, 6))
    edits = split.startswith("ndec-mini")
    parts = {"all": _part(name, quality, queries, positives, edits=edits, replicates=replicates)}
    if hard:
        parts["isc"] = _part(name, isc, queries - hard, positives, edits=edits, replicates=replicates)
    digest = f"{zlib.crc32(split.encode()):08x}" * 8
    content: dict[str, Any] = {
        "schema_version": 1,
        "name": name,
        "split": split,
        "protocol": "ndec-1",
        "track": "descriptor",
        "metric": "l2",
        "signature": f"uAP|split:{split}|protocol:ndec-1|cand:global{10 * queries}|metric:l2|sn:none|asym:none|"
        f"ties:worst|gt:{digest[:8]}|v:0.1.0",
        "predictions_sha256": predictions_of(name),
        "partial": False,
        "dimensions": 256,
        "bytes_per_reference": 512,
        "stored_dtype": "float16",
        "references": references,
        "parts": parts,
        "hard_negatives": hard and _account(quality, isc, hard, queries - positives - hard, positives),
        "describing": {
            "baseline": name,
            "device": "cpu",
            "images": queries + references,
            "seconds": 4242.5,
            "milliseconds_per_image": 4.05,
            "images_per_second": 247.0,
        },
        "notes": [],
        "digests": {"submission": "5b" * 32, "ground_truth": "67" * 32, "split": digest},
        "provenance": {
            "ndec_bench": "0.1.0",
            "git_commit": "0f37c5e1b2a3c4d5e6f708192a3b4c5d6e7f8091-dirty",
            "python": "3.11.7",
            "libraries": {"h5py": "3.14.0", "numpy": "2.4.6", "scipy": "1.17.0"},
            "platform": "Linux-6.1-x86_64",
            "cpu": "Example CPU, 2 cores",
            "seconds": 61.25,
            "peak_memory_bytes": 1_523_000_000,
            "command": f"ndec-bench score submissions/{name}/{name}.h5 --out results/ndec-1/{name}.json",
        },
    }
    return Result.model_validate_json(json.dumps({**content, **changes}))


HOSTILE = '<script>alert(1)</script>"\u202egnp.exe ' + "W" * 200

DECLARED = {
    "labels_used": ["none"],
    "train_images": ["disc21-train"],
    "reference_images_in_training": "none",
    "ndec_pairs": "no",
    "background": "disc21-train",
    "external_data": "no",
    "query_independent": "yes",
    "selected_on": ["dev1"],
}


def card_of(name: str, split: str = "ndec", top: dict[str, object] | None = None, **method: object) -> SubmissionCard:
    """Return the card of a submission that ranks; ``method`` replaces fields of its method, ``top`` other ones."""
    return SubmissionCard.model_validate(
        {
            "name": name,
            "split": split,
            "authors": ["First Author", "Second Author"],
            "date": "2026-11-20",
            "method": {
                "title": name.replace("-", " ").capitalize(),
                "description": "An image becomes a vector of 256 numbers, whitened on the background set.",
                "paper": "https://example.org/paper.pdf",
                "code": "https://example.org/code",
                "code_licence": "Apache-2.0",
                "weights_licence": "CC-BY-NC-4.0",
                "commercial_use": "no",
                **method,
            },
            "declarations": DECLARED,
            "descriptors": {"name": f"{name}.h5", "sha256": "5b" * 32, "url": "https://example.org/d.h5"},
            "threshold": -0.74,
            "verified": {"level": "re-scored", "predictions_sha256": predictions_of(name), "date": "2026-11-22"},
            **(top or {}),
        }
    )


class Folders:
    """A folder of results, one of submissions, and the site built from them."""

    result, card, direction = staticmethod(result_of), staticmethod(card_of), staticmethod(direction_of)
    hostile = HOSTILE

    def __init__(self, root: Path) -> None:
        self.results, self.submissions, self.out = root / "results", root / "submissions", root / "site"
        self.results.mkdir(parents=True)
        self.submissions.mkdir()

    def add(self, result: Result, card: SubmissionCard | None = None) -> Path:
        """Write a result and its card; return the path of the result."""
        path = self.results / result.protocol / f"{result.name}.json"
        write_result(path, result)
        if card is not None:
            folder = self.submissions / card.name
            folder.mkdir()
            (folder / "submission.toml").write_text(write_card(card), encoding="utf-8")
        return path

    def put(
        self,
        name: str,
        quality: float = 0.6,
        split: str = "ndec",
        *,
        top: dict[str, object] | None = None,
        method: dict[str, object] | None = None,
        **changes: object,
    ) -> Path:
        """Write a result that ranks, with its card; the arguments are those of `result_of` and `card_of`."""
        return self.add(result_of(name, quality, split, **changes), card_of(name, split, top, **(method or {})))

    def build(self, *, private: bool = False) -> Path:
        """Build the site and return its folder."""
        build(self.results, self.out, submissions=self.submissions, private=private)
        return self.out

    def page(self, path: str = "index.html") -> str:
        """Return the text of a page of the built site."""
        return (self.out / path).read_text(encoding="utf-8")


def fill(folders: Folders) -> Folders:
    """Put every kind of result into ``folders``: NDEC in two tracks, embedded benchmarks, other splits, odd ones."""
    names = ("whitened-cnn", "contrastive-vit", "scattering-net", "distilled-student", "multi-crop", "phash", "gist")
    qualities = (0.7312, 0.7268, 0.7251, 0.6411, 0.6104, 0.2204, 0.1553)
    for name, quality in zip(names, qualities, strict=True):
        normed = {"direction": direction_of(quality, 24_252, 19_991, 5_009)} if name == "scattering-net" else {}
        if name == "whitened-cnn":
            normed = {"protocols": protocols_of(quality, 49_252, 5_009)}
        folders.add(result_of(name, quality, replicates=1000, **normed), card_of(name))
    matching = {"track": "matching", "metric": "score", "dimensions": None, "bytes_per_reference": None}
    folders.add(result_of("pair-matcher", 0.78, describing=None, **matching), card_of("pair-matcher"))
    for seed, quality in ((3, 0.652), (1, 0.648), (2, 0.644)):
        one = {"runs_of": "Seeded network", "seed": seed}
        folders.add(result_of(f"seeded-{seed}", quality, replicates=1000), card_of(f"seeded-{seed}", top=one))
    folders.add(result_of("only-reported", 0.9), card_of("only-reported", top={"verified": None}))
    seen = {**DECLARED, "labels_used": ["dev1", "dev2"]}
    change = {"date": "2026-11-21", "reason": "a bug", "old_micro_ap": 0.6125, "old_predictions_sha256": "7c" * 32}
    folders.add(result_of("saw-labels", 0.95), card_of("saw-labels", top={"declarations": seen, "changes": [change]}))
    folders.add(
        result_of(
            "half-the-references", 0.8, partial=True, references=500_000, missing_references=500_000, recall_ceiling=0.5
        )
    )
    folders.add(result_of("cut-list", 0.7, truncated=True, notes=["600,000 pairs given"], **matching))
    dependent = {**DECLARED, "query_independent": "no"}
    card = card_of("query-expansion", top={"declarations": dependent})
    folders.add(result_of("query-expansion", 0.79), card)
    folders.add(result_of("no-replicates", 0.655, replicates=0), card_of("no-replicates"))
    for name, quality in (("thumbnail", 0.31), ("mini-phash", 0.36), ("random-features", 0.52)):
        small = f"{name}-small"
        folders.add(result_of(small, quality, "ndec-mini-1-small"), card_of(small, "ndec-mini-1-small"))
        folders.add(result_of(name, quality + 0.01, "ndec-mini-1"), card_of(name, "ndec-mini-1"))
    without_hard: dict[str, object] = {**direction_of(0.61, 1, 1, 10_000, rule="ratio"), "swap_gap": None}
    without_hard |= {"parts": {"all": direction_of(0.61, 1, 1, 10)["parts"]["all"]}, "at_p90_isc": None}
    without_hard |= {"at_own_p90_isc": None, "direction_auc_interval": None}
    without_hard["dropped"] = {**direction_of(0.61, 1, 1, 10)["dropped"], "hard_negative_pairs": None}
    folders.add(
        result_of("final-sscd", 0.61, "disc21-final", direction=without_hard), card_of("final-sscd", "disc21-final")
    )
    folders.add(result_of("shop", 0.42, "Our Shop's Photos/2026"))
    return folders


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    """Return empty folders of results and submissions."""
    return Folders(tmp_path)


@pytest.fixture(scope="session")
def full_site(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Return a built site with every kind of page."""
    folders = fill(Folders(tmp_path_factory.mktemp("full site")))
    folders.build()
    return folders


@pytest.fixture(scope="session")
def open_site(full_site: Folders, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Return the full site with more rows: strangers' words, other numbers of replicates, a precision not reached."""
    folders = Folders(tmp_path_factory.mktemp("more"))
    shutil.copytree(full_site.results, folders.results, dirs_exist_ok=True)
    shutil.copytree(full_site.submissions, folders.submissions, dirs_exist_ok=True)
    card = card_of("evil", title=HOSTILE, description="D" * 3000, code_licence="L" * 300)
    folders.add(result_of("evil", 0.66, replicates=1000, notes=[HOSTILE, "N" * 10_000]), card)
    folders.put("few-draws", 0.67)
    low = result_of("low", 0.6409, replicates=1000)
    for part in low.parts.values():
        part.__dict__.update(recall_at_p90=None, recall_at_p90_interval=None)
        assert part.replicates
        part.replicates.__dict__.update(recall_at_p90=[0.0] * 1000)
    folders.add(low, card_of("low"))
    folders.build()
    return folders


@pytest.fixture(scope="session")
def served(open_site: Folders, serve: Callable[[Path], str]) -> str:
    """Return the address of that site."""
    return serve(open_site.out)


class Opened:
    """A page with everything it asked for and complained about."""

    def __init__(self, browser: Browser, **settings: Any) -> None:  # noqa: ANN401 - what Playwright takes
        self.context = browser.new_context(**settings)
        self.context.set_default_timeout(120_000)  # for a machine that is busy with something else
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", self._failed)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.add_init_script(
            "addEventListener('securitypolicyviolation', (e) => console.error('policy', e.violatedDirective))"
        )

    def _failed(self, request: Request) -> None:
        # A favicon still on its way when the next page is opened is no complaint.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"{request.url}: {request.failure}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.fixture(scope="session")
def open_page(browser: Browser) -> Callable[..., Opened]:
    """Return the opener of pages; it takes the settings of a context, such as ``viewport``."""
    return functools.partial(Opened, browser)


@pytest.fixture
def page(open_page: Callable[..., Opened]) -> Iterator[Page]:
    """Return an empty page; nothing that it shows may complain."""
    with open_page() as opened:
        yield opened.page
        assert opened.complaints == []


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Path], str]]:
    """Return a function that serves a folder on loopback and returns its address."""
    with ExitStack() as stack:

        def start(folder: Path) -> str:
            server = stack.enter_context(FolderServer(folder, 0))
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return server.address

        yield start
