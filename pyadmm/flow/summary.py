"""From the results of the steps to the record that the report shows."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypeVar, cast, get_args

import numpy as np
import torch

from pyadmm import __version__, container
from pyadmm.codegen.hls import TOP
from pyadmm.compression.schedule import Decision
from pyadmm.deploy.simulated_board import SimulatedMeasurement
from pyadmm.eda import reports as synthesis
from pyadmm.eda.dense_baseline import Comparison
from pyadmm.eda.reports import SynthesisReport
from pyadmm.flow import sequential
from pyadmm.flow.config import DATAFLOW, SEQUENTIAL
from pyadmm.flow.facts import (
    AccuracyFacts,
    BreakEvenFacts,
    CodegenFacts,
    CosimFacts,
    CsimFacts,
    DataFacts,
    DenseFacts,
    Floor,
    PruneFacts,
    QuantizeFacts,
    SynthFacts,
    TrainingFacts,
)
from pyadmm.flow.session import Session
from pyadmm.flow.steps import SYNTH
from pyadmm.flow.store import StepResult, file_digest
from pyadmm.flow.vendor_reports import calibration_lines, find_reports, nearest_report
from pyadmm.hardware.cost import initiation_interval, stage_cycles
from pyadmm.hardware.sequential.area import modelled_area
from pyadmm.model import CompressedLayer
from pyadmm.model.types import Resources
from pyadmm.report.record import (
    Accuracies,
    Accuracy,
    Basis,
    BytePart,
    Check,
    Dataset,
    DesignRecord,
    Epoch,
    FileRecord,
    Hardware,
    Kernel,
    LayerCycles,
    LayerRecord,
    PassRecord,
    Quantity,
    ResourceUse,
    RunFacts,
    RunRecord,
    SpeedupCurve,
    StepTime,
    Trial,
)

Facts = TypeVar("Facts")
_DENSE_BYTES_PER_PARAMETER = 4
_LISTED = 12
"""Most stages that a sentence names."""
_SUBSET_NOTICE = (
    "Trained and tested on the 5,000-image subset of MNIST: the figures compare with nobody's. "
    "Give the full data with --data-dir."
)


@dataclass(frozen=True)
class Progress:
    """The state of a run when its report is written.

    :param results: of the finished steps, in order.
    :param reused: names of the steps whose stored result was taken.
    :param skipped: step -> reason.
    :param failed: step -> reason, of steps whose failure waits for the report.
    """

    results: Mapping[str, StepResult]
    reused: frozenset[str]
    skipped: Mapping[str, str]
    failed: Mapping[str, str] = field(default_factory=dict)

    def facts(self, kind: type[Facts]) -> Facts | None:
        """The facts of class ``kind``, which belongs to one step; ``None`` where it has none."""
        found = (result.facts for result in self.results.values())
        return next((facts for facts in found if isinstance(facts, kind)), None)


def run_record(session: Session, progress: Progress, command: str, date: str) -> RunRecord:
    """Everything that the report shows."""
    pruned = progress.facts(PruneFacts)
    return RunRecord(
        run=_run_facts(session, command, date),
        dataset=dataset_record(progress.facts(DataFacts)),
        accuracies=_accuracies(progress),
        layers=_layers(session, progress),
        history=tuple(_history(progress)),
        file=_file(session),
        hardware=_hardware(session, progress),
        passes=tuple(_passes(progress)),
        designs=tuple(_designs(progress.facts(Comparison))),
        trials=tuple(Trial(*trial) for trial in pruned.trials) if pruned else (),
        admm=tuple(
            ended
            for facts in (pruned, progress.facts(QuantizeFacts))
            if facts is not None
            for ended in facts.status
            if ended != "magnitude"
        ),
        checks=tuple(_checks(progress)),
        steps=tuple(
            StepTime(name, result.seconds, name in progress.reused)
            for name, result in progress.results.items()
        ),
        done=tuple(_done(session, progress)),
        needs_vendor_tools=needs_vendor_tools(session),
        notes=tuple(_notes(session, progress)),
    )


def dataset_record(facts: DataFacts | None) -> Dataset:
    """The data set of a run, from the facts of its step ``data``."""
    if facts is None:
        return Dataset()
    return Dataset(
        name=facts.name,
        complete=facts.complete,
        source=facts.source,
        train_images=facts.train_images,
        validation_images=facts.validation_images,
        test_images=facts.test_images,
    )


def _notes(session: Session, progress: Progress) -> Iterable[str]:
    """The notes at the top of the report."""
    for result in progress.results.values():
        if result.warning:
            yield f"Warning: {result.warning}."
    data = progress.facts(DataFacts)
    if data is None or not data.complete:
        yield _SUBSET_NOTICE
    for note in () if data is None else data.notes:
        yield f"Data: {note}."
    report = nearest_report(_build_dirs(session))
    if report is not None and report.timing_met is False:
        yield (
            f"Warning: {report.tool} says that timing is not met ({report.stage}, worst slack "
            f"{report.slack_ns} ns): the figures of the clock hold for no bitstream."
        )


NEEDS_VENDOR_TOOLS = (
    "High-level synthesis, RTL cosimulation of its result and IP export: Vitis HLS, with build.tcl "
    "and params.tcl of the build folder.",
    "Placement, routing and the bitstream: Vivado, with the same build.tcl.",
    "Measured inference: the board, with the bundle that the bitstream goes into.",
)
"""The work that only vendor tools or the board can do."""


def _build_dirs(session: Session) -> list[Path]:
    """Folders that vendor tools may have left reports of this accelerator in."""
    return [] if session.architecture == SEQUENTIAL else [session.hls_dir, session.rtl_dir]


def needs_vendor_tools(session: Session) -> tuple[str, ...]:
    """The work that a run leaves to the vendor's tools and the board."""
    if session.architecture == SEQUENTIAL:
        return sequential.NEEDS_VENDOR_TOOLS
    return NEEDS_VENDOR_TOOLS


def _run_facts(session: Session, command: str, date: str) -> RunFacts:
    machine = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"
    trained = session.target.given is None
    return RunFacts(
        model=session.config.shown_model,
        board=session.board.name,
        part=session.board.part,
        preset=session.config.preset if trained else None,
        seed=session.config.seed if trained else None,
        date=date,
        pyadmm_version=__version__,
        torch_version=torch.__version__,
        machine=machine,
        command=command,
    )


def _accuracies(progress: Progress) -> Accuracies:
    tested, dense = progress.facts(AccuracyFacts), progress.facts(DenseFacts)
    quantized, data = progress.facts(QuantizeFacts), progress.facts(DataFacts)

    def share(value: float | None, images: int | None) -> Accuracy | None:
        return None if value is None or images is None else Accuracy(value, images)

    validated = None if data is None else data.validation_images
    return Accuracies(
        dense_test=share(tested.dense_accuracy, tested.images) if tested else None,
        integer_test=share(tested.accuracy, tested.images) if tested else None,
        dense_validation=share(dense.validation_accuracy, validated) if dense else None,
        integer_validation=share(quantized.validation_accuracy, validated) if quantized else None,
    )


def _history(progress: Progress) -> Iterable[Epoch]:
    for name, result in progress.results.items():
        if isinstance(result.facts, TrainingFacts):
            for record in result.facts.epochs:
                yield Epoch(**{**vars(record), "step": name})


def whole_bytes(parts: Sequence[tuple[str, float]]) -> list[BytePart]:
    """Fractional bytes rounded so that they sum to the (whole) total: largest remainders first.

    >>> [part.bytes for part in whole_bytes([("a", 1.6), ("b", 1.6), ("c", 0.8)])]
    [2, 1, 1]
    """
    sizes = np.array([max(size, 0.0) for _, size in parts])
    floors = np.floor(sizes).astype(int)
    short = max(round(sum(size for _, size in parts)) - int(floors.sum()), 0)
    order = np.argsort(floors - sizes, kind="stable")
    floors[order[:short]] += 1
    return [BytePart(name, int(size)) for (name, _), size in zip(parts, floors, strict=True)]


def _parts(session: Session) -> list[BytePart]:
    data = session.admm_file.read_bytes()
    return whole_bytes([(name, bits / 8) for name, bits in container.breakdown(data)])


def _file(session: Session) -> FileRecord:
    path = session.admm_file
    parameters = sum(layer.spec.weights + layer.spec.outputs for layer in session.model.layers)
    sizes: dict[str, int] = defaultdict(int)
    for part in _parts(session):
        sizes[part.name.rpartition(".")[2]] += part.bytes
    return FileRecord(
        name=path.name,
        bytes=path.stat().st_size,
        dense_bytes=parameters * _DENSE_BYTES_PER_PARAMETER,
        sections=tuple(BytePart(name, size) for name, size in sizes.items() if size),
        sha256=file_digest(path),
    )


def _layers(session: Session, progress: Progress) -> tuple[LayerRecord, ...]:
    parts = _parts(session)
    pruned, floors = progress.facts(PruneFacts), progress.facts(BreakEvenFacts)
    decisions = {} if pruned is None else {found.layer: found for found in pruned.decisions}
    return tuple(
        _layer(
            session,
            layer,
            parts,
            decisions.get(layer.name),
            None if floors is None else floors.layers.get(layer.name),
            kernel=_kernel(session, progress, layer.name),
            curves=() if floors is None else floors.curves.get(layer.name, ()),
        )
        for layer in session.model.layers
    )


def _layer(
    session: Session,
    layer: CompressedLayer,
    parts: Sequence[BytePart],
    decision: Decision | None,
    floor: Floor | None,
    *,
    kernel: Kernel | None,
    curves: tuple[SpeedupCurve, ...],
) -> LayerRecord:
    own = [part for part in parts if part.name.rpartition(".")[0] == layer.name]
    return LayerRecord(
        name=layer.name,
        kind=layer.spec.kind,
        weights=layer.spec.weights,
        nnz=layer.nnz,
        shape=layer.spec.weight_shape,
        weight_bits=layer.weight_bits,
        activation_bits=layer.output.bits,
        scales=tuple(float(scale) for scale in layer.weight_scale),
        parts=tuple(BytePart(part.name.rpartition(".")[2], part.bytes) for part in own),
        break_even=_floor(floor),
        curves=curves,
        planned=decision.before if decision else None,
        active_weights=_active_weights(session, layer.name),
        decision=_decided(decision) if decision else None,
        why=decision.reason if decision else None,
        kernel=kernel,
    )


def _active_weights(session: Session, layer: str) -> int | None:
    """Weights between active channels, what a dense engine would take; ``None`` for the array."""
    if session.architecture == SEQUENTIAL:
        return None
    return session.compact.layer(layer).spec.weights


def _kernel(session: Session, progress: Progress, layer: str) -> Kernel | None:
    """The engine of a layer; ``None`` where all layers share the array."""
    if session.architecture == SEQUENTIAL:
        return None
    stage, cycles = session.plan.stage(layer), _cycles(session, progress, layer)
    return Kernel(stage.config.family, stage.tile_rows, stage.groups, cycles)


def _cycles(session: Session, progress: Progress, layer: str) -> Quantity:
    """Cycles per image in which a layer's kernel works."""
    simulated = progress.facts(CosimFacts)
    if simulated is not None and layer in simulated.busy_cycles:
        return Quantity(simulated.busy_cycles[layer], "cosim")
    cycles = stage_cycles(session.compact.layer(layer), session.plan.stage(layer))
    return Quantity(cycles.initiation_interval, "modelled")


def _floor(found: Floor | None) -> Quantity | None:
    if found is None or found.ratio is None:
        return None
    return Quantity(found.ratio, cast(Basis, found.basis))


def _decided(decision: Decision) -> str:
    if not decision.dense:
        return "raised to its break-even" if decision.fixed else "pruned"
    return "kept dense" if decision.ratio == 1 else "kept dense in its active outputs"


def _designs(found: Comparison | None) -> Iterable[DesignRecord]:
    """The designs that step ``compare`` found."""
    if found is None:
        return
    basis = cast(Basis, found.basis)
    for design in found.designs:
        yield DesignRecord(
            design.name,
            Quantity(design.interval_cycles, basis),
            Quantity(design.latency_cycles, basis),
            tuple(
                ResourceUse(resource.upper(), Quantity(used, "modelled"))
                for resource, used in vars(design.resources).items()
            ),
            tuple(
                LayerCycles(layer, cycles, design.kernels[layer])
                for layer, cycles in design.busy_cycles.items()
            ),
        )


def _passes(progress: Progress) -> Iterable[PassRecord]:
    """The passes of the layer-sequential array, per image."""
    made, simulated = progress.facts(CodegenFacts), progress.facts(CosimFacts)
    counted = {} if simulated is None else simulated.busy_cycles
    read = _driver_cycles(progress.facts(SimulatedMeasurement))
    if made is None or made.array is None:
        return
    for one in made.array.passes:
        cycles = Quantity(counted[one.name], "cosim") if one.name in counted else None
        least = Quantity(one.cycles / made.array.images_per_start, "modelled")
        driver = read.get(one.name, (None, None))
        yield PassRecord(one.name, one.runs, least, one.bound, cycles, *driver)


def _driver_cycles(board: SimulatedMeasurement | None) -> dict[str, tuple[Quantity, Quantity]]:
    """Cycles and cycles of waiting per image that the driver read, by pass."""
    if board is None:
        return {}
    return {
        layer.name: (
            Quantity(layer.cycles / board.run_images, "cosim"),
            Quantity(layer.waiting / board.run_images, "cosim"),
        )
        for layer in board.layers
    }


def _hardware(session: Session, progress: Progress) -> Hardware:
    if session.architecture == SEQUENTIAL:
        return _array_hardware(session, progress)
    return _dataflow_hardware(session, progress.facts(CosimFacts), progress.facts(SynthFacts))


def _array_hardware(session: Session, progress: Progress) -> Hardware:
    """Cycles and resources of the layer-sequential array."""
    cosim, made = progress.facts(CosimFacts), progress.facts(CodegenFacts)
    assert made is not None
    assert made.array is not None
    report = _open_report(progress.facts(SynthFacts))
    area = modelled_area(session.array.groups, session.array.lanes)
    return Hardware(
        target_clock_mhz=session.board.clock_mhz,
        clock_mhz=None if report is None else _clock(report),
        cycles_per_image=Quantity(cosim.interval_cycles, "cosim")
        if cosim
        else Quantity(made.array.modelled_cycles, "modelled"),
        latency_cycles=Quantity(cosim.latency_cycles, "cosim") if cosim else None,
        resources=_resources(session, report, area),
        architecture=SEQUENTIAL,
    )


def _resources(
    session: Session, report: SynthesisReport | None, modelled: Resources
) -> tuple[ResourceUse, ...]:
    """Each resource as a tool found it, and as the model gives it; the latter alone where no tool ran."""
    found = []
    for field_ in fields(Resources):
        name, guess = field_.name, Quantity(getattr(modelled, field_.name), "modelled")
        limit = int(getattr(session.board.resources, name))
        used = _used(report, name) or guess
        found.append(ResourceUse(name.upper(), used, limit, None if report is None else guess))
    return tuple(found)


def _dataflow_hardware(
    session: Session, cosim: CosimFacts | None, synth: SynthFacts | None
) -> Hardware:
    plan, board = session.plan, session.board
    if cosim:
        interval = Quantity(cosim.interval_cycles, "cosim")
        latency = Quantity(cosim.latency_cycles, "cosim")
    else:
        model = session.compact
        cycles = {s.name: stage_cycles(model.layer(s.name), s) for s in plan.stages}
        interval, latency = Quantity(initiation_interval(plan, cycles), "modelled"), None
    report = nearest_report(_build_dirs(session)) or _open_report(synth)
    return Hardware(
        target_clock_mhz=board.clock_mhz,
        architecture=DATAFLOW,
        clock_mhz=None if report is None else _clock(report),
        cycles_per_image=interval,
        latency_cycles=latency,
        resources=_resources(session, report, session.kernels.best.resources),
    )


def _open_report(synth: SynthFacts | None) -> SynthesisReport | None:
    """The report of step ``synth``; ``None`` without a result."""
    if synth is None:
        return None
    return SynthesisReport(
        design=TOP,
        tool=synth.tool,
        stage="post-synthesis",
        clock_estimate_ns=synth.clock_ns,
        resources=synthesis.ResourceUse(**synth.resources),
    )


def _used(report: SynthesisReport | None, name: str) -> Quantity | None:
    """One resource as a tool found it."""
    value = None if report is None else getattr(report.resources, name)
    return None if report is None or value is None else Quantity(value, _basis(report))


def _clock(report: SynthesisReport) -> Quantity | None:
    period_ns = report.clock_estimate_ns
    return None if period_ns is None else Quantity(1e3 / period_ns, _basis(report))


def _basis(report: SynthesisReport) -> Basis:
    assert report.stage in get_args(Basis), report.stage
    return cast(Basis, report.stage)


def _some(names: Sequence[str]) -> str:
    """All names, or the first and the last of many.

    >>> _some([f"layer{i}" for i in range(30)])
    'all 30 stages (layer0, layer1, layer2 … layer29)'
    """
    if len(names) <= _LISTED:
        return ", ".join(names)
    return f"all {len(names)} stages ({', '.join(names[:3])} … {names[-1]})"


def _checks(progress: Progress) -> Iterable[Check]:
    golden = "CompressedModel.run"
    csim, cosim = progress.facts(CsimFacts), progress.facts(CosimFacts)
    board, synth = progress.facts(SimulatedMeasurement), progress.facts(SynthFacts)
    if csim:
        yield Check("csim", f"logits of g++ csim and {golden}", "pass", csim.images)
        if csim.frames:
            frames = f"integers of {_some(csim.frames)} in g++ csim and CompressedModel"
            yield Check("csim, every stage", frames, "pass", csim.frame_images)
        widths = f"logits of g++ csim with hardware widths (ap_int) and {golden}"
        yield Check("csim, exact widths", widths, "pass", csim.exact_images)
    if synth and SYNTH not in progress.failed:
        compared = f"resources after synthesis ({synth.tool}) and {synth.share:.0%} of the chip"
        yield Check("synthesis", compared, "pass")
    for name, reason in progress.failed.items():
        yield Check(name, f"step {name} of the flow", "fail", reason=reason)
    if cosim:
        compared = f"logits of the RTL in Verilator and {golden}"
        yield Check("cosim", compared, "pass", cosim.images)
        stalls = "of memory" if cosim.memory else "on both streams"
        stalled = f"{compared}, with random stalls {stalls}"
        yield Check("cosim with stalls", stalled, "pass", cosim.stalled_images)
    if board:
        compared = f"logits of the board's driver ({board.basis}) and {golden}"
        yield Check("simulated board", compared, "pass", board.images)
    for name, reason in progress.skipped.items():
        yield Check(name, f"step {name} of the flow", "skipped", reason=reason)


def _done(session: Session, progress: Progress) -> Iterable[str]:
    model = session.model
    verb = "Compressed" if session.target.given is None else "Took the compressed model"
    yield (
        f"{verb} {session.config.shown_model}, {model.pruning_ratio:.0f}x pruned "
        f"({model.nnz:,} of {model.weights:,} weights left): {session.admm_file.name}, "
        f"{session.admm_file.stat().st_size:,} bytes."
    )
    if session.architecture == SEQUENTIAL:
        yield (
            f"Compiled its program for the layer-sequential array ({session.array_name}, groups x "
            f"lanes) on {session.board.name} ({session.board.part})."
        )
    else:
        yield f"Generated its accelerator for {session.board.name} ({session.board.part})."
    yield from calibration_lines(find_reports(_build_dirs(session)[:1]))
    for check in _checks(progress):
        if check.result == "pass":
            images = "" if check.images is None else f" on {check.images:,} images"
            yield f"Checked{images}: {check.compared}."
