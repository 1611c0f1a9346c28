"""Two processes over gloo train what one trains, and workers that make the pictures change nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w
import torch

from ndec_baselines.asl.distributed import Processes, joined, started_as
from ndec_baselines.asl.trainer import train
from ndec_baselines.networks.checkpoints import read_checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ndec_baselines.asl.config import Config
    from ndec_baselines.asl.training_set import TrainingSet

    Settings = Callable[..., Config]
    State = dict[str, Any]

COMMAND = [sys.executable, "-c", "from ndec_bench.cli import main; main()", "train", "asl", "--threads", "1", "--json"]


def start(root: Path, file: Path, out: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "--root", str(root), "--config", str(file), "--out", str(out), *options],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """Return what stood on stdout of a process that ended well."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def group_of(count: int) -> list[dict[str, str]]:
    """Return the environment of each of ``count`` processes, as torchrun sets it."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    # The loopback device by name: what a machine calls itself need not lead back to it.
    device = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **device}
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


@dataclass
class Bench:
    """Trains the tiny set with the same settings in this process, in another, or in two."""

    found: TrainingSet
    root: Path
    folder: Path

    def alone(self, config: Config) -> State:
        """Return the state that one process without workers leaves."""
        out = self.folder / "alone"
        out.mkdir()
        processes, device = Processes(), torch.device("cpu")
        train(config, self.found, out, initial=None, processes=processes, device=device)
        found: State = read_checkpoint(out / "state.pt")
        return found

    def by_command(self, config: Config, processes: int = 1, *options: str) -> tuple[State, dict[str, Any]]:
        """Return the state that so many processes of the command line leave, and what the first prints."""
        file, out = self.folder / "settings.toml", self.folder / "by_command"
        file.write_text(tomli_w.dumps(config.model_dump()))
        started = [start(self.root, file, out, *options, **each) for each in group_of(processes)]
        first, *others = [ended(each) for each in started]
        assert others == [""] * (processes - 1)
        return read_checkpoint(out / "state.pt"), json.loads(first)


@pytest.fixture
def bench(tiny_set: TrainingSet, tiny_root: Path, tmp_path: Path) -> Bench:
    return Bench(tiny_set, tiny_root, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="one sub-batch each"),
        pytest.param({"batch": {"originals": 8, "sub_batch": 4}, "network": {"side": 64}}, id="two sub-batches each"),
    ],
)
def test_two_processes_train_what_one_trains(bench: Bench, settings: Settings, changes: dict[str, Any]) -> None:
    """Weights, running statistics, what the optimiser remembers and the log, after four steps and two validations."""
    config = settings(schedule={"steps": 4, "validate_every": 2, "warm_up": 0.0}, **changes)
    alone = bench.alone(config)
    state, told = bench.by_command(config, 2)
    assert (told["steps"], told["settings_sha256"], told["best_step"]) == (4, config.sha256, alone["best_step"])
    assert state["step"] == 4
    for part in ("network", "classifier"):
        assert state[part].keys() == alone[part].keys()
        for name, value in alone[part].items():
            assert torch.allclose(state[part][name].double(), value.double(), rtol=1e-5, atol=1e-5), name
    for mine, theirs in zip(state["log"], alone["log"], strict=True):
        assert mine.keys() == theirs.keys()
        assert [float(value) for value in mine.values()] == pytest.approx(
            [float(value) for value in theirs.values()], rel=1e-4, abs=1e-5
        )


@pytest.mark.slow
def test_sums_in_float32_give_two_processes_the_gradient_of_one_but_for_rounding(
    bench: Bench, settings: Settings
) -> None:
    """After one step Adam remembers a tenth of the gradient. Its own step is no measure: it takes the sign alone."""
    config = settings(
        batch={"originals": 8, "sub_batch": 4, "sums": "float32"},
        network={"side": 64},
        schedule={"steps": 1},
        losses={"sampled": True},
    )
    alone = bench.alone(config)
    state, _ = bench.by_command(config, 2)
    gradients, expected = ([one["exp_avg"] for one in each["optimiser"]["state"].values()] for each in (state, alone))
    assert len(gradients) == len(expected) > 150
    compared = 0
    for mine, theirs in zip(gradients, expected, strict=True):
        largest = float(theirs.abs().max())
        if largest > 1e-5:  # smaller ones are zero in truth, of what a normalisation follows: rounding
            assert float((mine - theirs).abs().max()) < 1e-3 * largest
            compared += 1
    assert compared > 100
    for name, value in alone["network"].items():
        if "running" in name or "tracked" in name:
            assert torch.allclose(state["network"][name].double(), value.double(), rtol=1e-5, atol=1e-5), name
    (mine,), (theirs,) = state["log"], alone["log"]
    losses = ("loss", "classification", "triplet", "norm_ratio", "look_alikes", "norm_original")
    assert [mine[name] for name in losses] == [theirs[name] for name in losses]  # in six digits


@pytest.mark.slow
def test_workers_change_nothing(bench: Bench, settings: Settings) -> None:
    config = settings(schedule={"steps": 4, "validate_every": 2})
    alone = bench.alone(config)
    state, told = bench.by_command(config, 1, "--workers", "2")
    assert all(torch.equal(value, alone["network"][name]) for name, value in state["network"].items())
    assert state["log"] == alone["log"]
    assert told["best_step"] == alone["best_step"]


SCRIPT = """
import torch
from ndec_baselines.asl.distributed import gradients, joined

torch.set_num_threads(1)
with joined("cpu") as processes:
    rank = processes.rank
    assert processes.count == 2 and processes.first == (rank == 0)
    assert processes.from_first(0.25 + rank) == 0.25
    assert processes.summed(torch.tensor([1.0 + rank, 10.0])).tolist() == [3.0, 20.0]
    own = torch.tensor([[1.0 + rank, 2.0]], requires_grad=True)
    rows = processes.shared(own * 3)
    assert rows.tolist() == [[3.0, 6.0], [6.0, 6.0]]
    rows.prod().backward()  # 648: as derivative three times the product of the other three
    assert own.grad.tolist() == [[648.0 / (1.0 + rank), 324.0]], own.grad
    some = [torch.nn.Parameter(torch.zeros(shape)) for shape in ((2, 2), (3,), (1,))]
    some[0].grad = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).T + rank  # laid out by columns
    some[1].grad = torch.tensor([5.0, 6.0, 7.0]) * (1 + rank)
    processes.add_up(gradients(some))
    assert some[0].grad.tolist() == [[3.0, 7.0], [5.0, 9.0]] and some[1].grad.tolist() == [15.0, 18.0, 21.0]
    assert some[2].grad is None
    some[1].grad += rank
    processes.take_first(gradients(some))
    assert some[1].grad.tolist() == [15.0, 18.0, 21.0]
    processes.wait()
assert not torch.distributed.is_initialized()
"""


def test_processes_hear_of_each_other(tmp_path: Path) -> None:
    """Sums, shared rows with gradients into the own ones, the first one's word, by hand."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, **each},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for each in group_of(2)
    ]
    assert [ended(each) for each in started] == ["", ""]


def test_one_process_needs_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert started_as() == Processes(rank=0, count=1, local_rank=0)
    with joined("cpu") as processes:
        rows, parameter = torch.ones(2, 3, requires_grad=True), torch.nn.Parameter(torch.zeros(2))
        parameter.grad = torch.tensor([1.0, 2.0])
        assert processes.first
        assert processes.shared(rows) is rows
        assert torch.equal(processes.summed(torch.ones(2)), torch.ones(2))
        processes.add_up([parameter.grad])
        processes.take_first([parameter.grad])
        assert parameter.grad.tolist() == [1.0, 2.0]
        assert processes.from_first(0.25) == 0.25
        processes.wait()


def test_torchrun_says_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    found = started_as()
    assert found == Processes(rank=5, count=8, local_rank=1)
    assert not found.first
