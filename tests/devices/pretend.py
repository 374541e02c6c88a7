"""A device that keeps its tensors apart from the CPU's, as a GPU does, and computes on the CPU.

Torch lets a device be written in Python. Every operation passes :class:`Pretend`, which refuses
tensors of two devices in one operation by the rules that hold for CUDA: a CPU tensor may go along
only as a number (no dimensions), as an index or in a copy. Results are those of the CPU, bit for
bit, so whatever differs on this device is a mistake in moving data.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "pretend"
_kernels = torch.library.Library("_", "IMPL")
_aten = torch.ops.aten
_CROSSING = {_aten._to_copy.default, _aten.copy_.default, _aten._copy_from_and_resize.default}
crossings: list[str] = []
"""What made the CPU and the device wait for each other: numbers and tensors that went across."""
_INDEXING = {_aten.index.Tensor, _aten.index_put_.default, _aten._index_put_impl_.default}


class Held(Tensor):
    """A tensor of the device; ``held`` is where its numbers are."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Held:
        made: Any = Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=torch.device(NAME, 0),
        )
        made.held = held
        return made

    def tolist(self) -> Any:
        """Copied to the CPU, as from a GPU."""
        crossings.append("tolist")
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class Pretend(TorchDispatchMode):
    """While active, the device exists."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0
        """How many ran on the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = _computed(func, args, kwargs or {})
        self.operations += any(isinstance(r, Held) for r in tree_flatten(result)[0])
        return result


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    here = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Held)]
    wanted = kwargs.get("device")
    there = wanted.type == NAME if wanted is not None else bool(here)
    if here and func not in _CROSSING:
        _refuse_strangers(func, args, kwargs)
    if func is _aten.copy_.default:
        there = isinstance(args[0], Held)
    if _crosses(func, args, there):
        crossings.append(str(func))
    if wanted is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    inner = tree_map(lambda x: x.held if isinstance(x, Held) else x, (args, kwargs))
    result = func(*inner[0], **inner[1])
    if not there:
        return result
    wrapped = tree_map(lambda x: Held(x) if isinstance(x, Tensor) else x, result)
    return return_and_correct_aliasing(func, args, kwargs, wrapped)


def _crosses(func: Any, args: Any, there: bool) -> bool:
    """Whether numbers go from the device to the CPU or the other way."""
    if func is _aten._local_scalar_dense.default:
        return isinstance(args[0], Held)
    source = args[1] if func is _aten.copy_.default else args[0]
    return func in _CROSSING and isinstance(source, Held) != there


def _refuse_strangers(func: Any, args: Any, kwargs: Any) -> None:
    if func in _INDEXING:
        args = (args[0], *args[2:])
    for x in tree_flatten((args, kwargs))[0]:
        if isinstance(x, Tensor) and not isinstance(x, Held) and x.ndim > 0:
            raise RuntimeError(f"{func}: tensors on {NAME} and on {x.device}")


class _Module:
    """What torch asks of a device's module."""

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def is_initialized() -> bool:
        return True

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        pass

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16]


def register() -> None:
    """Make the device known to torch, once in a process.

    Modules that move get new parameters from then on: assigning ``.data``, as they do by default,
    would leave :attr:`Held.held` behind.
    """
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    _kernels.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
