"""Progress of the whole run: what is done, what is left, and who says so in a log."""

from __future__ import annotations

import io
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from pyadmm.core.process import run_tool, running_tools
from pyadmm.flow.console import Reporter
from pyadmm.flow.estimate import Estimate, Work, epochs_of, works
from pyadmm.settings import preset
from pyadmm.training.checkpoint import EpochRecord

WORK = [Work("data", 2), Work("dense", 40, 8), Work("prune", 20, 4), Work("csim", 10)]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_left_follows_the_measured_pace() -> None:
    clock = Clock()
    estimate = Estimate(WORK, clock)
    assert estimate.left == pytest.approx(72)
    estimate.begin("data")
    clock.now = 2.0
    estimate.finish()
    estimate.begin("dense")
    assert estimate.left == pytest.approx(70)
    for _ in range(2):  # a quarter of the epochs in three times the nominal time
        clock.now += 15.0
        estimate.epoch()
    assert estimate.share == pytest.approx((2 + 10) / 72)
    assert estimate.left == pytest.approx(3 * 30 + 3 * 20 + 1 * 10)
    clock.now += 90.0
    estimate.finish()
    estimate.begin("prune")
    assert estimate.left == pytest.approx(3 * 20 + 10)
    estimate.skip()  # its result was stored
    estimate.begin("csim")
    clock.now += 5.0
    assert estimate.left == pytest.approx(5)
    clock.now += 500.0  # longer than expected: some is left until it is over
    assert estimate.left == pytest.approx(505 / 4)
    assert estimate.share < 1
    estimate.finish()
    assert (estimate.left, estimate.share, estimate.step) == (0, 1, None)
    assert estimate.spent == pytest.approx(2 + 30 + 90 + 505)


def test_the_work_of_the_default_run() -> None:
    settings = preset("quick")
    found = {work.name: work for work in works(["data", "dense", "prune", "cosim"], settings)}
    assert found["dense"].epochs == settings.dense.epochs
    assert found["prune"].epochs == epochs_of(settings)["prune"] > 0
    assert found["cosim"].epochs == 0
    assert all(work.seconds > 0 for work in found.values())


def record(epoch: int) -> EpochRecord:
    return EpochRecord("dense", "dense", epoch, 0.25, 0.9, 100, 1.0)


def log_of(every: float, seconds: float) -> list[str]:
    """Lines of a run in a file, one step of ``seconds`` with an epoch in it."""
    file = io.StringIO()
    reporter = Reporter(Console(file=file, highlight=False, soft_wrap=True), every)
    estimate = Estimate(WORK)
    reporter.plan(estimate)
    estimate.begin("dense")
    with reporter.working():
        reporter.epoch(record(0), 8)
        time.sleep(seconds)
    reporter.step("[2/4]", "dense", "done")
    return file.getvalue().splitlines()


def test_a_log_file_gets_a_line_now_and_then() -> None:
    lines = log_of(0.05, 0.3)
    assert len(lines) >= 3
    assert "dense: dense, epoch 1/8, loss 0.2500, validation 90.00 %" in lines[0]
    assert "% of the run in 0:00, about " in lines[0]
    assert lines[0].endswith(" left")
    assert lines[-1].endswith("dense      done")


def test_a_short_step_says_nothing_but_its_end() -> None:
    assert log_of(60.0, 0.01) == ["  [2/4] dense      done"]


def test_the_terminal_has_two_bars_and_keeps_nothing_of_them() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=120, legacy_windows=False)
    reporter = Reporter(console)
    estimate = Estimate(WORK)
    reporter.plan(estimate)
    estimate.begin("dense")
    with reporter.working():
        reporter.epoch(record(0), 8)
        reporter.move(estimate)
        time.sleep(0.3)
    shown = file.getvalue()
    assert "whole run" in shown
    assert "1/8 loss 0.2500" in shown
    assert " left" in shown
    assert not reporter.bar.tasks


def test_tools_are_named_while_they_run(tmp_path: Path) -> None:
    wait = (
        "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)"
    )
    ends = [tmp_path / "first", tmp_path / "second"]
    threads = [
        threading.Thread(
            target=run_tool,
            args=([sys.executable, "-c", wait, end],),
            kwargs={"log": tmp_path / f"{end.name}.log", "timeout_s": 60, "name": "sleeper"},
        )
        for end in ends
    ]
    assert running_tools() == []
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while running_tools() != ["sleeper (2 times)"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running_tools() == ["sleeper (2 times)"]
    ends[0].touch()
    threads[0].join()
    assert running_tools() == ["sleeper"]
    ends[1].touch()
    threads[1].join()
    assert running_tools() == []
