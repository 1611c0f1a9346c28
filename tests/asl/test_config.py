"""The settings of a training run: what is refused before anything is read, and what decides the digest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from ndec_baselines.asl.config import Config, read_config
from ndec_bench.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

LEAST = {"data": {"split": "ndec"}, "network": {"backbone": "50"}, "schedule": {"steps": 200_000}}


def written(tmp_path: Path, *changes: dict[str, Any], **more: Any) -> Path:  # noqa: ANN401
    """Write the least settings with sections changed, and return the file."""
    content: dict[str, Any] = {name: dict(values) for name, values in LEAST.items()} | more
    for change in changes:
        for section, values in change.items():
            content[section] = content.get(section, {}) | values
    path = tmp_path / "settings.toml"
    path.write_text(tomli_w.dumps(content))
    return path


def test_what_is_left_out_is_the_published_recipe(tmp_path: Path) -> None:
    found = read_config(written(tmp_path))
    losses, batch, network, schedule = found.losses, found.batch, found.network, found.schedule
    assert (losses.classification, losses.smoothing, losses.triplet) == (10, 0.1, 1)
    assert (batch.originals, batch.images, batch.size, batch.sub_batch, batch.sub_batches) == (32, 4, 128, 32, 4)
    assert (network.side, network.hidden, network.projected, network.norm) == (256, 4096, 8192, "projected")
    assert (schedule.learning_rate, schedule.warm_up, schedule.flat) == (3.5e-4, 5 / 25, 5 / 25)


def test_a_seed_given_takes_the_files_place(tmp_path: Path) -> None:
    path = written(tmp_path, seed=7)
    assert (read_config(path).seed, read_config(path, seed=0).seed, read_config(path, seed=8).seed) == (7, 0, 8)


def test_the_digest_is_of_all_settings_whether_written_or_left_out(tmp_path: Path) -> None:
    first = read_config(written(tmp_path)).sha256
    assert read_config(written(tmp_path, {"losses": {"triplet": 1.0}, "batch": {"images": 4}}, seed=1)).sha256 == first
    others = [
        read_config(written(tmp_path, change)).sha256
        for change in (
            {"losses": {"norm_ratio": 2.0}},
            {"network": {"norm": "pooled"}},
            {"edits": {"scale": "content"}},
            {"schedule": {"steps": 200_001}},
            {"data": {"every": 10}},
            {"batch": {"pairs": 7}},
        )
    ]
    assert len({first, *others, read_config(written(tmp_path), seed=2).sha256}) == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": {"backbones": "50"}}, r"network\.backbones: Extra inputs are not permitted"),
        ({"network": {"backbone": "vit"}}, r"network\.backbone: Input should be 'mobilenetv2', '50', '152' or 'ibn'"),
        ({"network": {"side": 16}}, r"network\.side: Input should be greater than or equal to 32"),
        ({"losses": {"norm_ratio": -1}}, r"losses\.norm_ratio: Input should be greater than or equal to 0"),
        ({"losses": {"smoothing": 1.0}}, r"losses\.smoothing: Input should be less than 1"),
        ({"optimiser": {"name": "sgd"}}, r"optimiser: Extra inputs are not permitted"),
        ({"batch": {"sub_batch": 30}}, r"batch: sub_batch = 30 must be a multiple of images = 4 and divide .* = 128"),
        ({"batch": {"sub_batch": 48}}, r"batch: sub_batch = 48 must be a multiple of images = 4 and divide .* = 128"),
        ({"batch": {"pairs": 17}}, r"batch: pairs = 17 need 34 groups, a batch has 32"),
        ({"batch": {"images": 1}}, r"batch\.images: Input should be greater than or equal to 2"),
        ({"data": {"look_alikes": False}}, r"batch\.pairs is above 0, but data\.look_alikes is false; set one of them"),
        ({"data": {"held_out": 0.6}}, r"data\.held_out: Input should be less than or equal to 0\.5"),
        ({"edits": {"least": 3, "most": 2}}, r"edits: least = 3 is above most = 2"),
        ({"schedule": {"warm_up": 0.7, "flat": 0.4}}, r"schedule: warm_up \+ flat = 1\.1 is above 1"),
        ({"schedule": {"precision": "int8"}}, r"schedule\.precision: Input should be 'float32', 'float16' or"),
        ({"schedule": {"learning_rate": float("nan")}}, r"schedule\.learning_rate: "),
    ],
)
def test_what_is_unknown_or_impossible_is_named_with_its_place(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=rf"settings\.toml: .*{message}"):
        read_config(written(tmp_path, change))


def test_all_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('seed = -1\n[data]\n[network]\nbackbone = "50"\nwidth = 3\n')
    with pytest.raises(UsageError) as refused:
        read_config(path)
    told = str(refused.value)
    for part in ("seed: ", "data.split: Field required", "network.width: Extra inputs", "schedule: Field required"):
        assert part in told


@pytest.mark.parametrize("content", [b"[data\n", b"\xff\xfe", b"seed = 1\nseed = 2\n"])
def test_what_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"settings\.toml: not TOML"):
        read_config(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_config(tmp_path)


def test_settings_do_not_change_once_read(tmp_path: Path) -> None:
    found = read_config(written(tmp_path))
    with pytest.raises(ValueError, match="frozen"):
        found.seed = 2  # type: ignore[misc]
    assert Config.model_validate_json(found.model_dump_json()) == found
