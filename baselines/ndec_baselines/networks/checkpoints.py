"""Published checkpoints: strangers' pickles, opened so that they cannot run code, and loaded strictly.

Everything goes through ``torch.load(weights_only=True)``, which knows tensors and plain containers. Classes that
published files are known to hold next to the weights (an ``argparse.Namespace``, callbacks of a trainer) are named by
the baseline and replaced by an empty class of ours: what they held is read past, never run. TorchScript is code by
nature; `ndec_baselines.weights` opens the way to it only for a digest that is pinned or given by the user.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from zipfile import is_zipfile

import torch

from ndec_baselines.weights import check_kind
from ndec_bench.errors import DataError
from ndec_bench.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    State = dict[str, torch.Tensor]
    Drop = Callable[[str], bool]

Network = TypeVar("Network", bound=torch.nn.Module)

_SHOWN = 5
_MESSAGE = 300


class Inert:
    """Takes the place of a class that a checkpoint names next to its weights: takes any arguments and does nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass


def read_checkpoint(path: Path, *, inert: Iterable[str] = ()) -> Any:  # noqa: ANN401 -- what the file holds
    """Return the content of a file written by ``torch.save``, on the CPU.

    Parameters
    ----------
    inert
        Full names of classes that the file may name next to its weights (``argparse.Namespace``); they become `Inert`.

    Raises
    ------
    DataError
        If the file cannot be read, is damaged, or holds anything but tensors, plain containers and ``inert`` classes.
    """
    check_kind(path, torchscript=False)
    stand_ins: list[Any] = [(_stand_in(name), name) for name in inert]
    try:
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of a version of pickle, and then refuses the file
            # Mapped, so that what is left out (class matrices, optimiser states) is never read; the old form cannot be.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except Exception as error:
        # Besides UnpicklingError and RuntimeError, damaged files make torch raise KeyError, EOFError and others.
        raise DataError(
            f"{path}: not a checkpoint that can be read safely{_why(error)}", hint="give the published file"
        ) from error


def state_dict_in(path: Path, content: object, key: str | None = None) -> State:
    """Return the state dict that ``content`` is, or holds under ``key``.

    Raises
    ------
    DataError
        If there is no such key, or what is there is not a mapping of names to tensors.
    """
    if key is not None:
        if not isinstance(content, Mapping) or key not in content:
            found = ", ".join(sorted(map(str, content))[:_SHOWN]) if isinstance(content, Mapping) else type(content)
            raise DataError(
                f"{path}: no entry {key!r} in the checkpoint (found {one_line(str(found), _MESSAGE)})",
                hint="give the published file",
            )
        content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise DataError(f"{path}: no state dict ({type(content).__name__})", hint="give the published file")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise DataError(
                f"{path}: entry {str(name)[:80]!r} is {type(value).__name__}, expected a tensor",
                hint="give the published file",
            )
    return dict(content)


def read_state_dict(path: Path, *keys: str) -> State:
    """Return the state dict in a file, under the first of ``keys`` that is there or bare. Raises DataError."""
    content = read_checkpoint(path)
    key = next((key for key in keys if isinstance(content, dict) and key in content), None)
    return state_dict_in(path, content, key)


def without_prefix(state: Mapping[str, torch.Tensor], prefix: str) -> State:
    """Return ``state`` with ``prefix`` taken off the names that begin with it (``module.`` of parallel training)."""
    return {name.removeprefix(prefix): value for name, value in state.items()}


def unfilled(make: Callable[[], Network]) -> Network:
    """Return the network that ``make`` builds, its numbers undefined until `load_strictly` gives it all of them.

    Drawing first weights, which a file then replaces, takes longer than reading the file.
    """
    with torch.device("meta"):
        network = make()
    return network.to_empty(device="cpu")


def filled(
    path: Path,
    make: Callable[[], Network],
    state: Mapping[str, torch.Tensor],
    *,
    drop: Callable[[str], bool] | None = None,
) -> Network:
    """Return the network that ``make`` builds, with all its numbers from ``state``; the rest is `load_strictly`'s."""
    network = unfilled(make)
    load_strictly(path, network, state, drop=drop)
    return network


def load_strictly(
    path: Path, network: torch.nn.Module, state: Mapping[str, torch.Tensor], *, drop: Drop | None = None
) -> None:
    """Load ``state`` into ``network``: nothing missing, nothing left over, every shape as it is.

    Parameters
    ----------
    drop
        Tells the names that the published files are known to carry next to the network; they are left out first.

    Raises
    ------
    DataError
        If names or shapes do not fit, or a value is NaN; the first of each kind are named.
    """
    given = {name: value for name, value in state.items() if drop is None or not drop(name)}
    wanted = network.state_dict()
    problems = [
        *_named("missing", sorted(wanted.keys() - given.keys())),
        *_named("unexpected", sorted(given.keys() - wanted.keys())),
        *_named(
            "of another shape",
            [
                f"{name} {tuple(given[name].shape)}, expected {tuple(wanted[name].shape)}"
                for name in sorted(wanted.keys() & given.keys())
                if given[name].shape != wanted[name].shape
            ],
        ),
    ]
    if problems:
        raise DataError(
            f"{path}: the weights do not fit the network: {'; '.join(problems)}", hint="give the published file"
        )
    if broken := [name for name, value in given.items() if bool(torch.isnan(value).any())]:
        raise DataError(
            f"{path}: not numbers (NaN): {'; '.join(_named('entries', broken))}",
            hint="download it again, or train again",
        )
    network.load_state_dict(given, strict=True)


def read_torchscript(path: Path) -> torch.nn.Module:
    """Return the TorchScript module in ``path``, on the CPU, for evaluation.

    The file can run code: only call this for one whose digest was checked (`ndec_baselines.weights.check_weights`).

    Raises
    ------
    DataError
        If it is not a TorchScript file, or damaged.
    """
    check_kind(path, torchscript=True)
    try:
        with warnings.catch_warnings():
            # torch calls TorchScript deprecated; the published files are what they are.
            warnings.filterwarnings("ignore", message=".*torch.jit.load.* is deprecated")
            module: torch.nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except Exception as error:
        raise DataError(f"{path}: not a TorchScript module{_why(error)}", hint="give the published file") from error
    return module.eval()


def _stand_in(name: str) -> type[Inert]:
    module, _, qualified = name.rpartition(".")
    return type(qualified, (Inert,), {"__module__": module})


def _named(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{len(names)} {what} ({', '.join(names[:_SHOWN])}{more})"]


def _why(error: Exception) -> str:
    """Return what torch says, in brackets, without its advice to switch its safety off."""
    reason = str(error).rpartition("WeightsUnpickler error:")[2].partition("Check the documentation")[0]
    reason = one_line(reason, _MESSAGE)
    return f" ({reason})" if reason and "weights_only" not in reason else ""
