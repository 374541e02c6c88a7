"""Paths of the files that the steps of a run make; ``docs/architecture.md`` lists them."""

from __future__ import annotations

from pathlib import Path


class RunFiles:
    """Paths in the directory of a run.

    :param run_dir: the directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    @property
    def sequential_dir(self) -> Path:
        """Folder of the layer-sequential array and its program."""
        return self.run_dir / "accelerator" / "sequential"

    @property
    def synthesis_file(self) -> Path:
        """Path of the synthesis report of the whole accelerator."""
        return self.run_dir / "synthesis.json"

    @property
    def cosim_file(self) -> Path:
        """Path of the cycles that RTL simulation counted."""
        return self.run_dir / "cosim.json"

    @property
    def hls_dir(self) -> Path:
        """Folder of the accelerator in HLS C++."""
        return self.run_dir / "build" / "hls"

    @property
    def rtl_dir(self) -> Path:
        """Folder of the accelerator in SystemVerilog."""
        return self.run_dir / "build" / "rtl"

    @property
    def deploy_dir(self) -> Path:
        """Folder of the bundles for the board."""
        return self.run_dir / "deploy"
