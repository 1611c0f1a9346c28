"""The files of a run's folder: the log, the state to go on from, the trained network."""

from __future__ import annotations

import csv
import io
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ndec_baselines.networks.checkpoints import read_checkpoint
from ndec_bench.atomic import replacing, write_text
from ndec_bench.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STATE_FILE = "state.pt"
MODEL_FILE = "model.pt"
LOG_FILE = "log.csv"
STATE_FORMAT = "ndec-asl-state-1"

BINS = (0.25, 0.5, 0.75, 0.9, 1.0)
"""Upper borders of the scales by which the log gives mean norms; scale 1 has a column of its own."""

COLUMNS = (
    "step",
    "learning_rate",
    "loss",
    "classification",
    "triplet",
    "norm_ratio",
    "look_alikes",
    *(f"norm_to_{border:g}" for border in BINS),
    "norm_original",
    "held_micro_ap",
    "held_micro_ap_ratio",
    "held_kept",
    "held_kept_if_swapped",
    "held_auc",
    "held_hard_kept",
)


@dataclass
class Log:
    """The rows of ``log.csv``: numbers without a clock, so that equal runs leave equal bytes.

    Attributes
    ----------
    rows
        Text by column; a column that was not measured at a step is empty.
    """

    rows: list[dict[str, str]] = field(default_factory=list)

    def add(self, step: int, values: Mapping[str, float | None]) -> None:
        """Take the values of ``step``; those of a step that has a row already join it."""
        if not self.rows or self.rows[-1]["step"] != str(step):
            self.rows.append({"step": str(step)})
        self.rows[-1].update({name: f"{value:.6g}" for name, value in values.items() if value is not None})

    def write(self, path: Path) -> None:
        """Write the log as CSV, whole or not at all."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_text(path, text.getvalue())


def norms_by_scale(norms: torch.Tensor, scales: torch.Tensor) -> dict[str, float | None]:
    """Return mean norms by the bins of the log, of norms (n,) and scales (n,); None where a bin is empty."""
    found: dict[str, float | None] = {}
    low = 0.0
    for border in BINS:
        inside = (scales > low) & (scales <= border) & (scales < 1)
        found[f"norm_to_{border:g}"] = float(norms[inside].mean()) if bool(inside.any()) else None
        low = border
    whole = scales >= 1
    found["norm_original"] = float(norms[whole].mean()) if bool(whole.any()) else None
    return found


def save(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``content`` with torch, whole or not at all; the same content gives the same bytes."""
    # Given a path, torch writes its name into the file, here that of a temporary one. It hides a full disk.
    file = io.BytesIO()
    torch.save(dict(content), file)
    with replacing(path) as temporary:
        temporary.write_bytes(file.getbuffer())


def read_state(folder: Path, config_sha256: str) -> dict[str, Any] | None:
    """Return the state that a run with these settings left in ``folder``; None if it left none.

    Raises
    ------
    UsageError
        If the state there is that of other settings.
    DataError
        If it cannot be read.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    content = read_checkpoint(path)
    if not isinstance(content, dict) or content.get("format") != STATE_FORMAT:
        raise DataError(f"{path}: no state of a training run", hint="give another folder with --out, or remove it")
    if content.get("config_sha256") != config_sha256:
        raise UsageError(
            f"{path}: left by a run with other settings", hint="give another folder with --out, or the same settings"
        )
    # The file is mapped; a resumed run must not lean on it while it writes the next one.
    return deepcopy(content)
