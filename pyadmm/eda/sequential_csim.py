"""C simulation of the layer-sequential array with g++: the HLS twin, served like the RTL's simulation."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from pyadmm.codegen.sequential import SOURCES, TESTBENCHES, generate_sequential
from pyadmm.core.errors import PyadmmError
from pyadmm.eda.gxx import build_testbench
from pyadmm.eda.sequential_simulation import LayerProfile, MemoryModel, SequentialTop
from pyadmm.hardware.sequential.array import SequentialArray


def build_csim(array: SequentialArray, cache: Path, *, exact_widths: bool = False) -> Path:
    """The simulation program of the C++ twin of ``array``, compiled or taken from ``cache``.

    :param exact_widths: simulate numbers at their hardware widths (``ap_int``), which is slower.
    :raises ToolError: where g++ or the headers are missing, or the sources do not compile.
    """
    with tempfile.TemporaryDirectory(prefix="pyadmm-seq-") as name:
        folder = Path(name)
        generate_sequential(array).write(folder)
        sources = (*SOURCES, *TESTBENCHES)
        return build_testbench(folder, cache, sources, exact_widths=exact_widths)


class SequentialCsim(SequentialTop):
    """The C++ twin as a process. It counts no cycles, has no profile and no model of the memory."""

    def memory(self, model: MemoryModel) -> None:
        """Refused: C++ sees neither latency nor error answers.

        :raises PyadmmError: always.
        """
        raise PyadmmError(
            "csim: the C++ of the sequential array has no memory model; simulate the RTL"
        )

    def _profile(self, layers: int) -> Iterator[LayerProfile]:
        return iter(())
