"""The simulator of a small array; a missing tool skips with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyadmm.core.errors import ToolError
from pyadmm.eda.gxx import compiler
from pyadmm.eda.sequential_simulation import SequentialTop, build_sequential
from pyadmm.eda.verilator import verilator_root
from pyadmm.hardware.sequential.array import SequentialArray

SMALL = SequentialArray(2, 32, 256, 64, 256, 512, 16)


@pytest.fixture(scope="session")
def small_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled simulator of :data:`SMALL`."""
    try:
        verilator_root()
        compiler()
    except ToolError as error:
        pytest.skip(str(error))
    return build_sequential(SMALL, tmp_path_factory.mktemp("simulators"))


@pytest.fixture
def small_top(small_program: Path) -> Iterator[SequentialTop]:
    """A running simulation of :data:`SMALL`."""
    with SequentialTop(small_program, 4096) as top:
        yield top
