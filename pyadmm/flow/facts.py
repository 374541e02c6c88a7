"""Facts that the steps of the flow leave for the report: a data class for each step, kept as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyadmm.compression.patterns import PatternTrial
from pyadmm.compression.schedule import Decision
from pyadmm.hardware.plan import KernelConfig
from pyadmm.hardware.sequential.array import SequentialArray
from pyadmm.report.record import Bound, SpeedupCurve
from pyadmm.training.checkpoint import EpochRecord

Pairs = tuple[tuple[float, float], ...]
"""Pairs of a factor, or of a pruning ratio, and the accuracy of its trial."""


@dataclass(frozen=True)
class DataFacts:
    """Step ``data``: the data set, and how many images its parts have.

    :param complete: whether these are all images of a known benchmark.
    :param notes: what the user should know about the data.
    :param train_images: ``None``, as ``validation_images``, where nothing is trained.
    """

    name: str
    source: str
    complete: bool
    notes: tuple[str, ...]
    test_images: int
    train_images: int | None = None
    validation_images: int | None = None


@dataclass(frozen=True)
class TrainingFacts:
    """The record of every epoch, which all steps that train have."""

    epochs: tuple[EpochRecord, ...]


@dataclass(frozen=True)
class DenseFacts(TrainingFacts):
    """Step ``dense``: training of the dense network."""

    validation_accuracy: float


@dataclass(frozen=True)
class Floor:
    """Break-even pruning ratio of a layer; ``None`` where no ratio pays."""

    ratio: float | None
    basis: str


@dataclass(frozen=True)
class BreakEvenFacts:
    """Step ``breakeven``, by the name of the layer.

    :param origin: where the figures come from, in words.
    :param curves: speedups of all kernel families that were measured.
    """

    layers: Mapping[str, Floor]
    origin: str
    curves: Mapping[str, tuple[SpeedupCurve, ...]]


@dataclass(frozen=True)
class PruneFacts(TrainingFacts):
    """Step ``prune``: training, decisions and trials of the pruning.

    :param status: how each run of ADMM ended.
    :param decisions: the schedule's decision about each layer.
    :param ratio_trials: of the search for the pruning ratio.
    :param patterns: of the search for balanced layers.
    :param trials: of the hardware-aware search.
    """

    status: tuple[str, ...]
    decisions: tuple[Decision, ...]
    ratio_trials: Pairs = ()
    patterns: tuple[PatternTrial, ...] = ()
    trials: Pairs = ()


@dataclass(frozen=True)
class RetrainFacts(TrainingFacts):
    """Step ``retrain``; the accuracy is ``None`` without epochs."""

    validation_accuracy: float | None


@dataclass(frozen=True)
class QuantizeFacts(TrainingFacts):
    """Step ``quantize``: the integer model and the size of its file."""

    status: tuple[str, ...]
    validation_accuracy: float | None
    bytes: int


@dataclass(frozen=True)
class AccuracyFacts:
    """Step ``test``; the dense accuracy is ``None`` for a model that came compressed."""

    accuracy: float
    images: int
    dense_accuracy: float | None = None


@dataclass(frozen=True)
class DataflowFacts:
    """The generated accelerator with an engine for each layer.

    :param stages: kernel of each layer.
    :param compact_shapes: shapes of each weight, original and without inactive channels.
    """

    hls_digest: str
    rtl_digest: str
    stages: Mapping[str, KernelConfig]
    compact_shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]


@dataclass(frozen=True)
class PassFacts:
    """A pass of the layer-sequential array.

    :param cycles: at least, for all images of a start (modelled); ``bound`` says what limits it.
    """

    name: str
    runs: int
    cycles: int
    bound: Bound


@dataclass(frozen=True)
class ArrayFacts:
    """The program for the layer-sequential array.

    :param bytes_per_cycle: rate of the memory that the model assumes.
    :param modelled_cycles: least cycles an image.
    """

    images_per_start: int
    array: SequentialArray
    bytes_per_cycle: float
    program_bytes: int
    passes: tuple[PassFacts, ...]
    modelled_cycles: float


@dataclass(frozen=True)
class CodegenFacts:
    """Step ``codegen``: either a dataflow accelerator or a program of the array."""

    dataflow: DataflowFacts | None = None
    array: ArrayFacts | None = None


@dataclass(frozen=True)
class SynthFacts:
    """Step ``synth``: resources and clock after synthesis.

    :param resources: by name.
    :param share: of the chip's LUTs that the design may take.
    """

    resources: Mapping[str, float]
    clock_ns: float
    share: float
    tool: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class CsimFacts:
    """Step ``csim``: images whose integers g++ gives as the integer model does.

    :param exact_images: of these, with all numbers at their hardware widths.
    :param frames: stages whose integers were compared on ``frame_images``.
    """

    images: int
    exact_images: int
    frames: tuple[str, ...] = ()
    frame_images: int = 0


@dataclass(frozen=True)
class MemoryFacts:
    """The memory of a simulation of the array: latency in cycles, and rate."""

    latency: int
    bytes_per_cycle: float


@dataclass(frozen=True)
class CosimFacts:
    """Step ``cosim``: cycles counted in Verilator.

    :param interval_cycles: between two images, mean.
    :param busy_cycles: per image, by layer or pass.
    :param version: of Verilator.
    :param memory: of the layer-sequential array; ``None`` for a dataflow accelerator.
    """

    images: int
    stalled_images: int
    latency_cycles: int
    interval_cycles: float
    busy_cycles: Mapping[str, float]
    version: str
    memory: MemoryFacts | None = None
