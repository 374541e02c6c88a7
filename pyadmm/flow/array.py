"""The board of a run, and the layer-sequential array that the run would build on it."""

from __future__ import annotations

from functools import cached_property

from pyadmm.core.errors import PyadmmError
from pyadmm.eda.reports import SynthesisReport
from pyadmm.eda.sequential_synthesis import synthesise_array
from pyadmm.flow.config import FlowConfig
from pyadmm.flow.run_files import RunFiles
from pyadmm.hardware.boards import Board, load_board
from pyadmm.hardware.sequential.area import largest_array, require_room
from pyadmm.hardware.sequential.array import SequentialArray
from pyadmm.hardware.sequential.roofline import sustained_bytes_per_cycle


class ArrayOfRun(RunFiles):
    """A run's configuration, board and layer-sequential array.

    :raises PyadmmError: for an unknown board.
    """

    def __init__(self, config: FlowConfig) -> None:
        super().__init__(config.run_dir)
        self.config = config
        self.board: Board = load_board(config.board)

    @cached_property
    def array(self) -> SequentialArray:
        """The layer-sequential array: as asked for, or the largest one that fits the board (modelled).

        :raises PyadmmError: where it does not fit.
        """
        if self.config.array_size is None:
            return largest_array(self.board)
        groups, lanes = self.config.array_size
        require_room(groups, lanes, self.board)
        return SequentialArray(groups=groups, lanes=lanes)

    @property
    def array_name(self) -> str:
        """Groups and lanes of the array, ``GxV``; empty where the board has no room for one."""
        try:
            return f"{self.array.groups}x{self.array.lanes}"
        except PyadmmError:
            return ""

    @cached_property
    def array_synthesis(self) -> SynthesisReport:
        """Synthesis of the array by the open flow; it is the same for every network.

        :raises ToolError: as :func:`~pyadmm.eda.sequential_synthesis.synthesise_array`.
        """
        return synthesise_array(self.array, self.board)

    @property
    def memory_rate(self) -> float:
        """Bytes per cycle that the board's memory sustains.

        :raises PyadmmError: where the board's file does not say.
        """
        return sustained_bytes_per_cycle(self.board)
