"""Weights of a network from a file of tensors by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from pyadmm.core.errors import PyadmmError

_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "weights",
    "params",
)
"""Keys under which training scripts keep the state among other things."""
_NO_WEIGHTS = ("optimizer", "optimizer_state_dict", "optimizer_states", "lr_schedulers", "scaler")
"""Keys that hold tensors of something else."""
_DEPTH = 4
_SHOWN = 4


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill ``model`` in place with the tensors of the torch file ``path``, by name.

    Only tensors are read, never code. A state within a checkpoint (under ``state_dict``, ``model``
    and the like, or the only one that there is) is found, and what wrappers put before all names
    (``module.``, ``_orig_mod.``, ``model.``) is taken off.

    :raises PyadmmError: where the file cannot be read or does not fit; it names what does not.
    """
    own = {_plain(name): value for name, value in model.state_dict().items()}
    state = _without_prefixes(_state(path), set(own))
    optional = {name for name in own if name.endswith("num_batches_tracked")}
    missing = [name for name in own if name not in state and name not in optional]
    unknown = [name for name in state if name not in own]
    if missing or unknown:
        raise PyadmmError(
            f"weights {path}: do not fit {type(model).__name__}: missing {_some(missing)}; "
            f"unknown {_some(unknown)}; give the file that this very network was saved to"
        )
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise PyadmmError(
                f"weights {path}: {name} must have shape {tuple(own[name].shape)}, "
                f"not {tuple(value.shape)}; build the network with the sizes that it was trained with"
            )
        if own[name].is_floating_point() and not value.is_floating_point():
            raise PyadmmError(
                f"weights {path}: {name} holds whole numbers ({value.dtype}), whose scale is not "
                "known; save floats"
            )
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise PyadmmError(
                f"weights {path}: {name} is no plain tensor ({value.layout}, {value.dtype}); save "
                "dense floats"
            )
        if not bool(torch.isfinite(value).all()):
            raise PyadmmError(
                f"weights {path}: {name} holds values that are not finite; take a "
                "checkpoint from before the training diverged"
            )
    named = {_plain(name): name for name in model.state_dict()}
    model.load_state_dict({named[name]: value for name, value in state.items()}, strict=False)


def _plain(name: str) -> str:
    """``name`` without the level that ``torch.compile`` adds, wherever it is."""
    return name.replace("_orig_mod.", "")


def _without_prefixes(state: dict[str, Tensor], own: set[str]) -> dict[str, Tensor]:
    """``state`` with the names of the model, as far as wrappers have put something before them."""
    state = {_plain(name): value for name, value in state.items()}
    if own.isdisjoint(state):
        prefix = _common_prefix(list(state), own)
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _common_prefix(names: list[str], own: set[str]) -> str:
    """Common prefix of the model's names in ``names``; empty where there is none."""
    first = min(own)
    prefixes = (name.removesuffix(first) for name in names if name.endswith(f".{first}"))
    found = {prefix: sum(prefix + name in names for name in own) for prefix in prefixes}
    return max(found, key=lambda prefix: found[prefix], default="")


def _some(names: list[str]) -> str:
    """The first of ``names`` and how many more there are."""
    if not names:
        return "none"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _state(path: Path) -> dict[str, Tensor]:
    content: Any = _read(path)
    states = list(_states(content))
    if not states:
        held = f"a {type(content).__name__}"
        if isinstance(content, Mapping):
            held += f" of {_some(list(map(str, content)))}"
        raise PyadmmError(
            f"weights {path}: must hold tensors by name (a state_dict), not {held}; save "
            "model.state_dict()"
        )
    return {str(name): value for name, value in states[0].items()}


def _states(content: Any, depth: int = 0) -> Iterator[Mapping[Any, Tensor]]:
    """States in ``content``, those under the usual keys first."""
    if not isinstance(content, Mapping) or depth > _DEPTH:
        return
    if _is_state(content):
        yield content
        return
    usual = [key for key in _WRAPPERS if key in content]
    for key in [*usual, *(key for key in content if key not in usual and key not in _NO_WEIGHTS)]:
        yield from _states(content[key], depth + 1)


def _is_state(content: Mapping[Any, Any]) -> bool:
    return bool(content) and all(isinstance(value, Tensor) for value in content.values())


def _read(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise PyadmmError(f"weights {path}: cannot be read ({error.strerror})") from error
    except UnpicklingError as error:
        if "numpy" in str(error):
            raise PyadmmError(
                f"weights {path}: holds numpy arrays, which are not read; save tensors, made by "
                "torch.from_numpy"
            ) from error
        raise PyadmmError(
            f"weights {path}: is no torch file of plain tensors: it holds Python objects, such as a "
            "whole module, which are not read because that would run code; save "
            "model.state_dict() instead"
        ) from error
    except Exception as error:  # torch.load raises whatever the damage happens to hit
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if "TorchScript" in reason:
            reason = "it is a TorchScript archive"
        raise PyadmmError(
            f"weights {path}: is no torch file of plain tensors ({reason[:120]}); save "
            "model.state_dict() by torch.save"
        ) from error
