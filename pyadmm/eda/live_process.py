"""A Verilated testbench as a process: commands on its standard input, answers on its output."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from pyadmm.core.errors import ToolError
from pyadmm.core.process import last_lines


class LiveProcess:
    """A simulator that is driven step by step; use it in a ``with`` block.

    :param program: as :func:`pyadmm.eda.verilator.build_program` makes it.
    """

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen(
            [program.resolve()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process and close its pipes."""
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        self._process.wait()

    def _ask(
        self, form: str, *values: object, tail: bytes = b""
    ) -> Callable[[str], tuple[int, ...]]:
        """Send a command; what comes back unpacks its answer.

        :param form: of the command's values, as ``struct`` writes it; ``tail`` follows them.
        :raises ToolError: where the process has ended, with its last lines.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(struct.pack(form, *values) + tail)
            self._process.stdin.flush()
        except OSError as error:
            raise self._dead() from error
        return lambda answer: struct.unpack(answer, self._take(struct.calcsize(answer)))

    def _take(self, size: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(size)
        if len(data) != size:
            raise self._dead()
        return data

    def _dead(self) -> ToolError:
        self._process.kill()
        assert self._process.stderr is not None
        text = self._process.stderr.read().decode(errors="replace")
        return ToolError(f"RTL simulation: the harness ended; {last_lines(text)}")
