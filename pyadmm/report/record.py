"""The record of a run: one frozen tree, stored as ``record.json`` and rendered as reports.

Rules of the tree: unknown is ``None``, never 0; a figure that a model, a simulation or a tool gave
is a :class:`Quantity` and carries its basis; sums and ratios are properties, so they cannot
disagree with the rows they come from. :func:`load_record` trusts nothing: every field is checked
against its declared type and range, and an error names the field.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from pyadmm.core.errors import PyadmmError
from pyadmm.core.schema import FORMERLY, Limits, Range, from_json, from_plain, to_json, to_plain

RECORD_FILE = "record.json"
"""Name of the record in a run directory."""
FORMAT = 1
"""Version of the layout of ``record.json``."""

FILE_LIMIT = 16 << 20
ITEM_LIMIT = 20_000
TEXT_LIMIT = 4_000
INTEGER_LIMIT = 2**53
"""Whole numbers stay exact in JSON, HTML and a spreadsheet's doubles."""
NUMBER_LIMIT = 1e15
_LIMITS = Limits(ITEM_LIMIT, TEXT_LIMIT)
_REMEDY = "run the flow again to rewrite it"

Basis = Literal[
    "modelled",
    "csim",
    "cosim",
    "csynth",
    "post-synthesis",
    "post-place",
    "post-route",
    "measured on board",
]
"""Source of a figure, from an analytic model to the board itself."""
CheckResult = Literal["pass", "fail", "skipped"]
Bound = Literal["compute", "drain", "memory"]


Count = Annotated[int, Range(0, INTEGER_LIMIT)]
Amount = Annotated[float, Range(0, NUMBER_LIMIT)]
Number = Annotated[float, Range(-NUMBER_LIMIT, NUMBER_LIMIT)]
Share = Annotated[float, Range(0, 1)]
Bits = Annotated[int, Range(1, 48)]


_REACHED = ("post-route", "measured on board")


@dataclass(frozen=True)
class Quantity:
    """A figure and the way it was found."""

    value: Amount
    basis: Basis


@dataclass(frozen=True)
class RunFacts:
    """Under which conditions the run was made.

    :param date: start of the run, ISO 8601 (``2026-01-31T12:00:00``).
    :param machine: processor, number of cores, system.
    :param command: the command line that started it.
    """

    model: str | None = None
    board: str | None = None
    part: str | None = None
    preset: str | None = None
    seed: Annotated[int, Range(-INTEGER_LIMIT, INTEGER_LIMIT)] | None = None
    date: str | None = None
    pyadmm_version: str | None = None
    torch_version: str | None = None
    machine: str | None = None
    command: str | None = None

    def __post_init__(self) -> None:
        if self.date is not None:
            try:
                datetime.fromisoformat(self.date)
            except (TypeError, ValueError):
                raise PyadmmError(
                    f"record: field run.date must be an ISO 8601 date, not {self.date!r:.60}"
                ) from None


@dataclass(frozen=True)
class StepTime:
    """Wall time of one step of the flow; ``reused`` where an earlier run's output was taken."""

    name: str
    seconds: Amount | None = None
    reused: bool = False


@dataclass(frozen=True)
class Dataset:
    """The data behind the accuracies; ``complete`` is False for a subset of the benchmark."""

    name: str | None = None
    complete: bool | None = None
    source: str | None = None
    train_images: Count | None = None
    validation_images: Count | None = None
    test_images: Count | None = None


@dataclass(frozen=True)
class Accuracy:
    """Share of right answers over ``images`` images."""

    value: Share
    images: Annotated[int, Range(1, INTEGER_LIMIT)]

    @property
    def standard_error(self) -> float:
        """One standard error of the share, ``sqrt(p (1 - p) / N)``.

        >>> round(Accuracy(0.992, 10_000).standard_error, 5)
        0.00089
        """
        return math.sqrt(self.value * (1 - self.value) / self.images)


@dataclass(frozen=True)
class Accuracies:
    """Accuracies of one network, before and after compression.

    :param dense_test: the dense float network on the test set.
    :param integer_test: the compressed integer model on the test set: *the* accuracy of the run.
    :param dense_validation: the dense float network on the validation split.
    :param integer_validation: the compressed integer model on the validation split.
    """

    dense_test: Accuracy | None = None
    integer_test: Accuracy | None = None
    dense_validation: Accuracy | None = None
    integer_validation: Accuracy | None = None


@dataclass(frozen=True)
class BytePart:
    """A named part of the ``.admm`` file."""

    name: str
    bytes: Count


@dataclass(frozen=True)
class Kernel:
    """The hardware kernel of a layer.

    :param family: for example ``sparse``, ``dense``, ``unrolled``.
    :param rows: ``R``, output rows of a tile.
    :param groups: ``G``, groups that work on different output channels.
    :param cycles: clock cycles for one image.
    """

    family: str
    rows: Count | None = None
    groups: Count | None = None
    cycles: Quantity | None = None


@dataclass(frozen=True)
class SpeedupCurve:
    """Speedup of one family of kernels over the dense one on the same area.

    :param family: for example ``sparse``, ``balanced``.
    :param pruned: portions of the weights, ascending, at which a kernel fits that area.
    :param speedups: at these portions.
    """

    family: str
    basis: Basis
    pruned: tuple[Amount, ...]
    speedups: tuple[Amount, ...]

    def __post_init__(self) -> None:
        if len(self.pruned) != len(self.speedups):
            raise PyadmmError(
                f"record: curve {self.family} has {len(self.pruned)} portions, but "
                f"{len(self.speedups)} speedups"
            )


@dataclass(frozen=True)
class LayerRecord:
    """Results of the run for one weighted layer.

    :param kind: ``conv`` or ``linear``.
    :param weights: weights of the dense layer, biases not counted.
    :param nnz: weights that are left.
    :param shape: of the weight, ``(O, C, KH, KW)`` or ``(O, K)``.
    :param scales: real weight = code * scale; one value or one per output channel.
    :param parts: what the layer takes in the ``.admm`` file.
    :param break_even: least pruning ratio at which the hardware gains, and its basis.
    :param curves: speedups of the kernel families that have been measured.
    :param planned: pruning ratio that was planned before break-even was considered.
    :param active_weights: weights between active inputs and outputs; what the dense kernel would take.
    :param decision: what the schedule chose, for example ``pruned`` or ``kept dense``.
    :param why: the reason, in words.
    """

    name: str
    kind: str
    weights: Annotated[int, Range(1, INTEGER_LIMIT)]
    nnz: Count | None = None
    shape: tuple[Count, ...] = ()
    weight_bits: Bits | None = None
    activation_bits: Bits | None = None
    scales: tuple[Amount, ...] = ()
    parts: tuple[BytePart, ...] = ()
    break_even: Quantity | None = None
    curves: tuple[SpeedupCurve, ...] = ()
    planned: Amount | None = None
    active_weights: Count | None = field(default=None, metadata={FORMERLY: "living"})
    decision: str | None = None
    why: str | None = None
    kernel: Kernel | None = None

    def __post_init__(self) -> None:
        if self.nnz is not None and self.nnz > self.weights:
            raise PyadmmError(
                f"record: field nnz of layer {self.name} must be at most its {self.weights} "
                f"weights, not {self.nnz}"
            )

    @property
    def ratio(self) -> float | None:
        """Pruning ratio: dense weights over weights that are left."""
        return self.weights / self.nnz if self.nnz else None

    @property
    def over_break_even(self) -> float | None:
        """Pruning ratio over break-even."""
        if self.ratio is None or self.break_even is None or not self.break_even.value:
            return None
        return self.ratio / self.break_even.value

    @property
    def active_ratio(self) -> float | None:
        """Weights between active channels over remaining weights: zeros that are not whole channels."""
        active = self.active_weights
        return active / self.nnz if active is not None and self.nnz else None

    @property
    def kept(self) -> float | None:
        """Share of the weights that are left."""
        return None if self.nnz is None else self.nnz / self.weights

    @property
    def bytes(self) -> int | None:
        """Bytes of all :attr:`parts`; None where no part is recorded."""
        return sum(part.bytes for part in self.parts) if self.parts else None


@dataclass(frozen=True)
class Epoch:
    """One epoch of training.

    :param step: step of the flow, for example ``dense`` or ``compress``.
    :param phase: phase inside it, for example ``admm`` or ``retrain``.
    :param nnz: non-zero weights of the network that was validated.
    :param primal: ADMM primal residual, the norm of ``W - Z``.
    :param dual: ADMM dual residual, the norm of the change of ``Z``.
    """

    step: str
    phase: str
    epoch: Count
    loss: Number | None = None
    val_accuracy: Share | None = None
    nnz: Count | None = None
    primal: Amount | None = None
    dual: Amount | None = None
    rho: Amount | None = None
    seconds: Amount | None = None


@dataclass(frozen=True)
class FileRecord:
    """Size and sections of the ``.admm`` file.

    :param bytes: size of the whole file.
    :param dense_bytes: the dense network as 32-bit floats, for the ratio.
    :param sections: where the bytes go; they may not exceed the whole.
    """

    name: str
    bytes: Annotated[int, Range(1, INTEGER_LIMIT)]
    dense_bytes: Count | None = None
    sections: tuple[BytePart, ...] = ()
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.itemised > self.bytes:
            raise PyadmmError(
                f"record: field file.sections must not exceed the file's {self.bytes} bytes, "
                f"not {self.itemised}"
            )

    @property
    def itemised(self) -> int:
        """Bytes that the sections account for."""
        return sum(section.bytes for section in self.sections)

    @property
    def ratio(self) -> float | None:
        """Size of the dense network over the size of the file."""
        return None if self.dense_bytes is None else self.dense_bytes / self.bytes


@dataclass(frozen=True)
class ResourceUse:
    """One chip resource: what the design takes and what the board has.

    :param modelled: the model's figure, where :attr:`used` is a tool's.
    """

    name: str
    used: Quantity | None = None
    limit: Count | None = None
    modelled: Quantity | None = None

    @property
    def share(self) -> float | None:
        """Used amount over the limit of the chip."""
        return self.used.value / self.limit if self.used is not None and self.limit else None

    @property
    def absent(self) -> bool:
        """Whether the chip has none of it and the design takes none, so that there is no share."""
        return self.limit == 0 and (self.used is None or not self.used.value)

    @property
    def over_model(self) -> float | None:
        """Used amount over the modelled one."""
        if self.used is None or self.modelled is None or not self.modelled.value:
            return None
        return self.used.value / self.modelled.value


@dataclass(frozen=True)
class Hardware:
    """Clock, cycles and resources of the accelerator.

    :param architecture: ``dataflow`` or ``sequential`` (one array that all layers share).
    :param target_clock_mhz: clock that the design aims at.
    :param clock_mhz: clock that it is found or estimated to reach.
    :param cycles_per_image: clock cycles between two images of a long run.
    :param latency_cycles: clock cycles from the first input word to the last logit of one image.
    :param inner_ii: initiation interval of the slowest engine's inner loop, cycles.
    """

    target_clock_mhz: Amount | None = None
    clock_mhz: Quantity | None = None
    cycles_per_image: Quantity | None = None
    latency_cycles: Quantity | None = None
    inner_ii: Quantity | None = None
    resources: tuple[ResourceUse, ...] = ()
    architecture: str | None = None

    @property
    def clock_name(self) -> str:
        """Name of :attr:`clock_mhz`: only a routed design has reached a clock."""
        found = self.clock_mhz is not None and self.clock_mhz.basis in _REACHED
        return "Clock reached" if found else "Clock estimate"

    @property
    def working_clock_mhz(self) -> float | None:
        """The target clock, or the one reached or estimated where that is lower."""
        reached = None if self.clock_mhz is None else self.clock_mhz.value
        known = [mhz for mhz in (self.target_clock_mhz, reached) if mhz]
        return min(known) if known else None

    @property
    def images_per_s(self) -> float | None:
        """Throughput of the accelerator alone, without the transfers of the host."""
        clock, cycles = self.working_clock_mhz, self.cycles_per_image
        if clock is None or cycles is None or not cycles.value:
            return None
        return clock * 1e6 / cycles.value

    @property
    def latency_us(self) -> float | None:
        """Latency of one image, microseconds."""
        clock, cycles = self.working_clock_mhz, self.latency_cycles
        return None if clock is None or cycles is None else cycles.value / clock


@dataclass(frozen=True)
class PassRecord:
    """A pass of the layer-sequential array over one layer, for one image.

    :param runs: descriptors that it takes per start of the program.
    :param least: cycles that it cannot fall below: the roofline model's.
    :param bound: what the model says it waits for: compute, drain or memory.
    :param cycles: that it took, where they were counted.
    :param driver: cycles that the board's driver read, ``waiting`` those of them in which the array
        waited for memory.
    """

    name: str
    runs: Count
    least: Quantity
    bound: Bound
    cycles: Quantity | None = None
    driver: Quantity | None = None
    waiting: Quantity | None = None


@dataclass(frozen=True)
class LayerCycles:
    """Cycles per image in which one layer's kernel works."""

    layer: str
    cycles: Amount
    kernel: str | None = None


@dataclass(frozen=True)
class DesignRecord:
    """The accelerator, or another one of the same network to compare it with.

    :param resources: name -> use.
    """

    name: str
    cycles_per_image: Quantity
    latency_cycles: Quantity | None = None
    resources: tuple[ResourceUse, ...] = ()
    layers: tuple[LayerCycles, ...] = ()

    def cycles_of(self, layer: str) -> float | None:
        """Cycles of one layer."""
        return next((each.cycles for each in self.layers if each.layer == layer), None)


@dataclass(frozen=True)
class Trial:
    """A short compression with the prunable layers pruned ``factor`` times further."""

    factor: Amount
    accuracy: Share


@dataclass(frozen=True)
class Check:
    """One comparison that was made, or was skipped and why.

    :param compared: what with what, for example ``logits of g++ csim and CompressedModel.run``.
    :param images: on how many images.
    :param reason: required where the check was skipped or failed.
    """

    name: str
    compared: str
    result: CheckResult
    images: Count | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        if self.result != "pass" and not self.reason:
            raise PyadmmError(
                f"record: field reason of check {self.name} must say why it is {self.result!r}"
            )


@dataclass(frozen=True)
class RunRecord:
    """Everything that a report shows.

    :param passes: of the layer-sequential array, in order; nothing for other architectures.
    :param designs: this accelerator and all-dense ones on the same LUTs, by one basis; or nothing.
    :param trials: how far pushing was tried (``--hardware-aware``).
    :param admm: how each run of ADMM ended: converged, or how far it was from that.
    :param done: what the run did, one sentence each.
    :param needs_vendor_tools: what is left to the vendor's tools or the board.
    :param notes: notices that belong at the top, such as a data set that is not the full one.
    """

    run: RunFacts = RunFacts()
    dataset: Dataset = Dataset()
    accuracies: Accuracies = Accuracies()
    layers: tuple[LayerRecord, ...] = ()
    history: tuple[Epoch, ...] = ()
    file: FileRecord | None = None
    hardware: Hardware = Hardware()
    designs: tuple[DesignRecord, ...] = ()
    passes: tuple[PassRecord, ...] = ()
    trials: tuple[Trial, ...] = ()
    admm: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    steps: tuple[StepTime, ...] = ()
    done: tuple[str, ...] = ()
    needs_vendor_tools: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    format: Annotated[int, Range(FORMAT, FORMAT)] = FORMAT

    @property
    def weights(self) -> int | None:
        """Weights of the dense network."""
        return sum(layer.weights for layer in self.layers) if self.layers else None

    @property
    def nnz(self) -> int | None:
        """Weights that are left; None where any layer's number is unknown."""
        counts = [layer.nnz for layer in self.layers]
        known = [count for count in counts if count is not None]
        return sum(known) if known and len(known) == len(counts) else None

    @property
    def pruning_ratio(self) -> float | None:
        """Dense weights over weights that are left."""
        weights, nnz = self.weights, self.nnz
        return weights / nnz if weights and nnz else None

    @property
    def break_even_basis(self) -> str:
        """Basis of the layers' break-even ratios, for a legend."""
        bases = {layer.break_even.basis for layer in self.layers if layer.break_even is not None}
        return ", ".join(sorted(bases)) or "unknown"

    @property
    def seconds(self) -> float | None:
        """Wall time of all steps; None where any is unknown."""
        known = [step.seconds for step in self.steps if step.seconds is not None]
        return sum(known) if known and len(known) == len(self.steps) else None


def record_from_json(text: str, subject: str = "record") -> RunRecord:
    """The record that ``text`` holds.

    :raises PyadmmError: for anything that is not a valid record; the message names the field.
    """
    return from_json(RunRecord, text, subject, limits=_LIMITS, remedy=_REMEDY)


def record_to_json(record: RunRecord) -> str:
    """``record`` as JSON, after the checks that :func:`record_from_json` makes.

    :raises PyadmmError: where a field holds something else than it is declared to.
    """
    checked = from_plain(RunRecord, to_plain(record), "record", limits=_LIMITS, remedy=_REMEDY)
    return to_json(checked) + "\n"


def load_record(path: Path) -> RunRecord:
    """Read and validate the record at ``path``."""
    try:
        if path.stat().st_size > FILE_LIMIT:
            raise PyadmmError(f"{path.name}: is larger than {FILE_LIMIT} bytes: no record of ours")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PyadmmError(
            f"{path.name}: cannot be read ({error}); give a run directory that holds it"
        ) from error
    return record_from_json(text, path.name)
