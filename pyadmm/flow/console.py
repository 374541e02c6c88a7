"""What the flow tells its user: one line per step, a bar while training, quiet in a log file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pyadmm.training.checkpoint import EpochRecord


class Reporter:
    """Prints steps and epochs; the bar appears on terminals only."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("        {task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed}/{task.total} {task.fields[figures]}"),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task: tuple[str, TaskID] | None = None

    def line(self, text: str) -> None:
        """One line of plain text; brackets in it are no markup."""
        self.console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """A notice that must not be overlooked."""
        self.console.print(f"! {text}", style="bold yellow", markup=False)

    def step(self, position: str, name: str, outcome: str) -> None:
        """A finished step."""
        self.line(f"{position:>7} {name:<10} {outcome}")

    @contextmanager
    def working(self) -> Iterator[None]:
        """Show the bar while the body runs."""
        with self._bar:
            yield
        self._forget_task()

    def epoch(self, record: EpochRecord, epochs: int) -> None:
        """An epoch of a phase with ``epochs`` of them."""
        if self._task is None or self._task[0] != record.phase:
            self._forget_task()
            self._task = record.phase, self._bar.add_task(record.phase, total=epochs, figures="")
        figures = f"loss {record.loss:.4f}, validation {100 * record.val_accuracy:.2f} %"
        self._bar.update(self._task[1], completed=record.epoch + 1, figures=figures)

    def _forget_task(self) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task[1])
            self._task = None
