"""Where the compiled simulators of this session lie; a missing tool skips with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyadmm.core.errors import ToolError
from pyadmm.eda.gxx import compiler
from pyadmm.eda.verilator import verilator_root


@pytest.fixture(scope="session")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for compiled simulators."""
    try:
        verilator_root()
        compiler()
    except ToolError as error:
        pytest.skip(str(error))
    return tmp_path_factory.mktemp("simulators")
