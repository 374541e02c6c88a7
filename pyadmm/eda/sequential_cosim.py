"""Images through a program of the layer-sequential array, by the RTL or by the C++ twin."""

from __future__ import annotations

import numpy as np

from pyadmm.core.files import cache_dir
from pyadmm.eda.sequential_csim import SequentialCsim, build_csim
from pyadmm.eda.sequential_simulation import (
    MemoryModel,
    SequentialResult,
    SequentialTop,
    build_sequential,
    infer,
    place,
)
from pyadmm.hardware.sequential.compiler import Compiled


def whole_starts(compiled: Compiled, starts: int, available: int) -> np.ndarray:
    """Indices of the images of ``starts`` starts; the last start may lack images and takes the first ones again."""
    return np.arange(starts * compiled.images) % available


def simulate(
    compiled: Compiled, images: np.ndarray, memory: MemoryModel
) -> tuple[np.ndarray, list[SequentialResult]]:
    """Logits of ``images``, whole starts of the program, and what each start counted."""
    program = build_sequential(compiled.program.array, cache_dir() / "simulators")
    with SequentialTop(program, compiled.program.memory_bytes) as top:
        top.memory(memory)
        return _logits_and_results(top, compiled, images)


def run_csim(compiled: Compiled, images: np.ndarray, *, exact_widths: bool = False) -> np.ndarray:
    """Logits of ``images``, whole starts of the program, by the C++ twin."""
    program = build_csim(
        compiled.program.array, cache_dir() / "simulators", exact_widths=exact_widths
    )
    with SequentialCsim(program, compiled.program.memory_bytes) as top:
        return _logits_and_results(top, compiled, images)[0]


def _logits_and_results(
    top: SequentialTop, compiled: Compiled, images: np.ndarray
) -> tuple[np.ndarray, list[SequentialResult]]:
    logits, results = [], []
    place(top, compiled)
    for first in range(0, len(images), compiled.images):
        found, result = infer(top, compiled, images[first : first + compiled.images])
        logits.append(found)
        results.append(result)
    return np.concatenate(logits), results
