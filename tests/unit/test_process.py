"""The runner of external tools: output, failure, missing tools, time and memory bounds."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from pyadmm.core.errors import ToolError
from pyadmm.core.process import last_lines, run_tool

pytestmark = pytest.mark.slow


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_output_of_both_streams_goes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "tool.log"
    code = "import sys; print('one', flush=True); print('two', file=sys.stderr)"
    run = run_tool(python(code), log=log, timeout_s=20)
    assert run.output.split() == ["one", "two"]
    assert log.read_text(encoding="utf-8") == run.output
    assert run.seconds > 0


def test_failure_carries_status_last_lines_and_remedy(tmp_path: Path) -> None:
    code = "print('early'); print('\\n'.join(f'line {i}' for i in range(40))); raise SystemExit(7)"
    with pytest.raises(ToolError) as caught:
        run_tool(python(code), log=tmp_path / "log", timeout_s=20, remedy="try again")
    message = str(caught.value)
    assert "status 7" in message
    assert "line 39" in message
    assert "line 25" in message
    assert "line 24" not in message
    assert message.endswith("try again")


def test_missing_tool_is_named_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"no-such-tool: cannot be started.*install it"):
        run_tool(["no-such-tool"], log=tmp_path / "log", timeout_s=5, remedy="install it")


def test_time_out_ends_the_tool_and_its_children(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    child = f"import time, pathlib; time.sleep(3); pathlib.Path({str(mark)!r}).touch()"
    code = (
        "import subprocess, sys, time;"
        f"subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    )
    start = time.monotonic()
    with pytest.raises(ToolError, match=r"took longer than 1.5 s"):
        run_tool(python(code), log=tmp_path / "log", timeout_s=1.5)
    assert time.monotonic() - start < 10
    time.sleep(2.5)
    assert not mark.exists()


def test_memory_is_bounded(tmp_path: Path) -> None:
    code = "x = bytearray(2 << 30); print('had it')"
    with pytest.raises(ToolError, match="MemoryError"):
        run_tool(python(code), log=tmp_path / "log", timeout_s=20, memory_mb=512)


def test_environment_is_added(tmp_path: Path) -> None:
    code = "import os; print(os.environ['PYADMM_X'], 'PATH' in os.environ)"
    run = run_tool(python(code), log=tmp_path / "log", timeout_s=20, environment={"PYADMM_X": "42"})
    assert run.output.split() == ["42", "True"]


def test_last_lines_skips_empty_ones() -> None:
    assert last_lines("a\n\nb\n \nc\n", 2) == "b\nc"
