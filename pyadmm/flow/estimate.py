"""Progress and remaining time of a run: nominal work, corrected by the time that it took.

The nominal seconds are those of LeNet-5 with the preset ``quick`` on two quiet cores. How much
slower a machine or a network is, is measured on the steps and epochs that are done; training and
tools have a factor of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyadmm.settings import CompressSettings

_TOOL_SECONDS = {
    "data": 2.0,
    "breakeven": 5.0,
    "test": 3.0,
    "codegen": 60.0,
    "synth": 20.0,
    "csim": 25.0,
    "cosim": 40.0,
    "compare": 3.0,
    "deploy": 3.0,
    "simulate": 30.0,
}
_TRIALS = 10
"""Epochs of the trials that choose a pruning ratio, about."""
_EPOCH_SECONDS = {"dense": 8.0, "prune": 4.0, "retrain": 2.5, "quantize": 2.5}


@dataclass(frozen=True)
class Work:
    """The work of one step.

    :param seconds: nominal.
    :param epochs: of a training step; 0 for one that runs tools.
    """

    name: str
    seconds: float
    epochs: int = 0


def epochs_of(settings: CompressSettings) -> dict[str, int]:
    """Epochs of each training step, as far as the settings tell.

    >>> epochs_of(CompressSettings())["dense"]
    10
    """
    admm, regrow = settings.admm, settings.regrow
    rounds = admm.rounds * (admm.iterations + admm.retrain_epochs)
    trials = _TRIALS if "pruning_ratio" in settings.adapt else 0
    return {
        "dense": settings.dense.epochs,
        "prune": trials + rounds + settings.continuous.epochs,
        "retrain": settings.retrain.epochs
        + regrow.cycles * (regrow.grow_epochs + regrow.prune_epochs),
        "quantize": settings.quantize_norms.epochs + settings.quantize.epochs,
    }


def works(steps: Sequence[str], settings: CompressSettings) -> list[Work]:
    """The work of the named steps, in order."""
    epochs = epochs_of(settings)
    return [
        Work(name, epochs[name] * _EPOCH_SECONDS[name], epochs[name])
        if name in epochs
        else Work(name, _TOOL_SECONDS.get(name, 5.0))
        for name in steps
    ]


class Estimate:
    """Follows a run through its steps.

    :param clock: gives seconds; another one than the real one for tests.
    """

    def __init__(self, work: Sequence[Work], clock: Callable[[], float] = time.monotonic) -> None:
        self.work = list(work)
        self.clock = clock
        self.begun = clock()
        self._done: dict[bool, list[float]] = {True: [0.0, 0.0], False: [0.0, 0.0]}
        self._at = 0
        self._since = self.begun
        self._epochs = 0

    @property
    def step(self) -> Work | None:
        """The step that runs; ``None`` after the last."""
        return self.work[self._at] if self._at < len(self.work) else None

    def begin(self, name: str) -> None:
        """Step ``name`` starts; those before it are over."""
        self._at = next(i for i, work in enumerate(self.work) if work.name == name)
        self._since, self._epochs = self.clock(), 0

    def epoch(self) -> None:
        """An epoch of the step is over."""
        self._epochs += 1

    def finish(self) -> None:
        """The step has run to its end."""
        work = self.work[self._at]
        took = self._done[work.epochs > 0]
        took[0] += self.clock() - self._since
        took[1] += work.seconds
        self.skip()

    def skip(self) -> None:
        """The step took no work: its result was stored, or a tool is missing."""
        self._at += 1
        self._since, self._epochs = self.clock(), 0

    @property
    def spent(self) -> float:
        """Seconds since the start of the run."""
        return self.clock() - self.begun

    @property
    def share(self) -> float:
        """Share of the run's work that is done, 0 to 1."""
        whole = sum(work.seconds for work in self.work)
        done = sum(work.seconds for work in self.work[: self._at])
        if self.step is not None:
            done += self._inside(self.step) * self.step.seconds
        return done / whole if whole else 1.0

    @property
    def left(self) -> float:
        """About how many seconds the run still takes."""
        if self.step is None:
            return 0.0
        later = self.work[self._at + 1 :]
        seconds = sum(work.seconds * self._factor(work.epochs > 0) for work in later)
        if self.step.epochs:
            inside = self._inside(self.step)
            return seconds + self.step.seconds * (1 - inside) * self._factor(True)
        return seconds + self._tool_left(self.step)

    def _inside(self, work: Work) -> float:
        """Share of the running step that is done; of a tool's step by its expected time."""
        if work.epochs:
            return min(self._epochs / work.epochs, 1.0)
        elapsed = self.clock() - self._since
        return elapsed / max(elapsed + self._tool_left(work), 1e-9)

    def _tool_left(self, work: Work) -> float:
        """Seconds that a tool still takes; one that runs over its time, a quarter of that again."""
        elapsed = self.clock() - self._since
        return max(work.seconds * self._factor(False) - elapsed, elapsed / 4)

    def _factor(self, training: bool) -> float:
        """Seconds that a nominal second takes here, from what is done of the same kind or at all."""
        took, nominal = self._done[training]
        if training and self.step is not None and self.step.epochs and self._epochs:
            took += self.clock() - self._since
            nominal += self.step.seconds * self._inside(self.step)
        if not nominal:
            took, nominal = self._done[not training]
        return took / nominal if nominal else 1.0


def minutes(seconds: float) -> str:
    """Seconds as ``m:ss``, or ``h:mm:ss``.

    >>> minutes(75), minutes(3_700)
    ('1:15', '1:01:40')
    """
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"
