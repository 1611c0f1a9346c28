"""What docs/asl.md says of settings, and the settings of the experiment: one thing changes from run to run."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from ndec_baselines.asl.config import Config, read_config

REPOSITORY = Path(__file__).parents[2]
EXPERIMENT = REPOSITORY / "baselines" / "experiments" / "asl"


def flat(config: Config) -> dict[str, object]:
    return {
        f"{section}.{name}" if isinstance(values, dict) else section: value
        for section, values in config.model_dump().items()
        for name, value in (values.items() if isinstance(values, dict) else [("", values)])
    }


def changes(first: str, second: str) -> dict[str, tuple[object, object]]:
    one, other = (flat(read_config(EXPERIMENT / f"{name}.toml")) for name in (first, second))
    return {name: (one[name], other[name]) for name in one if one[name] != other[name]}


def test_b_adds_look_alikes_to_a_and_c_the_norm_ratio_to_b() -> None:
    assert changes("a", "b") == {
        "data.look_alikes": (False, True),
        "losses.look_alikes": (0, 1),
        "batch.pairs": (0, 4),
    }
    assert changes("b", "c") == {"losses.norm_ratio": (0, 10)}
    assert changes("c", "c1") == {"losses.norm_ratio": (10, 1)}


def test_the_settings_for_ndec_are_those_of_the_published_runs() -> None:
    config = read_config(EXPERIMENT / "ndec.toml")
    assert (config.data.split, config.data.every, config.network.backbone, config.network.side) == (
        "ndec",
        10,
        "50",
        256,
    )
    assert (config.schedule.steps, config.schedule.learning_rate) == (25 * 8000, 3.5e-4)
    assert (config.batch.size, config.batch.images, config.losses.classification) == (128, 4, 10)


def rows() -> list[str]:
    found = []
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            inner = {f"{name}.{key}": value for key, value in field.annotation.model_fields.items()}
        else:
            inner = {name: field}
        for key, value in inner.items():
            default = str(value.default).lower() if isinstance(value.default, bool) else value.default
            found.append(f"| `{key}` | {'required' if value.is_required() else f'`{default}`'} | {value.description} |")
    return found


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.split("`")[1])
def test_docs_list_every_setting_with_its_default(row: str) -> None:
    assert row in (REPOSITORY / "docs" / "asl.md").read_text(encoding="utf-8").splitlines()
