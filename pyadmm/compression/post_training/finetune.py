"""Distillation on the calibration images: the quantised network learns the dense one's outputs."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pyadmm.compression.post_training.augmentation import augmented
from pyadmm.compression.post_training.pipeline import Calibration, digest_of
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.network.graph import Network, gives_logits
from pyadmm.training.seeds import seed_of

_BATCH = 25
_BATCH_VALUES = 1 << 27
"""Of all layers' outputs in a batch."""
_HELD_OUT = 8
"""One image in this many is used for validation only."""
_WEIGHT_STEP = 3e-3
"""Of a weight in one update, relative to the root mean square of its layer's."""
_LEVEL_STEP = 0.01
"""Of a weight in one update, in units of its level: what is added."""
_BIAS_STEP = 0.01
"""Of a bias, in units of its layer's output step."""
_WARM_UP = 20
"""Updates in which the steps grow."""
_SHARES = (0.25, 0.5, 0.75, 1.0)
"""Positions between the network and the trained one that are compared."""


def finetune(
    network: Network,
    calibration: Calibration,
    epochs: int,
    seed: int = 0,
    *,
    state: Path | None = None,
    watch: Callable[[int], None] | None = None,
) -> Network:
    """A copy with other levels and biases, whose outputs are closer to the dense network's.

    The loss is the Kullback-Leibler divergence of the dense network's classes from its own, and the
    mean over the layers of the squared error of their outputs, relative to the variance. No label is
    used. Pruned weights stay pruned. Large colour images are cropped, other images shifted, colour
    images mirrored; some are blended with another image or contain a part of one. Every eighth image
    is used for validation only: of ``network``, the trained network and interpolations of both, the
    one with the least divergence on these is returned.

    :param network: quantised, as :func:`~pyadmm.compression.post_training.pipeline.\
compress_post_training` gives it.
    :param state: folder for finished epochs; the same call continues from them with the same result.
    :param watch: called after every epoch with the number of those that are done.
    """
    student, teacher = network.copy(), calibration.network
    learned, held_out = _split(calibration)
    generator = torch.Generator().manual_seed(seed_of(seed, "post-training-finetune"))
    optimizer = torch.optim.Adam(_groups(student), betas=(0.9, 0.99))
    first = [group["lr"] for group in optimizer.param_groups]
    batch = _batch(network)
    each = -(-len(learned) // batch)
    store = _Store(state, (network, calibration), (epochs, seed), (student, optimizer, generator))
    for epoch in range(store.load(), epochs):
        order = torch.randperm(len(learned), generator=generator).split(batch)
        for step, part in enumerate(order, epoch * each):
            loss = _loss(student, teacher, augmented(learned[part], generator))
            optimizer.zero_grad()
            loss.backward()
            factor = _factor(step, epochs * each)
            for group, start in zip(optimizer.param_groups, first, strict=True):
                group["lr"] = start * factor
            optimizer.step()
        store.save(epoch + 1)
        if watch is not None:
            watch(epoch + 1)
    return _closest(network, student, held_out)


def _closest(network: Network, student: Network, held_out: Calibration) -> Network:
    """``network``, ``student`` or an interpolation: the one with the least divergence.

    A student trained on few images overfits; interpolations often generalise better than both.
    """
    between = (interpolated(network, student, share) for share in _SHARES)
    return min((network, *between), key=lambda made: divergence(made, held_out))


def interpolated(first: Network, second: Network, share: float) -> Network:
    """The network with weights, scales and biases ``(1 - share) first + share second``.

    :param second: like ``first`` but for these; both have the same masks.
    """
    made, ends = second.copy(), (first.state_dict(), second.state_dict())
    states = {
        name: start.lerp(ends[1][name], share) if start.is_floating_point() else start
        for name, start in ends[0].items()
    }
    made.load_state_dict(states)
    return made


def _factor(step: int, steps: int) -> float:
    """Factor of the learning rates: a linear warm-up, then a cosine."""
    return min(1, (step + 1) / _WARM_UP) * (1 + math.cos(math.pi * step / steps)) / 2


class _Store:
    """The state of the training after the last finished epoch, in a folder.

    :param given: what the training begins with; it decides the file's name, with ``facts``.
    :param changed: what the training changes.
    """

    def __init__(
        self,
        folder: Path | None,
        given: tuple[Network, Calibration],
        facts: tuple[int, int],
        changed: tuple[Network, torch.optim.Optimizer, torch.Generator],
    ) -> None:
        self.path: Path | None = None
        self.student, self.optimizer, self.generator = changed
        if folder is not None:
            network, calibration = given
            dense = digest_of(facts, calibration.network, calibration.images)
            digest = digest_of(dense, network, calibration.images)
            self.path = folder / f"finetune-{digest}.pt"

    def load(self) -> int:
        """Go on from the kept state; gives the number of finished epochs."""
        if self.path is None or not self.path.is_file():
            return 0
        try:
            kept = torch.load(self.path, weights_only=True)
            self.student.load_state_dict(kept["student"])
            self.optimizer.load_state_dict(kept["optimizer"])
            self.generator.set_state(kept["generator"])
            return int(kept["epochs"])
        except Exception as error:  # a damaged file can break torch's reader in any way
            raise PyadmmError(f"{self.path}: cannot be read ({error}); delete it") from error

    def save(self, epochs: int) -> None:
        """Keep the state after an epoch, with the number of finished epochs."""
        if self.path is None:
            return
        file = io.BytesIO()
        kept = {
            "student": self.student.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "epochs": epochs,
        }
        torch.save(kept, file)
        write_atomic(self.path, file.getvalue())


def _split(calibration: Calibration) -> tuple[Tensor, Calibration]:
    """Images to learn from, and others; the same where there are few."""
    images = calibration.images
    if len(images) < 2 * _HELD_OUT:
        return images, calibration
    kept = torch.arange(len(images)) % _HELD_OUT != 0
    return images[kept], Calibration(calibration.network, images[~kept])


def _batch(network: Network) -> int:
    """Images of an update."""
    values = sum(math.prod(step.facts.spec.output_shape) for step in network.layers.values())
    return max(1, min(_BATCH, _BATCH_VALUES // values))


def _loss(student: Network, teacher: Network, images: Tensor) -> Tensor:
    """Divergence of the classes, and the mean relative error of the layers' outputs."""
    with torch.no_grad():
        wanted = {step.name: x for step, x in teacher.walk(teacher.encode(images))}
    errors = []
    for step, (codes, scale) in student.walk_codes(student.encode(images)):
        found = codes if gives_logits(step) else codes * scale
        if step.name in student.layers and step is not student.chain[-1]:
            own = wanted[step.name]
            errors.append(F.mse_loss(found, own) / own.var().clamp(min=1e-12))
    logits = found.flatten(1).log_softmax(1), wanted[step.name].flatten(1).log_softmax(1)
    loss = F.kl_div(*logits, reduction="batchmean", log_target=True)
    return loss + torch.stack(errors).mean() if errors else loss


@torch.no_grad()
def divergence(network: Network, calibration: Calibration) -> float:
    """Mean Kullback-Leibler divergence of the dense network's classes from those of ``network``."""
    total, teacher = 0.0, calibration.network
    for part in calibration.images.split(_BATCH):
        wanted = teacher(teacher.encode(part)).log_softmax(1)
        found = network(network.encode(part)).log_softmax(1)
        total += float(F.kl_div(found, wanted, reduction="sum", log_target=True))
    return total / len(calibration.images)


def _groups(network: Network) -> list[dict[str, object]]:
    groups: list[dict[str, object]] = []
    for layer in network.layers.values():
        level = float(layer.log_q.detach().exp().mean())
        size = float((layer.weight.detach().square().sum() / max(1, layer.nnz)).sqrt())
        step = float(layer.log_s.detach().exp())
        groups.append({"params": [layer.weight], "lr": _WEIGHT_STEP * size + _LEVEL_STEP * level})
        groups.append({"params": [layer.bias], "lr": _BIAS_STEP * step})
    return groups
