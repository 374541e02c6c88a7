"""Devices for training: the CPU, or a GPU with CUDA.

A network determines the device: data are copied to it batch by batch, and everything made from the
network is on the same device. Random numbers are drawn on the CPU, so order, shifts and flips are the
same on all devices. Sums are computed in another order on a GPU, so its weights differ from a CPU's.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping

import torch
from torch import nn

from pyadmm.core.errors import PyadmmError

CPU = torch.device("cpu")
NAMES = ("cpu", "cuda")
_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""Processor features, as torch names them, any of which multiplies bfloat16."""


def choose(name: str, environment: Mapping[str, str] = os.environ) -> torch.device:
    """The device called ``name``; each process of a machine takes its own GPU.

    Products of float32 on a GPU are computed in float32; by default cuDNN would use fewer bits (TF32).

    :raises PyadmmError: for an unknown name or ``LOCAL_RANK``, or where there is no such GPU.
    """
    if name not in NAMES:
        raise PyadmmError(f"device: must be one of {', '.join(NAMES)}, not {name!r}")
    if name == "cpu":
        return CPU
    number = _local_rank(environment)
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if number >= found:
        raise PyadmmError(
            f"device: process {number} of this machine needs a GPU of its own, but PyTorch "
            f"{torch.__version__} finds {found}; use --device cpu, fewer processes, or a build of "
            "PyTorch with CUDA"
        )
    torch.backends.cudnn.allow_tf32 = False
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def _local_rank(environment: Mapping[str, str]) -> int:
    text = environment.get("LOCAL_RANK", "0")
    if not text.isdecimal():
        raise PyadmmError(f"LOCAL_RANK: must be a number from 0, not {text!r}; start with torchrun")
    return int(text)


def device_of(module: nn.Module) -> torch.device:
    """Device of the parameters of ``module``; the CPU if it has none."""
    return next((parameter.device for parameter in module.parameters()), CPU)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether products in bfloat16 save time there.

    A processor without instructions for them emulates them, many times slower than float32.
    """
    if device.type != "cpu":
        return True
    features = torch.cpu.get_capabilities()
    return any(features.get(name, False) for name in _BFLOAT16)


def rounds_products(precision: str, device: torch.device) -> bool:
    """Whether a phase of that ``precision`` multiplies in bfloat16 on ``device``.

    Warns where it is wanted and would only cost time, so that float32 takes its place.
    """
    if precision != "bfloat16":
        return False
    if multiplies_bfloat16(device):
        return True
    warnings.warn(
        "precision bfloat16: this processor has no instructions for it, so products stay float32 "
        "(emulated, an epoch would take many times as long); weights differ from those of bfloat16",
        stacklevel=2,
    )
    return False
