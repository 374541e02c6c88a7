"""Checkpoints of training phases, and the record of every epoch."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.core.schema import from_json, to_json
from pyadmm.training import distributed
from pyadmm.training.seeds import digest_of, seed_of


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, for reports: plain numbers.

    ``primal``, ``dual`` and ``rho`` are those of ADMM, ``None`` in other phases.
    """

    step: str
    phase: str
    epoch: int
    loss: float
    val_accuracy: float
    nnz: int
    seconds: float
    primal: float | None = None
    dual: float | None = None
    rho: float | None = None


def as_text(records: Sequence[EpochRecord]) -> str:
    """The records as JSON for a checkpoint."""
    return to_json(list(records), lines=False)


def records_of(text: str) -> list[EpochRecord]:
    """The epoch records in text that :func:`as_text` wrote."""
    return list(from_json(tuple[EpochRecord, ...], text, "checkpoint"))


Progress = Callable[[EpochRecord, int], None]
"""Callback ``(record, total_epochs)``, called after every epoch."""


class Stateful(Protocol):
    """An object that a checkpoint can hold: module, optimizer, :class:`~pyadmm.admm.solver.Admm`."""

    def state_dict(self) -> dict[str, Any]:
        """The whole state, as plain data and tensors."""

    def load_state_dict(self, state: Any, /) -> object:
        """Continue from what :meth:`state_dict` gave."""


class Checkpoint:
    """The state of one phase in one file, replaced atomically after every epoch.

    :param folder: ``None`` keeps nothing.
    :param fingerprint: digest of everything that decides the phase; a file with another one is of
        other settings, data or weights: the phase starts anew and replaces it.
    """

    def __init__(self, folder: Path | None, phase: str, fingerprint: str) -> None:
        self.path = None if folder is None else folder / f"{phase}.pt"
        self.fingerprint = fingerprint

    def load(self) -> dict[str, Any] | None:
        """The state that was saved last for this phase and fingerprint; ``None`` if there is none."""
        if self.path is None or not self.path.exists():
            return None
        try:
            state = torch.load(self.path, weights_only=True, map_location="cpu")
        except Exception as error:  # torch.load raises whatever the damage happens to hit
            raise PyadmmError(
                f"checkpoint {self.path}: cannot be read ({error}); delete it to train again"
            ) from error
        ours = isinstance(state, dict) and state.get("fingerprint") == self.fingerprint
        return state if ours else None

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the file; of several processes the first one does."""
        if self.path is not None and distributed.rank() == 0:
            buffer = io.BytesIO()
            torch.save(_on_cpu({**state, "fingerprint": self.fingerprint}), buffer)
            write_atomic(self.path, buffer.getvalue())

    def remove(self) -> None:
        """Delete the file, if there is one; of several processes the first one does."""
        if self.path is not None and distributed.rank() == 0:
            self.path.unlink(missing_ok=True)


def _on_cpu(state: Any) -> Any:
    """``state`` with its tensors on the CPU, so that a machine without a GPU can continue from it."""
    if isinstance(state, Tensor):
        return state.cpu()
    if isinstance(state, Mapping):
        return {key: _on_cpu(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_on_cpu(value) for value in state)
    return state


@dataclass
class Best:
    """The best state of a network so far, by validation accuracy (the later of equals)."""

    accuracy: float = -1.0
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, accuracy: float, network: nn.Module) -> None:
        """Remember ``network`` if it is not worse."""
        if accuracy >= self.accuracy:
            self.accuracy = accuracy
            self.tensors = {k: v.detach().clone() for k, v in network.state_dict().items()}

    def state_dict(self) -> dict[str, Any]:
        """The best accuracy and its tensors."""
        return {"accuracy": self.accuracy, "tensors": self.tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        self.accuracy, self.tensors = state["accuracy"], state["tensors"]


@dataclass(frozen=True)
class Phase:
    """Name, seed, start state and checkpoint of one training phase.

    :param step: name of the flow's step that it belongs to.
    :param start: whatever decides the phase's result besides ``seed``: settings, data, networks.
    """

    step: str
    name: str
    epochs: int
    seed: int
    start: tuple[object, ...]
    folder: Path | None = None
    progress: Progress | None = None

    def run(
        self,
        parts: Mapping[str, Stateful],
        epoch: Callable[[int], tuple[dict[str, Any], bool]],
    ) -> list[EpochRecord]:
        """Train for :attr:`epochs` epochs, or continue from the checkpoint.

        :param parts: everything that changes during the phase.
        :param epoch: trains one; gives the figures of its record, and whether to stop early.
        """
        checkpoint = self.checkpoint
        state = checkpoint.load() or {"epoch": 0, "done": False, "records": "[]"}
        for name, part in parts.items():
            if name in state:
                part.load_state_dict(state[name])
        records = records_of(state["records"])
        done, first = bool(state["done"]), int(state["epoch"])
        for number in range(first, self.epochs):
            if done:
                break
            begin = time.perf_counter()
            distributed.agree("phase and epoch", f"{self.name} {number} {checkpoint.fingerprint}")
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed_of(self.seed, self.name, number))
                figures, done = epoch(number)
            seconds = time.perf_counter() - begin
            records.append(EpochRecord(self.step, self.name, number, seconds=seconds, **figures))
            checkpoint.save(
                {
                    "epoch": number + 1,
                    "done": done,
                    "records": as_text(records),
                    **{name: part.state_dict() for name, part in parts.items()},
                }
            )
            if self.progress is not None:
                self.progress(records[-1], self.epochs)
        return records

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint that keeps its state."""
        return Checkpoint(self.folder, self.name, digest_of(self.seed, self.epochs, *self.start))

    def epoch_seed(self, epoch: int) -> int:
        """Seed of an epoch's order and shifts."""
        return seed_of(self.seed, self.name, epoch, "batches")
