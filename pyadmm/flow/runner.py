"""Runs the steps: takes stored results where inputs are unchanged, stops after ``--until``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.console import Console

from pyadmm.core.errors import MissingToolError, PyadmmError
from pyadmm.flow.config import SEQUENTIAL, FlowConfig
from pyadmm.flow.console import Reporter
from pyadmm.flow.estimate import Estimate, works
from pyadmm.flow.sequential import ABSENT
from pyadmm.flow.session import Session
from pyadmm.flow.steps import BREAK_EVEN, SIMULATE, STEPS, SYNTH, TAKE, TRAINING, Step
from pyadmm.flow.store import StepResult, StepStore, result_of
from pyadmm.flow.summary import Progress, needs_vendor_tools, run_record
from pyadmm.report import ReportPaths, write_report
from pyadmm.training import distributed


@dataclass(frozen=True)
class FlowResult:
    """The result of a run.

    :param results: of the finished steps, by name.
    :param skipped: step -> why it could not run here.
    :param absent: step -> why the architecture has no such step.
    :param left: what the vendor's tools and the board have to do.
    :param report: ``None`` where the run ended before the report.
    """

    run_dir: Path
    results: dict[str, StepResult]
    skipped: dict[str, str]
    report: ReportPaths | None
    absent: dict[str, str]
    left: tuple[str, ...]


def selected_steps(config: FlowConfig) -> list[Step]:
    """The prefix of the steps that ends with ``config.until``; all for ``None``.

    :raises PyadmmError: for an unknown step, listing the known ones, and for an option that none of
        the steps reads.
    """
    steps = list(STEPS)
    if config.is_compressed:
        steps = [TAKE if s.name == TAKE.name else s for s in STEPS if s.name not in TRAINING]
    names = [step.name for step in steps]
    if config.until is not None and config.until not in names:
        raise PyadmmError(f"step {config.until!r} is unknown; choose one of: {', '.join(names)}")
    last = len(names) if config.until is None else names.index(config.until) + 1
    wanted = {
        BREAK_EVEN: config.obeys_break_even or config.until == BREAK_EVEN,
        SYNTH: config.synthesis or config.until == SYNTH,
        SIMULATE: config.simulate_board or config.until == SIMULATE,
    }
    selected = [step for step in steps[:last] if wanted.get(step.name, True)]
    config.require_effect([step.name for step in selected])
    return selected


def run(
    config: FlowConfig, reporter: Reporter | None = None, command: Sequence[str] = ()
) -> FlowResult:
    """Run the flow that ``config`` describes.

    :param command: the command line to put into the report.
    :raises PyadmmError: for bad input, failed tools and failed checks.
    """
    reporter = reporter or Reporter()
    steps = selected_steps(config)
    if distributed.size() > 1:
        _require_trainable_together(config)
    session = Session(config, reporter)
    started = datetime.now().replace(microsecond=0).isoformat()
    store = StepStore(session.run_dir)
    estimate = Estimate(works([step.name for step in steps], session.settings))
    reporter.plan(estimate)
    say_beforehand(session, [step.name for step in steps])
    with store.lock():
        runner = _Runner(session, store, reporter, estimate)
        for step in steps:
            runner.take(step)
        paths, left = None, tuple[str, ...]()
        if config.until is None:
            progress = Progress(
                runner.results,
                frozenset(runner.reused),
                {**runner.skipped, **runner.absent},
                runner.failed,
            )
            record = run_record(session, progress, " ".join(command), started)
            paths, left = write_report(record, session.run_dir), needs_vendor_tools(session)
        result = FlowResult(
            session.run_dir, runner.results, runner.skipped, paths, runner.absent, left
        )
    _closing_words(result, reporter)
    if runner.failed:
        raise PyadmmError("; ".join(f"step {n}: {why}" for n, why in runner.failed.items()))
    return result


def say_beforehand(session: Session, steps: Sequence[str]) -> None:
    """Say what tracing left out, and what will keep the network from hardware, before training."""
    for note in session.notes:
        session.reporter.warn(f"model: {note}")
    architecture = session.config.architecture
    if "codegen" not in steps:
        return
    if architecture == SEQUENTIAL:
        _refuse_array(session, "")
        return
    said = session.obstacle
    if said and architecture == "auto":
        _refuse_array(session, f"{said}; ")
        session.reporter.warn(f"auto will take the layer-sequential array: {said}")
    elif said:
        session.reporter.warn(f"{said}; --architecture auto takes the layer-sequential array there")


def _refuse_array(session: Session, before: str) -> None:
    """Refuse a network or a board that the layer-sequential array cannot have, before anything is trained."""
    said = session.array_obstacle()
    if said:
        raise PyadmmError(
            f"{before}{said}; --architecture dataflow trains and compresses it all the same"
        )


def follow(config: FlowConfig) -> None:
    """Take part in the training of a run whose first process does everything else, silently.

    :raises PyadmmError: as :func:`run`, and where the first process ended.
    """
    _require_trainable_together(config)
    session = Session(config, Reporter(Console(quiet=True)))
    names = [step.name for step in selected_steps(config)]
    for name, result in (
        ("dense", "dense"),
        ("prune", "pruned"),
        ("retrain", "retrained"),
        ("quantize", "quantized"),
    ):
        if name in names:
            getattr(session, result)


def _require_trainable_together(config: FlowConfig) -> None:
    """Refuse what keeps the first process busy while the others wait."""
    if config.is_compressed:
        raise PyadmmError(f"distributed: {config.model} is compressed already; use one process")
    if config.obeys_break_even:
        raise PyadmmError(
            "distributed: break-even is measured by one process; measure it alone first, put its "
            "ratios into the configuration's compress: break_even, and give --no-break-even"
        )


class _Runner:
    def __init__(
        self, session: Session, store: StepStore, reporter: Reporter, estimate: Estimate
    ) -> None:
        self.session = session
        self.store = store
        self.reporter = reporter
        self.estimate = estimate
        self.results: dict[str, StepResult] = {}
        self.reused: set[str] = set()
        self.skipped: dict[str, str] = {}
        self.absent: dict[str, str] = {}
        self.failed: dict[str, str] = {}

    def take(self, step: Step) -> None:
        """Run ``step`` or take its stored result."""
        done = len(self.results) + len(self.skipped) + len(self.absent)
        position = f"[{done + 1}/{len(self.estimate.work)}]"
        self.estimate.begin(step.name)
        if step.name in ABSENT and self.session.architecture == SEQUENTIAL:
            self.estimate.skip()
            self.absent[step.name] = ABSENT[step.name]
            self.reporter.step(position, step.name, f"skipped: {ABSENT[step.name]}")
            return
        missing = [name for name in step.needs if name in self.skipped]
        if missing:
            self._skip(position, step, f"needs step {missing[0]}, which was skipped")
            return
        upstream = [self.results[name] for name in step.needs]
        digest = self.store.digest(step.name, step.settings(self.session), upstream)
        stored = self.store.load(step.name, digest, step.facts)
        if stored is not None:
            self.estimate.skip()
            self.results[step.name] = stored
            self.reused.add(step.name)
            self.reporter.step(position, step.name, f"{stored.text} (stored)")
            self._warn(stored)
        else:
            self._run(position, step, digest)

    def _run(self, position: str, step: Step, digest: str) -> None:
        begin = time.perf_counter()
        try:
            with self.reporter.working():
                outcome = step.run(self.session)
        except MissingToolError as error:
            self._skip(position, step, str(error))
            return
        self.estimate.finish()
        seconds = time.perf_counter() - begin
        if outcome.failure is None:
            result = self.store.save(step.name, digest, seconds, outcome)
        else:
            result = result_of(step.name, digest, seconds, outcome, {})
            self.failed[step.name] = outcome.failure
        self.results[step.name] = result
        self.reporter.step(position, step.name, f"{outcome.text} ({seconds:.1f} s)")
        if outcome.failure is not None:
            self.reporter.warn(f"{step.name}: {outcome.failure}")
        self._warn(result)

    def _warn(self, result: StepResult) -> None:
        if result.warning:
            self.reporter.warn(f"{result.name}: {result.warning}")

    def _skip(self, position: str, step: Step, reason: str) -> None:
        self.estimate.skip()
        self.skipped[step.name] = reason
        self.reporter.step(position, step.name, "SKIPPED")
        self.reporter.warn(f"{step.name}: {reason}")


def _closing_words(result: FlowResult, reporter: Reporter) -> None:
    reporter.line("")
    if result.report is not None:
        reporter.line(f"Report: {result.report.html} and {result.report.xlsx}")
    reporter.line(f"Everything else: {result.run_dir}")
    for done in result.results.values():
        if done.warning:
            reporter.warn(f"Warning: {done.warning}")
    for name, reason in result.skipped.items():
        reporter.warn(f"Not done: step {name}: {reason}")
    if result.report is not None:
        reporter.line("Left to the vendor's tools and the board:")
        for line in result.left:
            reporter.line(f"  - {line}")
