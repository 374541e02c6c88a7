"""Weights of a network from a file of tensors by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyadmm.core.errors import PyadmmError

_WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training scripts keep the state among other things."""
_PREFIX = "module."
"""What ``DataParallel`` puts before every name."""
_SHOWN = 4


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill ``model`` in place with the tensors of the torch file ``path``, by name.

    Only tensors are read, never code. A checkpoint with the state under ``state_dict`` or ``model``
    and the prefix ``module.`` of ``DataParallel`` are understood.

    :raises PyadmmError: where the file cannot be read or does not fit; it names what does not.
    """
    state = _state(path)
    own = model.state_dict()
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
    model.load_state_dict(state, strict=False)


def _some(names: list[str]) -> str:
    """The first of ``names`` and how many more there are."""
    if not names:
        return "none"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _state(path: Path) -> dict[str, Tensor]:
    content: Any = _read(path)
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    named = isinstance(content, Mapping) and bool(content)
    if not named or not all(isinstance(v, Tensor) for v in content.values()):
        raise PyadmmError(f"weights {path}: must hold tensors by name (a state_dict)")
    return {str(name).removeprefix(_PREFIX): value for name, value in content.items()}


def _read(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise PyadmmError(f"weights {path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # torch.load raises whatever the damage happens to hit
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PyadmmError(
            f"weights {path}: is no torch file of plain tensors ({reason}); save a state_dict"
        ) from error
