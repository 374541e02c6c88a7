"""The flow's last check: images through the unmodified host code on the simulated board."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError, ToolError
from pyadmm.core.schema import from_json
from pyadmm.deploy.simulated_board.messages import LayerCounters, RunFacts
from pyadmm.deploy.simulated_board.stage import last_lines, prepare
from pyadmm.hardware.boards import Board
from pyadmm.model.types import IntArray

RTL_BASIS = "simulated: RTL in Verilator"
STAND_IN_BASIS = "simulated: stand-in that runs the golden model"
LIMIT_S = 900.0


@dataclass(frozen=True)
class SimulatedMeasurement:
    """Figures that the host code reported on the simulated board; never those of real hardware.

    :param basis: what was behind the registers, :data:`RTL_BASIS` or :data:`STAND_IN_BASIS`.
    :param images: images classified; ``wrong`` of them had logits other than the golden model's.
    :param accuracy: share of the labels that were met; None without labels.
    :param single_cycles: cycle counter for one image alone, start to done: the latency.
    :param cycles_per_image: cycle counter for all images over their number; None for both where
        the core has no clock.
    :param layers: what the driver read of the layer-sequential array's counters after a run of
        ``run_images``; nothing for other designs.
    :param simulation_s: wall-clock seconds of the simulator, of no meaning for a board.
    """

    basis: str
    device: str
    clock_mhz: float
    images: int
    wrong: int
    accuracy: float | None
    single_cycles: int | None
    cycles_per_image: float | None
    load_s: float
    simulation_s: float
    run_images: int
    layers: tuple[LayerCounters, ...]

    @property
    def equal(self) -> bool:
        """Whether every logit of every image is the golden one."""
        return self.wrong == 0

    @property
    def single_us(self) -> float | None:
        """Latency of the core by its cycle counter at the board's clock, µs."""
        return None if self.single_cycles is None else self.single_cycles / self.clock_mhz

    @property
    def images_per_s(self) -> float | None:
        """Throughput of the core by its cycle counter at the board's clock."""
        if self.cycles_per_image is None:
            return None
        return self.clock_mhz * 1e6 / self.cycles_per_image

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, derived figures included."""
        derived = ("equal", "single_us", "images_per_s")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}


def run(
    deploy: Path,
    simulator: Path | None,
    images: NDArray[np.uint8] | NDArray[np.int8],
    golden: IntArray,
    labels: IntArray | None = None,
    *,
    board: Board | None = None,
    limit_s: float = LIMIT_S,
) -> SimulatedMeasurement:
    """Classify ``images`` on the simulated board with the wheel of a deploy folder.

    :param simulator: program of the Verilated top; None simulates with the stand-in core, which
        only dataflow designs have.
    :param images: ``(N, C, H, W)`` of the bundle's type, N at least 1.
    :param golden: logits ``(N, classes)`` of the integer model.
    :param labels: true classes ``(N,)``.
    :param board: by default the one that the bundle names.
    :param limit_s: of all; the driver waits for half of it for one run.
    :raises ToolError: if there is no Python with pynq, or the host code fails.
    """
    if len(images) < 1 or len(images) != len(golden):
        raise PyadmmError(
            f"simulated board: {len(images)} images and {len(golden)} golden results; give as many "
            "of both, at least one"
        )
    with tempfile.TemporaryDirectory(prefix="pyadmm-board-") as name:
        folder = Path(name)
        stage = prepare(deploy, folder, simulator=simulator, board=board, timeout_s=limit_s / 2)
        np.save(folder / "images.npy", images, allow_pickle=False)
        files = [str(folder / file) for file in ("images.npy", "logits.npy", "facts.json")]
        done = stage.run("pyadmm.deploy.simulated_board.measure", *files, limit_s=limit_s)
        if done.returncode:
            raise ToolError(f"simulated board: the host code failed:\n{last_lines(done)}")
        logits = np.load(files[1], allow_pickle=False)
        text = Path(files[2]).read_text(encoding="utf-8")
        facts = from_json(RunFacts, text, f"simulated board: {files[2]}")
    cycles = facts.batch_cycles
    return SimulatedMeasurement(
        basis=STAND_IN_BASIS if simulator is None else RTL_BASIS,
        device=facts.device,
        clock_mhz=facts.clock_mhz,
        images=len(images),
        wrong=int(np.count_nonzero((logits != golden).any(1))),
        accuracy=None if labels is None else float(np.mean(logits.argmax(1) == labels)),
        single_cycles=facts.single_cycles,
        cycles_per_image=None if cycles is None else cycles / len(images),
        load_s=facts.load_s,
        simulation_s=facts.run_s,
        run_images=facts.run_images,
        layers=facts.layers,
    )
