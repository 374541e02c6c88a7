"""Training: one epoch, resumable phases.

A *phase* is a function of its start state and its settings: all its random numbers come from
``(seed, phase, epoch)``, and after every epoch its whole state is written atomically. A run that is
killed and started again gives bit for bit the result of an undisturbed run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from pyadmm.core.errors import PyadmmError
from pyadmm.cpu_kernels.build import library
from pyadmm.training import distributed
from pyadmm.training.augmentation import PLAIN, Augmentation, AugmentationSample, Batch, batches
from pyadmm.training.cuda_graph import Captured
from pyadmm.training.data import Images
from pyadmm.training.devices import rounds_products
from pyadmm.training.distillation import Teacher, distillation_loss
from pyadmm.training.seeds import digest_of


def compiled(*functions: Callable[[Tensor], Tensor]) -> list[Callable[[Tensor], Tensor]]:
    """The functions through ``torch.compile``, for one shape of their input.

    Functions compiled before are dropped. Otherwise torch would count every new network of a run
    against a limit, and after that run uncompiled without a warning.
    """
    torch.compiler.reset()
    return [_with_clear_errors(torch.compile(f, dynamic=False, fullgraph=True)) for f in functions]


def _with_clear_errors(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def call(x: Tensor) -> Tensor:
        try:
            return function(x)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise PyadmmError(
                f"settings, compiled: torch.compile failed ({str(error).strip().splitlines()[0]}); "
                "it needs a C++ compiler, $CXX or g++, and on a GPU Triton. Install them, "
                "or set compiled to false"
            ) from error

    return call


def require_compilers(
    device: torch.device, *, dynamo: bool, native: bool, annealing: bool = False
) -> None:
    """Refuse, before any training, what the first step would refuse.

    :param dynamo: :func:`compiled` will be needed.
    :param native: training will need :mod:`pyadmm.cpu_kernels`.
    :param annealing: something else will, which is on the CPU anyway.
    :raises PyadmmError: if that does not work here.
    """
    if dynamo:
        (probe,) = compiled(lambda x: x.square() + 1)
        probe(torch.ones(2, device=device))
    if native and device.type != "cpu":
        raise PyadmmError(
            f"settings, sparse: computes on the CPU, not on {device}; set sparse to false"
        )
    if native or annealing:
        library()


@dataclass
class EpochTrainer:
    """Trains a network for one epoch.

    :param forward: logits of input codes.
    :param learning_rate: of the share of the epoch that is done.
    :param precision: of the products of ``forward``, as in ``TrainSettings``.
    :param before_step: after ``backward``, before the optimizer (ADMM's penalty).
    :param after_step: after the optimizer (masks).
    :param module: whose buffers several processes average after the epoch.
    :param compiled: ``forward`` and the teacher run through ``torch.compile`` on whole batches; the
        last one of an epoch may be smaller and is not worth another compilation.
    :param captured: whole batches go through one recorded CUDA graph.
    :param native: ``forward`` is compiled code, which multiplies in float32 whatever ``precision``.
    :param cached_seeds: seeds of the augmentations that an epoch's images may get; none: new ones in
        every epoch.
    :param among: rows of the pool that patches are taken from; ``None``: those of the epoch.
    """

    forward: Callable[[Tensor], Tensor]
    encode: Callable[[Tensor], Tensor]
    optimizer: torch.optim.Optimizer
    batch_size: int
    augmentation: Augmentation = PLAIN
    teacher: Teacher | None = None
    distill_weight: float = 0.0
    temperature: float = 1.0
    precision: str = "float32"
    before_step: Callable[[], None] | None = None
    after_step: Callable[[], None] | None = None
    module: nn.Module | None = None
    compiled: bool = False
    captured: bool = False
    native: bool = False
    cached_seeds: Sequence[int] = ()
    among: Tensor | None = None
    _rounded: bool = field(default=False, init=False)
    _fast: list[Callable[[Tensor], Tensor]] = field(default_factory=list, init=False)
    _recorded: Captured | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        # Compiled code multiplies in float32; its maps may be bfloat16 (Execution.bfloat16).
        self._rounded = not self.native and rounds_products(self.precision, self._device)

    @property
    def _device(self) -> torch.device:
        device: torch.device = self.optimizer.param_groups[0]["params"][0].device
        return device

    def train(
        self, data: Images, seed: int, where: str, learning_rate: Callable[[float], float]
    ) -> float:
        """Train for one epoch; returns its mean loss.

        :raises PyadmmError: as soon as the loss is not finite.
        """
        device = self._device
        total = torch.zeros((), device=device)
        steps = math.ceil(len(data) / self.batch_size)
        if self.compiled and not self._fast:
            teachers = [] if self.teacher is None else [self.teacher.network]
            self._fast = compiled(self.forward, *teachers)
        whole = 0
        for step, batch in enumerate(self.batches(data, seed)):
            whole = whole or len(batch.images)
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(step / steps)
            loss = self._step(batch, len(batch.images) == whole)
            total += loss * batch.counted
            if step % 50 == 0 or step == steps - 1:
                _require_finite(float(total), where)
        if self.module is not None:
            distributed.average_buffers(self.module)
        return float(distributed.total(total)) / len(data)

    def loss(self, data: Images, seed: int) -> float:
        """Mean loss over an epoch's images without training."""
        total = torch.zeros((), device=self._device)
        with torch.no_grad():
            for batch in self.batches(data, seed):
                total += self._loss(batch, []) * batch.counted
        return float(distributed.total(total)) / len(data)

    def batches(self, data: Images, seed: int) -> Iterator[Batch]:
        """The batches of an epoch; the teacher's logits are computed before, where they can be cached."""
        sample = self._cached_sample(data, seed) if self.cached_seeds else None
        how = self.augmentation
        if self.teacher is not None and sample is not None:
            if not self.captured:  # A graph asks it anew for every batch.
                self.teacher.prepare_sample(data, sample, len(self.cached_seeds))
        elif self.teacher is not None and (
            self.teacher.averaged_shifts > 0 or not how.more_than_shifts
        ):
            self.teacher.prepare(data, how.shift_pixels)
        return batches(data, self.batch_size, seed, how, device=self._device, sample=sample)

    def _cached_sample(self, data: Images, seed: int) -> AugmentationSample:
        """The cached augmentation that the seed of an epoch picks."""
        chosen = self.cached_seeds[seed % len(self.cached_seeds)]
        generator = torch.Generator().manual_seed(chosen)
        among = data.all_rows if self.among is None else self.among
        drawn = AugmentationSample.draw(len(data.pool), generator, self.augmentation, among)
        key = chosen, self.augmentation, digest_of(among) if self.augmentation.cutmix else None
        return replace(drawn.to(self._device), key=key)

    def gradients(self, data: Images, seed: int) -> Iterator[int]:
        """Leave the gradients of every batch in the parameters, and yield its number of images."""
        for batch in self.batches(data, seed):
            self._gradients(batch, False)
            yield round(batch.counted / batch.weight)

    def _step(self, batch: Batch, whole: bool) -> Tensor:
        loss = self._gradients(batch, whole)
        if self.before_step is not None:
            self.before_step()
        self.optimizer.step()
        if self.after_step is not None:
            self.after_step()
        return loss

    def _gradients(self, batch: Batch, whole: bool) -> Tensor:
        """The loss; its gradients, of all processes, are left in the parameters."""
        fast = self._fast if whole else []
        if self.captured and whole:
            loss = self._replayed(batch, fast)
        else:
            self.optimizer.zero_grad(set_to_none=False)
            loss = self._backward(batch, fast)
        if distributed.size() > 1:
            groups = self.optimizer.param_groups
            distributed.sum_gradients((p for g in groups for p in g["params"]), batch.weight)
        return loss

    def _backward(self, batch: Batch, fast: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        """The loss, its gradients added to those of the parameters."""
        loss = self._loss(batch, fast)
        loss.backward()
        return loss.detach()

    def _loss(self, batch: Batch, fast: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        forward, teacher_forward = [*fast, None, None][:2]
        codes = self.encode(batch.images)
        goal = None
        with torch.autocast(codes.device.type, torch.bfloat16, enabled=self._rounded):
            if self.teacher is not None:
                goal = self.teacher.logits(
                    batch, codes, self.augmentation.shift_pixels, teacher_forward
                )
            logits = (forward or self.forward)(codes).float()
        return distillation_loss(logits, batch.labels, goal, self.distill_weight, self.temperature)

    def _replayed(self, batch: Batch, fast: Sequence[Callable[[Tensor], Tensor]]) -> Tensor:
        """As :meth:`_backward`, by a CUDA graph, which replaces gradients instead of adding to them."""
        if self._recorded is None:

            def function(images: Tensor, labels: Tensor, index: Tensor, shift: Tensor) -> Tensor:
                return self._backward(Batch(images, labels, index, shift, batch.varied), fast)

            kept = [] if self.module is None else list(self.module.buffers())
            self._recorded = Captured(function, kept, self.optimizer.zero_grad)
        return self._recorded(batch.images, batch.labels, batch.index, batch.shift)


def _require_finite(loss: float, where: str) -> None:
    if not math.isfinite(loss):
        raise PyadmmError(
            f"{where}: the loss is {loss}; training stopped, the checkpoint of the last good epoch "
            f"is kept. Use a lower learning rate (lr) or penalty (rho)"
        )


def cosine(peak: float, done: float, warm: float = 0.05) -> float:
    """Learning rate after the share ``done`` of a phase: a short linear warm-up, then half a cosine.

    >>> [round(cosine(1.0, t), 3) for t in (0.0, 0.05, 0.525, 1.0)]
    [0.1, 1.0, 0.5, 0.0]
    """
    if done < warm:
        return peak * (0.1 + 0.9 * done / warm)
    return peak * 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm)))
