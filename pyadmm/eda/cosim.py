"""RTL simulation of a model on given kernels, as ``pyadmm cosim`` runs it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pyadmm.codegen.rtl import generate_rtl
from pyadmm.core.files import cache_dir
from pyadmm.eda.rtl_simulation import CosimResult, cosim
from pyadmm.eda.verilator import build_simulator
from pyadmm.hardware.boards import Board
from pyadmm.hardware.mapping import plan_accelerator
from pyadmm.hardware.plan import InputStream, KernelConfig
from pyadmm.hardware.weight_image import weight_image
from pyadmm.model import CompressedModel


def simulate(
    model: CompressedModel,
    board: Board,
    configs: Mapping[str, KernelConfig],
    images: NDArray[np.uint8],
    *,
    stalls: tuple[int, float, float] | None = None,
    stream: InputStream | None = None,
) -> CosimResult:
    """Simulate the RTL of ``model`` on ``board`` with the kernels ``configs``; weights are loaded first.

    :param images: uint8 ``(N, C, H, W)``.
    :param stalls: seed, share of stalled input cycles, share of stalled output cycles.
    :param stream: how images come; ``None``: as bytes, 32 bits a word.
    :raises PyadmmError: where the plan is impossible or a tool fails.
    """
    plan = plan_accelerator(model, board, configs, stream=stream)
    simulator = build_simulator(generate_rtl(plan, model=model), plan, cache_dir() / "verilator")
    return cosim(simulator, weight_image(model, plan), images, stalls=stalls)
