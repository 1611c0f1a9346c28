"""Importing torchvision next to a CPU build of torch.

torchvision 0.28 from the package index is compiled against CUDA libraries. Beside a CPU-only torch its compiled part
does not load, and ``import torchvision`` then fails with ``operator torchvision::nms does not exist``, although its
models need no such operator. Naming the two missing operators is enough: models and transforms work, non-maximum
suppression itself and ``torchvision.io`` do not. timm, which imports torchvision, meets and loses the same fault.
"""

from __future__ import annotations

import sys
import threading
from importlib import import_module
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from types import ModuleType

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_OPERATORS = ("nms", "qnms")
_LOCK = threading.Lock()
_KEPT: list[torch.library.Library] = []  # the operators vanish with the object that defined them


def import_torchvision() -> ModuleType:
    """Return the torchvision module, imported; its missing operators are named first where that is the obstacle.

    Raises
    ------
    ImportError
        If torchvision is not installed.
    RuntimeError
        If it fails for another reason.
    """
    with _LOCK:
        try:
            return import_module("torchvision")
        except RuntimeError as error:
            if torch.version.cuda is not None or "torchvision::nms" not in str(error):
                raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        _name_operators()
        return import_module("torchvision")


def _name_operators() -> None:
    if _KEPT:
        return
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for operator in _OPERATORS:
        library.define(operator + _SCHEMA)  # type: ignore[no-untyped-call]
    _KEPT.append(library)
