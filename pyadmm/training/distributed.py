"""Several processes that train one network: a thin layer over ``torch.distributed``.

Every process holds the whole network and the whole ADMM state. Each takes its share of every batch;
gradients are summed with the shares' weights. So all processes take the step that one process would
take on the whole batch, and project the same weights. In a single process these functions do nothing.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pyadmm.core.errors import PyadmmError

TIMEOUT_VARIABLE = "PYADMM_TIMEOUT_S"
_TIMEOUT_S = 600.0
_LOST = (
    "distributed: process {rank} of {size}: another process ended or does not answer ({reason}); "
    "the checkpoint of the last whole epoch is kept: give the same command again to go on from it"
)


def start(environment: Mapping[str, str] = os.environ, device: str = "cpu") -> bool:
    """Join the processes that ``torchrun`` (or another launcher) started; tells whether there are
    some.

    :param device: where their networks are, as in :mod:`pyadmm.training.devices`.
    :raises PyadmmError: for incomplete variables, or where the others do not come.
    """
    if int(environment.get("WORLD_SIZE", "1")) == 1:
        return False
    missing = [k for k in ("RANK", "MASTER_ADDR", "MASTER_PORT") if k not in environment]
    if missing:
        raise PyadmmError(
            f"distributed: WORLD_SIZE is set, but {', '.join(missing)} is not; start with torchrun"
        )
    backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
    _guarded(
        lambda: dist.init_process_group(backend, timeout=timedelta(seconds=_timeout(environment)))
    )
    signal.signal(signal.SIGTERM, _ended)
    return True


def _ended(*_: object) -> None:
    """Report that another process failed, and end, when ``torchrun`` ends this one."""
    message = _LOST.format(rank=rank(), size=size(), reason="the launcher ended this one too")
    os.write(2, f"error: {message}\n".encode())
    os._exit(2)


def _timeout(environment: Mapping[str, str]) -> float:
    text = environment.get(TIMEOUT_VARIABLE, str(_TIMEOUT_S))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 86_400:
        raise PyadmmError(f"{TIMEOUT_VARIABLE}: must be 1 to 86400 seconds, not {text!r}")
    return seconds


def stop() -> None:
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def size() -> int:
    """Number of processes, 1 without a group."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, 0 without a group."""
    return dist.get_rank() if dist.is_initialized() else 0


def share(index: Tensor) -> tuple[Tensor, float]:
    """This process's part of a batch, and the part's weight in the batch's mean.

    A batch of fewer images than processes is given to all of them.
    """
    if size() == 1:
        return index, 1.0
    if len(index) < size():
        return index, 1 / size()
    part = index.tensor_split(size())[rank()]
    return part, len(part) / len(index)


def sum_gradients(parameters: Iterable[nn.Parameter], weight: float) -> None:
    """``grad := sum over processes of weight * grad``, in place."""
    if size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.reshape(-1) for g in gradients]).mul_(weight)
    _guarded(lambda: dist.all_reduce(flat))
    for gradient, summed in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(summed.reshape(gradient.shape))


def total(value: Tensor) -> Tensor:
    """Sum of ``value`` over all processes."""
    if size() > 1:
        _guarded(lambda: dist.all_reduce(value))
    return value


def average_buffers(module: nn.Module) -> None:
    """Average the statistics of batch norms over processes, so that all evaluate alike."""
    if size() == 1:
        return
    for buffer in module.buffers():
        if buffer.is_floating_point():
            _guarded(lambda b=buffer: dist.all_reduce(b))  # type: ignore[misc]
            buffer.div_(size())


def agree(what: str, value: str) -> None:
    """Check that all processes have the same ``value``.

    :raises PyadmmError: where they do not; on all processes alike.
    """
    if size() == 1:
        return
    found: list[Any] = [None] * size()
    _guarded(lambda: dist.all_gather_object(found, value))
    if len(set(found)) > 1:
        raise PyadmmError(
            f"distributed: processes differ in {what}: {found}; they need the same command, data, "
            "software and run directory (on a shared file system)"
        )


def _guarded(action: Callable[[], Any]) -> None:
    """Run a collective; a process that is gone gives one clear error."""
    try:
        action()
    except (RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or ["no reason"])[0][:200]
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # The message is out when it comes.
        if dist.is_initialized():
            atexit.register(_leave)
        raise PyadmmError(_LOST.format(rank=rank(), size=size(), reason=reason)) from error


def _leave() -> None:
    """End the process at once: the interpreter's shutdown may abort in a thread that holds a collective."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(2)
