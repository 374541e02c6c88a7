"""Output of the flow: one line per step, bars on a terminal, a line a minute in a log."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pyadmm.core.process import running_tools
from pyadmm.flow.estimate import Estimate, minutes
from pyadmm.training.checkpoint import EpochRecord

LOG_SECONDS = 60.0
"""Time between lines of a log file."""
_BAR_SECONDS = 1.0


class Reporter:
    """Prints steps and epochs; the bars appear on terminals only.

    :param every: seconds between two lines of progress where there are no bars.
    """

    def __init__(self, console: Console | None = None, every: float = LOG_SECONDS) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.every = every
        self.bar = Progress(
            TextColumn("        {task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._estimate: Estimate | None = None
        self._whole: TaskID | None = None
        self._phase: tuple[str, TaskID] | None = None
        self._now = ""

    def line(self, text: str) -> None:
        """One line of plain text; brackets in it are no markup."""
        self.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """A notice that must not be overlooked."""
        self.console.print(f"! {text}", style="bold yellow", markup=False)

    def step(self, position: str, name: str, outcome: str) -> None:
        """Print the line of a finished step."""
        self.line(f"{position:>7} {name:<10} {outcome}")

    def plan(self, estimate: Estimate) -> None:
        """Show how much of the whole run is done from now on."""
        self._estimate = estimate

    @contextmanager
    def working(self) -> Iterator[None]:
        """Show progress while the body runs."""
        over = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(over,), daemon=True)
        self._now = ""
        with self.bar:
            ticker.start()
            try:
                yield
            finally:
                over.set()
                ticker.join()
                self._forget_tasks()

    def epoch(self, record: EpochRecord, epochs: int) -> None:
        """An epoch of a phase with ``epochs`` of them."""
        if self._phase is None or self._phase[0] != record.phase:
            self._forget_phase()
            self._phase = record.phase, self.bar.add_task(record.phase, total=epochs, figures="")
        count = f"{record.epoch + 1}/{epochs}"
        figures = f"loss {record.loss:.4f}, validation {100 * record.val_accuracy:.2f} %"
        self.bar.update(self._phase[1], completed=record.epoch + 1, figures=f"{count} {figures}")
        self._now = f"{record.phase}, epoch {count}, {figures}"
        if self._estimate is not None:
            self._estimate.epoch()

    def _tick(self, over: threading.Event) -> None:
        """Until the body is over: move the bar of the run, or write a line now and then."""
        shows = self.console.is_terminal
        while not over.wait(_BAR_SECONDS if shows else self.every):
            if self._estimate is None:
                continue
            if shows:
                self.move(self._estimate)
            else:
                self.line(f"        {self._sentence(self._estimate)}")

    def move(self, estimate: Estimate) -> None:
        """Move the bar of the whole run to ``estimate``."""
        if self._whole is None:
            self._whole = self.bar.add_task("whole run", total=1.0, figures="")
        left = f"{estimate.share:.0%}, about {minutes(estimate.left)} left{_tools()}"
        self.bar.update(self._whole, completed=estimate.share, figures=left)

    def _sentence(self, estimate: Estimate) -> str:
        step = "" if estimate.step is None else f"{estimate.step.name}: "
        doing = self._now or "working"
        return (
            f"{step}{doing}{_tools()}; {estimate.share:.0%} of the run in "
            f"{minutes(estimate.spent)}, about {minutes(estimate.left)} left"
        )

    def _forget_phase(self) -> None:
        if self._phase is not None:
            self.bar.remove_task(self._phase[1])
            self._phase = None

    def _forget_tasks(self) -> None:
        self._forget_phase()
        if self._whole is not None:
            self.bar.remove_task(self._whole)
            self._whole = None


def _tools() -> str:
    """The external tools that run right now."""
    names = running_tools()
    return f"; running {', '.join(names)}" if names else ""
