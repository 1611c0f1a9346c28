"""The networks that are trained: widths, first weights from strangers' files, and the file that a run leaves."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from random_weights import filled

from ndec_baselines.asl.config import Network
from ndec_baselines.asl.network import AslNetwork, Describer, export, load_initial, read_export
from ndec_baselines.asl.sub_batches import with_sub_batches
from ndec_baselines.networks import isc_resnet
from ndec_baselines.networks.torchvision_import import import_torchvision
from ndec_bench.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

SMALL = Network(backbone="mobilenetv2", side=32, hidden=24, projected=12)


def small(seed: int = 0, **changes: Any) -> AslNetwork:  # noqa: ANN401
    """Return a small network whose random weights let something of the images through."""
    network = AslNetwork(SMALL.model_copy(update=changes))
    filled(network.body, seed)
    return network


def saved(tmp_path: Path, content: object, name: str = "first.pth") -> Path:
    path = tmp_path / name
    torch.save(content, path)
    return path


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> AslNetwork:
    """A ResNet-50 with a narrow projector."""
    monkeypatch.setattr(isc_resnet, "HIDDEN", 16)
    monkeypatch.setattr(isc_resnet, "PROJECTED", 8)
    torch.manual_seed(0)
    return AslNetwork(Network(backbone="50", hidden=16, projected=8))


# Shapes.


def test_outputs_are_pooled_and_projected_and_keep_their_norms() -> None:
    """GeM of power 3 behind MobileNetV2's last map; two layers, between them a leaky ReLU of slope 0.2."""
    network = small().eval()
    images = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        found = network(images)
        maps = torch.nn.Sequential(*list(network.body.get_submodule("base").children())[:-1])(images)
    assert {name: tuple(value.shape) for name, value in found.items()} == {"pooled": (3, 1280), "projected": (3, 12)}
    assert network.widths == {"pooled": 1280, "projected": 12}
    expected = (maps.clamp(min=1e-6) ** 3).mean(dim=(2, 3)) ** (1 / 3)
    assert torch.allclose(found["pooled"], expected, rtol=1e-4, atol=1e-6)
    assert float(expected.std(dim=0).mean()) > 0.01 * float(expected.mean())  # the images are told apart
    state = network.body.state_dict()

    def normalised(name: str, values: torch.Tensor) -> torch.Tensor:
        mean, variance, weight, bias = (
            state[f"projector_feat_bn.{name}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return (values - mean) / torch.sqrt(variance + 1e-5) * weight + bias

    def linear(name: str, values: torch.Tensor) -> torch.Tensor:
        return values @ state[f"projector_feat_bn.{name}.weight"].T + state[f"projector_feat_bn.{name}.bias"]

    hidden = normalised("0.1", linear("0.0", expected))
    projected = normalised("1", linear("0.3", torch.where(hidden > 0, hidden, 0.2 * hidden)))
    assert torch.allclose(found["projected"], projected, rtol=1e-3, atol=1e-4)
    assert not network.body.get_submodule("projector_feat_bn.1").get_parameter("bias").requires_grad


def test_the_large_network_is_the_published_one() -> None:
    with torch.device("meta"):
        network, published = AslNetwork(Network(backbone="50")), isc_resnet.IscResNet("50")
    assert {name: value.shape for name, value in network.body.state_dict().items()} == {
        name: value.shape for name, value in published.state_dict().items()
    }
    assert network.widths == {"pooled": 2048, "projected": 8192}
    with pytest.raises(UsageError, match=r"network\.hidden = 24, network\.projected = 8192: the projector of 50 has"):
        AslNetwork(Network(backbone="50", hidden=24))


def test_the_power_of_the_pooling_is_held(large: AslNetwork) -> None:
    assert not large.body.get_parameter("base.10.p").requires_grad
    trained = {id(parameter) for parameter in (*large.trunk(), *large.heads())}
    held = {name for name, parameter in large.named_parameters() if id(parameter) not in trained}
    assert held == {"body.base.10.p", "body.projector_feat_bn.1.bias"}


def test_a_describer_gives_unit_vectors_and_the_norms_of_the_chosen_tensor() -> None:
    images = torch.randn(3, 3, 32, 32)
    for norm in ("pooled", "projected"):
        for descriptor in ("pooled", "projected"):
            network = small(norm=norm, descriptor=descriptor).eval()
            with torch.no_grad():
                outputs = network(images)
                vectors, norms = Describer(network)(images)
            assert torch.allclose(norms, outputs[norm].norm(dim=1), rtol=1e-6)
            assert torch.allclose(
                vectors * outputs[descriptor].norm(dim=1, keepdim=True), outputs[descriptor], rtol=1e-5
            )


# First weights.


def torchvisions_resnet(seed: int) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = filled(import_torchvision().models.resnet50(weights=None), seed).state_dict()
    return found


def trunk_of_resnet(state: Mapping[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """Return the last maps of torchvision's own network with BoT's stride of 1 in the last stage."""
    network = import_torchvision().models.resnet50(weights=None)
    network.load_state_dict(state)
    network.layer4[0].conv2.stride = network.layer4[0].downsample[0].stride = (1, 1)
    network.eval()
    with torch.no_grad():
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            images = network.get_submodule(name)(images)
    return images


@pytest.mark.parametrize("form", ["torchvision", "without fc", "state_dict, module.", "model"])
def test_a_resnet_of_torchvision_is_a_first_trunk(tmp_path: Path, large: AslNetwork, form: str) -> None:
    """As Barlow Twins publishes it (without fc), as a trainer in parallel leaves it, under ``model``."""
    state = torchvisions_resnet(seed=5)
    content: object = {name: value for name, value in state.items() if not name.startswith("fc.")}
    if form == "torchvision":
        content = state
    elif form == "state_dict, module.":
        content = {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}
    elif form == "model":
        content = {"model": content}
    before = {name: value.clone() for name, value in large.state_dict().items()}
    assert load_initial(large, saved(tmp_path, content)) == "trunk of first.pth"
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = torch.nn.Sequential(*list(large.eval().body.get_submodule("base").children())[:-1])(images)
    expected = trunk_of_resnet(state, images)
    assert torch.allclose(maps, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert float(expected.std()) > 0
    for name, value in large.state_dict().items():
        assert torch.equal(value, before[name]) == ("projector" in name or name.endswith((".p", "_tracked"))), name


def test_mobilenet_of_torchvision_is_a_first_trunk(tmp_path: Path) -> None:
    other = filled(import_torchvision().models.mobilenet_v2(weights=None), seed=7)
    network = small(seed=1)
    assert load_initial(network, saved(tmp_path, other.state_dict())) == "trunk of first.pth"
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = torch.nn.Sequential(*list(network.eval().body.get_submodule("base").children())[:-1])(images)
        assert torch.equal(maps, other.features(images))


def test_an_own_export_gives_trunk_and_projector(tmp_path: Path) -> None:
    other, network = small(seed=1), small(seed=2, norm="pooled")
    path = saved(tmp_path, export(other, trained="for a test"))
    assert load_initial(network, path) == "trunk and projector of first.pth"
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in network.state_dict().items())


def test_files_that_do_not_fit_are_refused(tmp_path: Path, large: AslNetwork) -> None:
    mobile = import_torchvision().models.mobilenet_v2(weights=None).state_dict()
    with pytest.raises(DataError, match=r"first\.pth: the weights do not fit the network: \d+ missing"):
        load_initial(large, saved(tmp_path, mobile))
    with pytest.raises(DataError, match=r"the weights do not fit the network"):
        load_initial(large, saved(tmp_path, export(small(), trained="")))
    with pytest.raises(DataError, match=r"the weights do not fit the network: .* of another shape"):
        load_initial(small(projected=20), saved(tmp_path, export(small(), trained="")))
    state = torchvisions_resnet(seed=0)
    del state["layer3.2.conv1.weight"]
    with pytest.raises(DataError, match=r"1 missing \(7\.2\.conv1\.weight\)$|1 missing \(7\.2\.conv1\.weight\);"):
        load_initial(large, saved(tmp_path, state))
    with pytest.raises(DataError, match=r"1 unexpected \(extra\)"):
        load_initial(small(), saved(tmp_path, mobile | {"extra": torch.zeros(1)}))


class _Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("was-run"),))


@pytest.mark.parametrize("content", [pickle.dumps(_Payload()), b"", b"<html>", b"PK\x03\x04 broken", None])
def test_a_file_that_is_no_checkpoint_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "first.pth"
    if content is None:
        torch.save({"model": _Payload()}, path)
    else:
        path.write_bytes(content)
    for read in (lambda: load_initial(small(), path), lambda: read_export(path)):
        with pytest.raises(DataError, match=r"first\.pth: .*(expected a|not a) checkpoint"):
            read()
    assert not Path("was-run").exists()


@pytest.mark.parametrize("content", [{"model": [1, 2]}, {"state_dict": {"a": 1}}, [torch.zeros(1)], {}])
def test_a_checkpoint_without_weights_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(DataError, match=r"first\.pth: "):
        load_initial(small(), saved(tmp_path, content))


# The file that a run leaves.


def test_an_export_reads_back_to_the_same_outputs(tmp_path: Path) -> None:
    """From a network whose normalisations were replaced for training, into one with torch's own."""
    network = small(seed=3, norm="pooled", frozen=2)
    with_sub_batches(network)
    network.train()(torch.randn(4, 3, 32, 32))
    path = saved(tmp_path, export(network, trained="step 7"), "model.pt")
    found = read_export(path)
    assert not found.training
    assert found.settings == network.settings
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        for name, value in network.eval()(images).items():
            assert torch.equal(found(images)[name], value)


def test_an_export_is_a_copy() -> None:
    network = small()
    kept = export(network, trained="")["state"]["base.0.0.weight"].clone()
    made = export(network, trained="")
    with torch.no_grad():
        network.body.get_parameter("base.0.0.weight").add_(1)
    assert torch.equal(made["state"]["base.0.0.weight"], kept)


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    good = export(small(), trained="")
    for content in (small().body.state_dict(), good | {"format": "ndec-asl-2"}, [1]):
        with pytest.raises(DataError, match=r"model\.pt: not an export of ndec-bench train asl"):
            read_export(saved(tmp_path, content, "model.pt"))
    for network in ("{}", "no JSON", None, SMALL.model_dump_json().replace("mobilenetv2", "vit")):
        with pytest.raises(DataError, match=r"model\.pt: the settings in it do not fit"):
            read_export(saved(tmp_path, good | {"network": network}, "model.pt"))
    wide = SMALL.model_copy(update={"projected": 20}).model_dump_json()
    with pytest.raises(DataError, match=r"model\.pt: the weights do not fit the network"):
        read_export(saved(tmp_path, good | {"network": wide}, "model.pt"))
    del good["state"]
    with pytest.raises(DataError, match=r"model\.pt: no entry 'state'"):
        read_export(saved(tmp_path, good, "model.pt"))
