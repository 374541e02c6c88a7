"""Weights of a network from a file of tensors by name."""

from __future__ import annotations

from collections.abc import Mapping
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
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
"""What ``DataParallel``, ``torch.compile`` and Lightning modules put before every name."""
_SHOWN = 4


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill ``model`` in place with the tensors of the torch file ``path``, by name.

    Only tensors are read, never code. A state within a checkpoint (under ``state_dict``, ``model``
    and the like) is found, and what wrappers put before names (``module.``, ``_orig_mod.``,
    ``model.``) is taken off.

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
            f"unknown {_some(unknown)}"
        )
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise PyadmmError(
                f"weights {path}: {name} must have shape {tuple(own[name].shape)}, "
                f"not {tuple(value.shape)}"
            )
        if not bool(torch.isfinite(value).all()):
            raise PyadmmError(f"weights {path}: {name} holds values that are not finite")
    named = {_plain(name): name for name in model.state_dict()}
    model.load_state_dict({named[name]: value for name, value in state.items()}, strict=False)


def _plain(name: str) -> str:
    """``name`` without the level that ``torch.compile`` adds, wherever it is."""
    return name.replace("_orig_mod.", "")


def _without_prefixes(state: dict[str, Tensor], own: set[str]) -> dict[str, Tensor]:
    """``state`` with the names of the model, as far as wrappers have put something before them."""
    state = {_plain(name): value for name, value in state.items()}
    while own.isdisjoint(state):
        prefix = next((p for p in _PREFIXES if any(n.startswith(p) for n in state)), None)
        if prefix is None:
            break
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _some(names: list[str]) -> str:
    """The first of ``names`` and how many more there are."""
    if not names:
        return "none"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _state(path: Path) -> dict[str, Tensor]:
    content: Any = _read(path)
    while isinstance(content, Mapping) and not _is_state(content):
        inner = next((content[k] for k in _WRAPPERS if isinstance(content.get(k), Mapping)), None)
        if inner is None:
            break
        content = inner
    if not isinstance(content, Mapping) or not _is_state(content):
        raise PyadmmError(f"weights {path}: must hold tensors by name (a state_dict)")
    return {str(name): value for name, value in content.items()}


def _is_state(content: Mapping[Any, Any]) -> bool:
    return bool(content) and all(isinstance(value, Tensor) for value in content.values())


def _read(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise PyadmmError(f"weights {path}: cannot be read ({error.strerror})") from error
    except UnpicklingError as error:
        raise PyadmmError(
            f"weights {path}: is no torch file of plain tensors: it holds Python objects, such as a "
            "whole module, which are not read because that would run code; save "
            "model.state_dict() instead"
        ) from error
    except Exception as error:  # torch.load raises whatever the damage happens to hit
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PyadmmError(
            f"weights {path}: is no torch file of plain tensors ({reason}); save a state_dict"
        ) from error
