"""A split to train on in seconds: 18 small pictures, of which four are look-alikes of four others."""

from __future__ import annotations

import json
import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from ndec_baselines.asl.config import Config
from ndec_baselines.asl.training_set import TrainingSet, built_set
from ndec_baselines.networks.torchvision_import import import_torchvision
from ndec_bench import atomic
from ndec_bench.data.images import FolderSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


PAIRS = (("T000001", "T000002"), ("T000005", "T000004"), ("T000009", "T000010"), ("T000013", "T000014"))
"""(original, look-alike); the ids say nothing about which is which."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads that wait for each other on a busy machine take twenty times as long for layers as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A MobileNetV2 of a quarter of the width: as many layers, a tenth of the numbers to train, write and read."""
    models = import_torchvision().models
    monkeypatch.setattr(models, "mobilenet_v2", partial(models.mobilenet_v2, width_mult=0.25))


@pytest.fixture(autouse=True)
def _little_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """States of 40 MB by the dozen: not forced to the disk, and gone with the test."""
    monkeypatch.setattr(atomic, "_flush", lambda path: None)
    yield
    shutil.rmtree(tmp_path, ignore_errors=True)


def picture(seed: int, width: int = 72, height: int = 54) -> Image.Image:
    """Return a picture of coloured rectangles and noise; every seed gives another."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (4, 5, 3), dtype=np.uint8))
    fine = Image.fromarray(generator.integers(0, 256, (height, width, 3), dtype=np.uint8))
    return Image.blend(coarse.resize((width, height), Image.Resampling.NEAREST), fine, 0.15)


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the split ``tiny-1``, in the form that ``ndec-bench mini build`` leaves."""
    root = tmp_path_factory.mktemp("asl")
    folder = root / "tiny-1"
    (folder / "images" / "train").mkdir(parents=True)
    alike = {second: first for first, second in PAIRS}
    for number in range(18):
        image_id = f"T{number:06d}"
        made = picture(number)
        if image_id in alike:
            made = Image.blend(picture(int(alike[image_id][1:])), made, 0.3)
        made.save(folder / "images" / "train" / f"{image_id}.png")
    rows = "".join(f'{second},{first},"same place, later"\n' for first, second in sorted(PAIRS))
    (folder / "training_pairs.csv").write_text(f"image_id,look_alike_of,why\n{rows}")
    (folder / "split.json").write_text(json.dumps({"name": "tiny-1"}))
    (folder / "ground_truth.csv").write_text("query_id,reference_id\nQ00000,R000000\nQ00001,\n")
    (folder / "hard_negatives.txt").write_text("Q00001\n")
    (folder / "references.txt").write_text("R000000\n")
    return root


@pytest.fixture(scope="session")
def tiny_set(tiny_root: Path) -> TrainingSet:
    folder = tiny_root / "tiny-1"
    return built_set(FolderSource(folder / "images" / "train"), folder)


@pytest.fixture(scope="session")
def settings() -> Callable[..., Config]:
    """Make settings for ``tiny-1``: a MobileNetV2 at 32 pixels; each section given changes single values of it."""

    def made(seed: int = 1, **changes: dict[str, Any]) -> Config:
        sections: dict[str, dict[str, Any]] = {
            "data": {"split": "tiny-1", "held_out": 0.2},
            "network": {"backbone": "mobilenetv2", "side": 32, "hidden": 32, "projected": 16},
            "losses": {},
            "batch": {"originals": 4, "images": 2, "pairs": 1, "sub_batch": 4},
            "edits": {"scale": "content"},
            "schedule": {"steps": 6, "validate_every": 3, "log_every": 1},
        }
        for name, values in changes.items():
            sections[name] |= values
        return Config.model_validate({"seed": seed, **sections})

    return made
