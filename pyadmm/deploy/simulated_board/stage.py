"""Setting the simulated board up: what a child process in the Python with pynq needs to find."""

from __future__ import annotations

import os
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pyadmm
from pyadmm.codegen.hwh import BlockDesign
from pyadmm.codegen.sequential_rtl import MASTERS
from pyadmm.core.errors import PyadmmError, ToolError
from pyadmm.core.schema import to_json
from pyadmm.deploy.bundle import read_bundle
from pyadmm.deploy.manifest import Manifest, SequentialManifest
from pyadmm.deploy.simulated_board.environment import host_python
from pyadmm.deploy.simulated_board.messages import BoardConfig
from pyadmm.hardware.boards import Board, load_board
from pyadmm.hardware.sequential.roofline import sustained_bytes_per_cycle

LENGTH_BITS = 26
TIMEOUT_S = 120.0
CONFIG_VARIABLE = "PYADMM_SIMBOARD"
_TAIL_LINES = 15
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH")


@dataclass(frozen=True)
class Stage:
    """A folder from which host code runs on the simulated board.

    :param site: holds ``host`` as the wheel installs it, and pyadmm for the simulation itself.
    :param bitfile: stands for the bitstream; its ``.hwh`` is in the same folder.
    :param timeout_s: limit of the driver's waits, seconds.
    """

    folder: Path
    python: Path
    site: Path
    bitfile: Path
    config: Path
    timeout_s: float

    @property
    def environment(self) -> dict[str, str]:
        """Environment of a process that runs there."""
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        return {
            **kept,
            "PYTHONPATH": str(self.site),
            "TMPDIR": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "IPYTHONDIR": str(self.folder / "ipython"),
            CONFIG_VARIABLE: str(self.config),
            "PYADMM_BITFILE": str(self.bitfile),
            "PYADMM_TIMEOUT_S": str(self.timeout_s),
        }

    def run(
        self, module: str, *arguments: str, limit_s: float = 600.0
    ) -> subprocess.CompletedProcess[str]:
        """Run ``python -m module`` on the simulated board and give what it printed.

        :raises ToolError: if it does not end in time.
        """
        command = [
            str(self.python),
            "-m",
            "pyadmm.deploy.simulated_board.child",
            module,
            *arguments,
        ]
        try:
            return subprocess.run(
                command,
                env=self.environment,
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ToolError(f"simulated board: {module} ran longer than {limit_s:g} s") from error


def prepare(
    deploy: Path,
    folder: Path,
    *,
    simulator: Path | None = None,
    board: Board | None = None,
    length_bits: int = LENGTH_BITS,
    timeout_s: float = TIMEOUT_S,
    create_environment: bool = True,
) -> Stage:
    """Fill ``folder`` with what the host code needs to run on the simulated board.

    :param deploy: the flow's deploy folder; the wheel in it is what runs, unmodified.
    :param simulator: program of the Verilated top (``RtlSimulator.program``); None is the stand-in
        core that runs the golden model, which only dataflow designs have.
    :param board: by default the one that the bundle names; a board of one's own must be given.
    :param length_bits: width of the DMA's length register.
    :param timeout_s: limit of the driver's waits, seconds.
    :raises ToolError: if there is no Python with pynq; PyadmmError for an incomplete folder.
    """
    wheels = sorted(deploy.glob("pyadmm_host-*.whl"))
    if len(wheels) != 1:
        raise PyadmmError(f"simulated board: {deploy} holds {len(wheels)} wheels, not one")
    python = host_python(create=create_environment)
    site = folder / "site"
    with zipfile.ZipFile(wheels[0]) as archive:
        archive.extractall(site)
    (site / "pyadmm").symlink_to(Path(pyadmm.__file__).resolve().parent)
    _, manifest = read_bundle(deploy)
    board = board or load_board(manifest.board)
    sequential = isinstance(manifest, SequentialManifest)
    if sequential and simulator is None:
        raise PyadmmError(
            f"simulated board: {deploy} is of the layer-sequential array, which has no stand-in; "
            "give the program of its simulator"
        )
    bitfile = _write_bitfile(folder, manifest, board, length_bits)
    config = folder / "board.json"
    facts = BoardConfig(
        family=board.family,
        name=board.name,
        bundle=str((site / "host" / "bundle").resolve()),
        simulator=None if simulator is None else str(simulator.resolve()),
        bytes_per_cycle=sustained_bytes_per_cycle(board) if sequential else None,
    )
    config.write_text(to_json(facts), encoding="utf-8")
    _add_ipython_startup(folder)
    return Stage(folder, python, site, bitfile, config, timeout_s)


def _write_bitfile(
    folder: Path, manifest: Manifest | SequentialManifest, board: Board, length_bits: int
) -> Path:
    """A file in place of the bitstream, and the ``.hwh`` of the design."""
    design = manifest.design
    hwh = BlockDesign(
        board.family,
        design.ip,
        design.vlnv,
        design.dma,
        length_bits,
        manifest.clock.mhz,
        masters=MASTERS if isinstance(manifest, SequentialManifest) else (),
    )
    bitfile = folder / "simulated.bit"
    bitfile.write_text("no bitstream: this is the simulated board\n", encoding="utf-8")
    bitfile.with_suffix(".hwh").write_text(hwh.to_hwh(), encoding="utf-8")
    return bitfile


def _add_ipython_startup(folder: Path) -> None:
    """Let a notebook's kernel start on the simulated board, with no word of it in the notebook."""
    startup = folder / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    text = "from pyadmm.deploy.simulated_board.child import install\n\ninstall()\n"
    (startup / "00-simulated-board.py").write_text(text, encoding="utf-8")


def last_lines(done: subprocess.CompletedProcess[str]) -> str:
    """The end of what a process printed, for a message."""
    return "\n".join((done.stdout + done.stderr).strip().splitlines()[-_TAIL_LINES:])
