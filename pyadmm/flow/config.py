"""The configuration of a run: the same from Python, YAML and the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pyadmm.core.errors import PyadmmError
from pyadmm.core.schema import changed
from pyadmm.core.yaml_file import read_yaml
from pyadmm.hardware.plan import InputStream
from pyadmm.hardware.sequential.array import named_array

Architecture = Literal["dataflow", "sequential", "auto"]
DATAFLOW: Literal["dataflow"] = "dataflow"
SEQUENTIAL: Literal["sequential"] = "sequential"
_DATAFLOW_ONLY = (
    "unrolled",
    "packed",
    "chip_share",
    "open_tools",
    "compare",
    "hardware_aware",
    "balance",
    "break_even",
)
"""Options that plan or measure engines of single layers."""


@dataclass(frozen=True)
class FlowConfig:
    """The options of one run (``pyadmm run``).

    :param board: name of a board that comes with pyadmm, or the path of your board file (``*.json``).
    :param model: a network of the zoo, ``lenet5`` for example, ``module:callable`` that returns your
        own ``torch.nn.Module``, an ``.onnx`` file with trained weights, or an ``.admm`` file, which
        is not trained.
    :param weights: file of trained weights (a ``state_dict``); ``None``: the network is trained.
    :param teacher: a larger network, named like ``model``, whose logits are distilled; ``None``:
        the dense network is its own teacher.
    :param teacher_weights: file of the teacher's trained weights.
    :param data: data set: a name, a ``.npz`` file, or a folder of pictures or IDX files; ``None``:
        that of the zoo's network, ``imagefolder`` for your own.
    :param image_size: height and width of the images of an image folder.
    :param preset: how much compression and time: ``quick``, ``standard`` or ``record``.
    :param seed: seed of all random numbers.
    :param device: where networks train: ``cpu``, or ``cuda`` for a GPU (one for each process).
    :param data_dir: folder with the data set; ``None``: ``PYADMM_DATA``, cache, mirrors.
    :param out: run directory; ``None``: ``runs/<model>-<board>-<preset>-seed<seed>``.
    :param until: last step to run; ``None``: all.
    :param break_even: find the break-even ratio of every layer first, and obey it; ``None``: only
        for LeNet-5, whose table comes with the package. Layers without a record are measured by
        synthesis, which takes about a minute each.
    :param measure: measure every break-even, even if a record exists.
    :param hardware_aware: points of validation accuracy that pruning layers beyond the preset's
        ratios may cost in short trials (ADMM-NN, figure 5); ``None``: no trials.
    :param balance: points of validation accuracy that window-balanced patterns may cost in short
        trials; layers take them where the accelerator becomes faster; ``None``: as the settings say.
    :param synthesis: synthesise the RTL of the whole accelerator.
    :param simulate_board: end with inference on the simulated board.
    :param unrolled: let the search use kernels whose weights are constants of the hardware: faster
        and smaller, but no other model can be loaded.
    :param packed: the driver packs the network's input integers, two of 4 bits to a byte.
    :param chip_share: share of every resource of the chip that an accelerator may take; ``None``: 80 %.
    :param open_tools: choose kernels that openXC7 can place and route: where no ``chip_share`` is given,
        within the board's ``routed_share`` of the LUTs, and in half of the DSP blocks.
    :param architecture: ``dataflow`` gives every layer an engine of its own; ``sequential`` makes a
        program for one array that all layers share, with weights in memory; ``auto`` takes
        dataflow where a design fits the board, else the array.
    :param array: groups and lanes of the layer-sequential array, ``GxV``; ``None``: the largest one that
        fits the board (modelled).
    :param compare: count the cycles of all-dense accelerators by simulation; otherwise they are
        modelled.
    :param compress: settings of the preset to override, as in a YAML file's ``compress:``.
    """

    board: str = "pynq-z2"
    model: str = "lenet5"
    weights: str | None = None
    teacher: str | None = None
    teacher_weights: str | None = None
    data: str | None = None
    image_size: int | None = None
    preset: str = "quick"
    seed: int = 0
    device: str = "cpu"
    data_dir: str | None = None
    out: str | None = None
    until: str | None = None
    break_even: bool | None = None
    measure: bool = False
    hardware_aware: float | None = None
    balance: float | None = None
    synthesis: bool = True
    simulate_board: bool = False
    unrolled: bool = False
    packed: bool = False
    chip_share: float | None = None
    open_tools: bool = False
    architecture: Architecture = DATAFLOW
    array: str | None = None
    compare: bool = False
    compress: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model_name(self) -> str:
        """The name of the model in the names of files."""
        if self.is_onnx or self.is_compressed:
            return re.sub(r"[^A-Za-z0-9_.-]", "-", Path(self.model).stem)
        return self.model.replace(":", "-").replace("/", "-")

    @property
    def shown_model(self) -> str:
        """The model as the report shows it: of a file its name."""
        return Path(self.model).name if self.is_onnx or self.is_compressed else self.model

    @property
    def is_onnx(self) -> bool:
        """Whether the model is an ONNX file."""
        return Path(self.model).suffix.lower() == ".onnx"

    @property
    def is_compressed(self) -> bool:
        """Whether the model is an ``.admm`` file: it is not trained."""
        return Path(self.model).suffix.lower() == ".admm"

    @property
    def run_dir(self) -> Path:
        """The folder of all files of this run."""
        board = Path(self.board).stem if self.board.endswith(".json") else self.board
        name = f"{self.model_name}-{board}"
        if not self.is_compressed:
            name = f"{name}-{self.preset}-seed{self.seed}"
        return Path(self.out) if self.out else Path("runs") / name

    @property
    def stream(self) -> InputStream:
        """Format of the images on the input stream."""
        return InputStream(self.packed)

    @property
    def obeys_break_even(self) -> bool:
        """Whether the compression obeys break-even ratios."""
        if self.break_even is None:
            return self.model == "lenet5" and self.architecture != SEQUENTIAL
        return self.break_even

    @property
    def array_size(self) -> tuple[int, int] | None:
        """Groups and lanes that :attr:`array` names.

        :raises PyadmmError: where it names none.
        """
        if self.array is None:
            return None
        array = named_array(self.array, "field array")
        return array.groups, array.lanes

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise PyadmmError(f"field seed must not be negative, but is {self.seed}")
        if (self.teacher is None) != (self.teacher_weights is None):
            raise PyadmmError(
                "teacher and teacher_weights belong together: a network and the file of its "
                "trained weights"
            )
        if self.chip_share is not None and not 0 < self.chip_share <= 1:
            raise PyadmmError(
                f"field chip_share must be above 0 and at most 1, not {self.chip_share:g}"
            )
        _ = self.array_size
        if self.architecture == SEQUENTIAL:
            self._refuse_dataflow_options()
        for name in ("hardware_aware", "balance"):
            points = getattr(self, name)
            if points is not None and not 0 <= points <= 100:
                raise PyadmmError(f"field {name} must be 0 to 100 points, not {points:g}")

    def _refuse_dataflow_options(self) -> None:
        asked = {name: getattr(self, name) for name in _DATAFLOW_ONLY}
        given = [name for name, value in asked.items() if value is not None and value is not False]
        if given:
            raise PyadmmError(
                f"field {given[0]} belongs to the dataflow architecture; leave it out, or leave out "
                "architecture: sequential"
            )

    def require_effect(self, steps: Sequence[str]) -> None:
        """Refuse options that change nothing in this run.

        :param steps: that it has.
        :raises PyadmmError: naming the option and what it needs.
        """
        idle = {
            "measure": (self.measure and "breakeven" not in steps, "break_even: true"),
            "array": (
                self.architecture == DATAFLOW and self.array != FlowConfig.array,
                "architecture: sequential or auto",
            ),
            "simulate_board": (
                self.simulate_board and "simulate" not in steps,
                f"the step simulate, but the run stops after {self.until}",
            ),
            "compare": (
                self.compare and "compare" not in steps,
                f"the step compare, but the run stops after {self.until}",
            ),
        }
        for name, (without, needs) in idle.items():
            if without:
                raise PyadmmError(f"field {name} has no effect: it needs {needs}; leave it out")

    def override(self, values: Mapping[str, Any], source: str) -> FlowConfig:
        """This configuration with ``values``; ``source`` names them in errors.

        :raises PyadmmError: for an unknown field or a value of the wrong type.
        """
        return changed(self, values, source)


def read_config(path: Path) -> FlowConfig:
    """The configuration in a YAML file; fields that it leaves out keep their defaults."""
    values = read_yaml(path, "configuration")
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise PyadmmError(f"configuration {path}: must be a mapping of fields, such as 'seed: 1'")
    return FlowConfig().override(values, f"configuration {path}")
