"""Simulated annealing of a quadratic form over integers (Kirkpatrick et al., Science 1983)."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from pyadmm.cpu_kernels.build import library, pointer


class _Schedule(ctypes.Structure):
    _fields_ = (
        ("variables", ctypes.c_int64),
        ("sweeps", ctypes.c_int64),
        ("hot", ctypes.c_double),
        ("cold", ctypes.c_double),
        ("seed", ctypes.c_uint64),
    )


def anneal(
    curvature: Tensor,
    slope: Tensor,
    step: Tensor,
    codes: Tensor,
    *,
    limit: Tensor,
    zero: Tensor,
    sweeps: int,
    hot: float,
    cold: float,
    seed: int,
) -> Tensor:
    """Codes with a low ``slope . d + d . curvature . d / 2``, ``d`` being ``step * (new - codes)``.

    The best of all sweeps, so never worse than ``codes``.

    :param curvature: float64 ``(N, N)``, symmetric.
    :param slope: float64 ``(N,)``, at ``codes``.
    :param step: float64 ``(N,)``.
    :param codes: integers ``(N,)``, at most ``limit`` in magnitude.
    :param zero: bool ``(N,)``, whether a code may be 0.
    :param sweeps: with a try to change it per variable; its heat falls from ``hot`` to ``cold``,
        both in units of the form.
    :raises ToolError: where the code cannot be compiled.
    """
    result = codes.to(torch.int32).clone()
    schedule = _Schedule(len(codes), sweeps, hot, cold, seed)
    moving = slope.to(torch.float64).clone()
    kept = [t.contiguous() for t in (curvature.double(), step.double(), limit.int(), zero.byte())]
    library().pyadmm_anneal(
        pointer(kept[0]),
        pointer(moving),
        pointer(kept[1]),
        pointer(kept[2]),
        pointer(kept[3]),
        pointer(result),
        ctypes.byref(schedule),
    )
    return result
