"""torchvision beside a CPU build of torch: imported, also after a failed attempt, and no other failure is hidden."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from ndec_baselines.networks import torchvision_import
from ndec_baselines.networks.torchvision_import import import_torchvision


def test_models_work_in_a_process_where_the_plain_import_was_tried_first() -> None:
    code = """
try:
    import torchvision
except RuntimeError:
    pass
from ndec_baselines.networks.torchvision_import import import_torchvision
module = import_torchvision()
import torch, torchvision
assert torchvision is module is import_torchvision()
assert module.models.mobilenet_v2(weights=None).eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("error", [RuntimeError("something else"), ImportError("No module named 'torchvision'")])
def test_other_failures_are_passed_on(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(name: str) -> None:
        raise error

    monkeypatch.setattr(torchvision_import, "import_module", fail)
    with pytest.raises(type(error), match=str(error)):
        import_torchvision()


def test_the_fault_of_a_cuda_build_is_not_cured(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the operators exist when the installation is sound; naming them would hide that it is not."""

    def fail(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr(torchvision_import, "import_module", fail)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(RuntimeError, match="torchvision::nms"):
        import_torchvision()
