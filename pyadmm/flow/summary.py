"""From the results of the steps to the record that the report shows."""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import torch

from pyadmm import __version__, container
from pyadmm.codegen.hls import TOP
from pyadmm.eda import reports as synthesis
from pyadmm.eda.reports import SynthesisReport
from pyadmm.flow import sequential
from pyadmm.flow.config import DATAFLOW, SEQUENTIAL
from pyadmm.flow.session import Session
from pyadmm.flow.steps import BREAK_EVEN, SIMULATE, SYNTH
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

_DENSE_BYTES_PER_PARAMETER = 4
_LISTED = 12
"""Most stages that a sentence names."""
_TRAINING_STEPS = ("dense", "prune", "retrain", "quantize")
_SUBSET_NOTICE = (
    "Trained and tested on the 5,000-image subset of MNIST: the figures compare with nobody's. "
    "Give the full data with --data-dir."
)


@dataclass(frozen=True)
class Progress:
    """What the runner knows when the report is written.

    :param results: of the finished steps, in order.
    :param reused: names of the steps whose stored result was taken.
    :param skipped: step -> reason.
    :param failed: step -> reason, of steps whose failure waits for the report.
    """

    results: Mapping[str, StepResult]
    reused: frozenset[str]
    skipped: Mapping[str, str]
    failed: Mapping[str, str] = field(default_factory=dict)

    def facts(self, name: str) -> Mapping[str, Any]:
        """Facts of step ``name``; empty where it did not run."""
        return self.results[name].facts if name in self.results else {}


def run_record(session: Session, progress: Progress, command: str, date: str) -> RunRecord:
    """Everything that the report shows."""
    return RunRecord(
        run=_run_facts(session, command, date),
        dataset=dataset_record(progress.facts("data")),
        accuracies=_accuracies(progress),
        layers=_layers(session, progress),
        history=tuple(_history(progress)),
        file=_file(session),
        hardware=_hardware(session, progress),
        passes=tuple(_passes(progress)),
        designs=tuple(_designs(progress.facts("compare"))),
        trials=tuple(Trial(*trial) for trial in progress.facts("prune").get("trials", ())),
        admm=tuple(
            ended
            for step in ("prune", "quantize")
            for ended in progress.facts(step).get("status", ())
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


def dataset_record(facts: Mapping[str, Any]) -> Dataset:
    """The data set of a run, from the facts of its step ``data``."""
    names = ("name", "complete", "source", "train_images", "validation_images", "test_images")
    return Dataset(*(facts.get(name) for name in names))


def _notes(session: Session, progress: Progress) -> Iterable[str]:
    """What belongs at the top of the report."""
    for name in progress.results:
        warning = progress.facts(name).get("warning")
        if warning:
            yield f"Warning: {warning}."
    data = progress.facts("data")
    if not data.get("complete"):
        yield _SUBSET_NOTICE
    for note in data.get("notes", ()):
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
"""What no open tool can do for these chips."""


def _build_dirs(session: Session) -> list[Path]:
    """Folders that vendor tools may have left reports of this accelerator in."""
    return [] if session.architecture == SEQUENTIAL else [session.hls_dir, session.rtl_dir]


def needs_vendor_tools(session: Session) -> tuple[str, ...]:
    """What is left to the vendor's tools and the board after a run."""
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
    data = progress.facts("data")

    def share(step: str, key: str, images: str) -> Accuracy | None:
        value = progress.facts(step).get(key)
        return None if value is None else Accuracy(value, data[images])

    return Accuracies(
        dense_test=share("test", "dense_accuracy", "test_images"),
        integer_test=share("test", "accuracy", "test_images"),
        dense_validation=share("dense", "validation_accuracy", "validation_images"),
        integer_validation=share("quantize", "validation_accuracy", "validation_images"),
    )


def _history(progress: Progress) -> Iterable[Epoch]:
    for step in _TRAINING_STEPS:
        for record in progress.facts(step).get("epochs", []):
            yield Epoch(**{**record, "step": step})


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
    decisions = {d["layer"]: d for d in progress.facts("prune").get("decisions", [])}
    floors, curves = (progress.facts(BREAK_EVEN).get(name, {}) for name in ("layers", "curves"))
    return tuple(
        _layer(
            session,
            layer,
            parts,
            decisions.get(layer.name, {}),
            floors.get(layer.name),
            kernel=_kernel(session, progress, layer.name),
            curves=curves.get(layer.name, []),
        )
        for layer in session.model.layers
    )


def _layer(
    session: Session,
    layer: CompressedLayer,
    parts: Sequence[BytePart],
    decision: Mapping[str, Any],
    floor: Mapping[str, Any] | None,
    *,
    kernel: Kernel | None,
    curves: Sequence[Mapping[str, Any]],
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
        curves=tuple(
            SpeedupCurve(c["family"], c["basis"], tuple(c["pruned"]), tuple(c["speedups"]))
            for c in curves
        ),
        planned=decision.get("before"),
        active_weights=_active_weights(session, layer.name),
        decision=None if not decision else _decided(decision),
        why=decision.get("reason"),
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
    counted = progress.facts("cosim").get("busy_cycles", {})
    if layer in counted:
        return Quantity(counted[layer], "cosim")
    cycles = stage_cycles(session.compact.layer(layer), session.plan.stage(layer))
    return Quantity(cycles.initiation_interval, "modelled")


def _floor(facts: Mapping[str, Any] | None) -> Quantity | None:
    if not facts or facts["ratio"] is None:
        return None
    return Quantity(facts["ratio"], facts["basis"])


def _decided(decision: Mapping[str, Any]) -> str:
    if not decision["dense"]:
        return "raised to its break-even" if decision["fixed"] else "pruned"
    return "kept dense" if decision["ratio"] == 1 else "kept dense in its active outputs"


def _designs(facts: Mapping[str, Any]) -> Iterable[DesignRecord]:
    """What step ``compare`` found."""
    for name in ("sparse", "dense", "dense_compact") if "basis" in facts else ():
        design, basis = facts[name], cast(Basis, facts["basis"])
        yield DesignRecord(
            design["name"],
            Quantity(design["interval_cycles"], basis),
            Quantity(design["latency_cycles"], basis),
            tuple(
                ResourceUse(resource.upper(), Quantity(used, "modelled"))
                for resource, used in design["resources"].items()
            ),
            tuple(
                LayerCycles(layer, cycles, design["kernels"][layer])
                for layer, cycles in design["busy_cycles"].items()
            ),
        )


def _passes(progress: Progress) -> Iterable[PassRecord]:
    """The passes of the layer-sequential array, per image."""
    facts, counted = progress.facts("codegen"), progress.facts("cosim").get("busy_cycles", {})
    board = progress.facts(SIMULATE)
    read = {layer["name"]: layer for layer in board.get("layers", ())}
    for one in facts.get("passes", ()):
        name, least = one["name"], one["cycles"] / facts["images_per_start"]
        cycles = Quantity(counted[name], "cosim") if name in counted else None
        driver = [
            Quantity(read[name][key] / board["run_images"], "cosim") if name in read else None
            for key in ("cycles", "waiting")
        ]
        least_cycles = Quantity(least, "modelled")
        yield PassRecord(name, one["runs"], least_cycles, one["bound"], cycles, *driver)


def _hardware(session: Session, progress: Progress) -> Hardware:
    if session.architecture == SEQUENTIAL:
        return _array_hardware(session, progress)
    return _dataflow_hardware(session, progress.facts("cosim"), progress.facts(SYNTH))


def _array_hardware(session: Session, progress: Progress) -> Hardware:
    """Cycles and resources of the layer-sequential array."""
    cosim, modelled = progress.facts("cosim"), progress.facts("codegen")["modelled_cycles"]
    report = _open_report(progress.facts(SYNTH))
    area = modelled_area(session.array.groups, session.array.lanes)
    return Hardware(
        target_clock_mhz=session.board.clock_mhz,
        clock_mhz=None if report is None else _clock(report),
        cycles_per_image=Quantity(cosim["interval_cycles"], "cosim")
        if cosim
        else Quantity(modelled, "modelled"),
        latency_cycles=Quantity(cosim["latency_cycles"], "cosim") if cosim else None,
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
    session: Session, cosim: Mapping[str, Any], synth: Mapping[str, Any]
) -> Hardware:
    plan, board = session.plan, session.board
    if cosim:
        interval = Quantity(cosim["interval_cycles"], "cosim")
        latency = Quantity(cosim["latency_cycles"], "cosim")
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


def _open_report(synth: Mapping[str, Any]) -> SynthesisReport | None:
    """What step ``synth`` found, where it came to a result."""
    if "resources" not in synth:
        return None
    return SynthesisReport(
        design=TOP,
        tool=synth["tool"],
        stage="post-synthesis",
        clock_estimate_ns=synth["clock_ns"],
        resources=synthesis.ResourceUse(**synth["resources"]),
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
    csim, cosim, board = (progress.facts(name) for name in ("csim", "cosim", SIMULATE))
    if csim:
        yield Check("csim", f"logits of g++ csim and {golden}", "pass", csim["images"])
        if "frames" in csim:
            frames = f"integers of {_some(csim['frames'])} in g++ csim and CompressedModel"
            yield Check("csim, every stage", frames, "pass", csim["frame_images"])
        widths = f"logits of g++ csim with hardware widths (ap_int) and {golden}"
        yield Check("csim, exact widths", widths, "pass", csim["exact_images"])
    synth = progress.facts(SYNTH)
    if "resources" in synth and SYNTH not in progress.failed:
        compared = (
            f"resources after synthesis ({synth['tool']}) and {synth['share']:.0%} of the chip"
        )
        yield Check("synthesis", compared, "pass")
    for name, reason in progress.failed.items():
        yield Check(name, f"step {name} of the flow", "fail", reason=reason)
    if cosim:
        compared = f"logits of the RTL in Verilator and {golden}"
        yield Check("cosim", compared, "pass", cosim["images"])
        stalls = "of memory" if "memory" in cosim else "on both streams"
        stalled = f"{compared}, with random stalls {stalls}"
        yield Check("cosim with stalls", stalled, "pass", cosim["stalled_images"])
    if board:
        compared = f"logits of the board's driver ({board['basis']}) and {golden}"
        yield Check("simulated board", compared, "pass", board["images"])
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
