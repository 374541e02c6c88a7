"""Compression without training: every layer in turn, on the compressed network's inputs.

The layers are solved in order. The maps between the solved layers and the others are held for all
calibration images (:class:`~pyadmm.compression.post_training.frontier.Frontier`), once as the dense
network computes them and once as the compressed one does, in integers. A layer's weights minimise the
difference between both networks' outputs (:mod:`~pyadmm.compression.post_training.problem`); its bias
keeps their means, which re-estimates a batch norm that was folded; then the step of its activations is
chosen, and its integer outputs are what the next layer sees.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyadmm.compression.post_training.augmentation import can_be_cropped, widened
from pyadmm.compression.post_training.conditioning import choose_damping, problem_of
from pyadmm.compression.post_training.frontier import Frontier
from pyadmm.compression.post_training.methods import METHODS, solve_greedy
from pyadmm.compression.post_training.moments import (
    Folds,
    accumulate,
    grouped,
    samples_per_image,
    ungrouped,
)
from pyadmm.compression.post_training.prior import (
    averages_whole_map,
    metric,
    places_within,
    within_images,
)
from pyadmm.compression.post_training.problem import Levels
from pyadmm.compression.post_training.sensitivity import (
    GRID,
    Curve,
    allocate,
    divergences,
    images_measured,
    layers_to_prune,
    output_gradients,
    output_weights,
    show_classes,
)
from pyadmm.compression.post_training.settings import PostTraining
from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.model.types import QFormat
from pyadmm.network.activation_scales import clip_scale
from pyadmm.network.execution import Numerics
from pyadmm.network.graph import Network
from pyadmm.network.layers import WeightedStep
from pyadmm.network.steps import PoolStep, ShortcutStep, Step
from pyadmm.network.table_inputs import widen_into_tables
from pyadmm.training.seeds import seed_of

_SCALE_IMAGES = 32
_SCALE_VALUES = 1 << 17
_BIAS_FRACTION_BITS = 6
_VIEWS = 4
_WIDENED_IMAGES = 1200
_WIDENED_VALUES = 3 << 27
"""Values of the largest map of all images: 1.6 GB; the dense network's maps take as much again."""


@dataclass(frozen=True)
class LayerReport:
    """The result of one layer.

    :param error: squared error of its outputs, relative to their variance, before rounding them.
    """

    name: str
    weights: int
    nnz: int
    sparsity: float
    error: float
    seconds: float


Watch = Callable[[LayerReport, int], None]
"""Called after every layer with its report and the number of layers."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """A network and the checked images that it is compressed with; make it by :meth:`of`.

    :param network: the traced network in floats, with folded norms.
    :param images: uint8 or int8 ``(N, C, H, W)``.
    """

    network: Network
    images: Tensor

    @classmethod
    def of(cls, network: Network, images: Tensor) -> Calibration:
        """The calibration of ``network`` on ``images`` ``(N, C, H, W)``.

        :raises PyadmmError: for images of another type or shape, or none.
        """
        shape = network.input.shape
        if images.ndim != 4 or tuple(images.shape[1:]) != shape or len(images) == 0:
            raise PyadmmError(
                f"calibration: images must have shape (N, {', '.join(map(str, shape))}) with N of at "
                f"least 1, not {tuple(images.shape)}; give images of the network's input size"
            )
        if images.dtype not in (torch.uint8, torch.int8):
            raise PyadmmError(f"calibration: images must be bytes, not {images.dtype}")
        if bool((images == images.flatten()[0]).all()):
            raise PyadmmError(
                "calibration: all images hold one value only; give images as the network sees them"
            )
        return cls(network.fold_norms(), images)

    def widened(self, settings: PostTraining) -> Calibration:
        """The calibration with as many versions of the images as ``settings`` say."""
        views = settings.views or self._views()
        return Calibration(self.network, widened(self.images, views, settings.seed))

    def _views(self) -> int:
        """The number of versions of each image: large pictures gain from crops, small ones do not."""
        if not can_be_cropped(self.images):
            return 1
        count = len(self.images)
        values = count * _largest_map(self.network)
        return max(1, min(_VIEWS, _WIDENED_IMAGES // count, _WIDENED_VALUES // values))


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """How much pruning each layer, and each output of it, changes the network.

    :param curves: of the layers that may be pruned; none where no weight has to become 0.
    :param rows: per layer, how much each output matters, ``(g, 1, O/g)``, mean 1.
    :param few_images: whether there are too few images per class for these importances.
    """

    curves: dict[str, Curve]
    rows: dict[str, Tensor]
    few_images: bool

    def shares(self, network: Network, settings: PostTraining) -> dict[str, float]:
        """Sparsity of every layer of ``network``."""
        shares = dict.fromkeys(network.layers, 0.0)
        if settings.sparsity > 0:
            zeros = settings.sparsity * network.weights
            shares |= allocate(self.curves, zeros, settings.most_sparse, settings.break_even)
        return shares


def measure_sensitivity(calibration: Calibration, settings: PostTraining) -> Sensitivity:
    """Prune every layer of the dense network alone, at each sparsity of the grid.

    The change of the network's class probabilities is measured on images to which the pruned weights
    were not fitted. The smallest layers stay dense. It takes one pass forward, one backward, and for
    each layer and sparsity the part of a pass that follows the layer.
    """
    network, images = calibration.network, calibration.images
    few = not show_classes(network, images)
    rows = _output_weights(calibration, few, settings.seed)
    if settings.sparsity <= 0:
        return Sensitivity({}, rows, few)
    moments, within = _dense_moments(calibration.widened(settings), settings.seed)
    weights = {name: step.facts.spec.weights for name, step in network.layers.items()}

    def pruned(name: str) -> list[tuple[Tensor, Tensor]]:
        step = network.layers[name]
        weight = grouped(step.facts.spec, step.weight.detach())
        held = metric(step, weight, within.get(network.sources[name][0])) if few else None
        return _pruned_versions(step, moments.pop(name), rows[name], held)

    others = images[1::2] if len(images) > 1 else images
    chosen = layers_to_prune(weights)
    macs = sum(step.facts.spec.macs for step in network.layers.values())
    stride = -(-len(others) // images_measured(macs, len(chosen)))
    measured = divergences(network, others[::stride], pruned, chosen)
    curves = {name: Curve(weights[name], (0.0, *costs)) for name, costs in measured.items()}
    return Sensitivity(curves, rows, few)


def _output_weights(calibration: Calibration, few: bool, seed: int) -> dict[str, Tensor]:
    """The importance of each output of each layer; equal where there are few images per class."""
    network, images = calibration.network, calibration.images
    if few:
        gradients = {
            name: torch.ones(step.facts.spec.outputs) for name, step in network.layers.items()
        }
    else:
        gradients = output_gradients(network, images, seed)
    return {
        name: output_weights(gradients[name], step.facts.spec.groups)
        for name, step in network.layers.items()
    }


def _pruned_versions(
    step: WeightedStep, folds: Folds, rows: Tensor, held: Tensor | None
) -> list[tuple[Tensor, Tensor]]:
    """Weights and biases of a layer at the sparsities of the grid, fitted to half of the images."""
    spec = step.facts.spec
    dense, bias = grouped(spec, step.weight.detach()), step.bias.detach()
    problem = problem_of(folds.first, dense, choose_damping(folds, dense, 0.5, held), 8, held)
    found = []
    for sparsity in GRID[1:]:
        count = max(1, round((1 - sparsity) * spec.weights))
        levels = solve_greedy(replace(problem, count=count, rows=rows.to(problem.target)))
        weight = ungrouped(spec, levels.weights).to(dense)
        found.append((weight, folds.first.bias(bias, levels.weights)))
    return found


def _dense_moments(
    calibration: Calibration, seed: int
) -> tuple[dict[str, Folds], dict[str, Tensor]]:
    """Moments of all layers' inputs in the dense network, and :func:`within_images` by pool."""
    network, images = calibration.network, calibration.images
    within: dict[str, Tensor] = {}
    moments = {name: Folds.none(step.facts.spec) for name, step in network.layers.items()}

    def see(step: WeightedStep, inputs: tuple[Tensor, ...]) -> None:
        spec = step.facts.spec
        places = _positions(step, len(images), seed, moments[step.name].count)
        weight = grouped(spec, step.weight.detach())
        accumulate(moments[step.name], spec, weight, (inputs[0], inputs[0]), places)

    def see_within(step: PoolStep, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        if averages_whole_map(step, x.shape[2:]):
            places = places_within(x.shape[1], x[0, 0].numel(), len(images))
            within[step.name] = within.get(step.name, 0) + within_images(x, places)

    hooks = [step.register_forward_pre_hook(see) for step in network.layers.values()]
    pools = [step for step in network.chain if isinstance(step, PoolStep)]
    hooks += [step.register_forward_pre_hook(see_within) for step in pools]
    size = _images_at_once(network)
    try:
        with torch.no_grad():
            for start in range(0, len(images), size):
                network(network.encode(images[start : start + size]))
    finally:
        for hook in hooks:
            hook.remove()
    return moments, within


def _images_at_once(network: Network) -> int:
    """An even number: every other image belongs to the same half."""
    return 2 * max(1, (1 << 22) // _largest_map(network))


def _largest_map(network: Network) -> int:
    return max(math.prod(step.facts.spec.output_shape) for step in network.layers.values())


def _positions(step: WeightedStep, images: int, seed: int, place: int) -> Tensor:
    """Sampled output positions, the same whenever asked for the same images of a layer."""
    spec = step.facts.spec
    _, rows, columns = spec.output_shape
    generator = torch.Generator().manual_seed(seed_of(seed, "positions", step.name, place))
    wanted = samples_per_image(spec, images)
    return torch.randperm(rows * columns, generator=generator)[:wanted]


@torch.no_grad()
def compress_post_training(
    calibration: Calibration,
    settings: PostTraining,
    *,
    sensitivity: Sensitivity | None = None,
    state: Path | None = None,
    watch: Watch | None = None,
) -> tuple[Network, list[LayerReport]]:
    """Compress the network of ``calibration`` as ``settings`` ask, layer by layer.

    :param sensitivity: result of :func:`measure_sensitivity`; ``None``: it is measured.
    :param state: folder for solved layers; the same call continues from them with the same result.
    :param watch: called with the report of every solved layer and the number of layers.
    :returns: the quantised network, and a report for every layer.
    """
    dense = calibration.network
    if sensitivity is None:
        with torch.enable_grad():
            sensitivity = measure_sensitivity(calibration, settings)
    shares = sensitivity.shares(dense, settings)
    network = _prepared(dense, settings)
    store = _Store(state, calibration, settings, shares)
    frontier = Frontier(dense, calibration.widened(settings).images)
    reports = []
    for original, step in zip(dense.chain, network.chain, strict=True):
        began = time.monotonic()
        found = store.load(step)
        if found is None:
            error = 0.0
            if isinstance(step, WeightedStep) and isinstance(original, WeightedStep):
                share = shares[step.name]
                error = _solve((original, step), frontier, settings, share, sensitivity)
            if not isinstance(step, ShortcutStep) and step.output is not None:
                _choose_scale(step, step.output, frontier)
            found = error
            store.save(step, error)
        if step.name in frontier.last_use:
            frontier.advance(original, step)
        if isinstance(step, WeightedStep):
            seconds = time.monotonic() - began
            spec = step.facts.spec
            report = LayerReport(
                step.name, spec.weights, step.nnz, shares[step.name], found, seconds
            )
            reports.append(report)
            if watch is not None:
                watch(report, len(network.layers))
    network = network.at(Numerics.INTEGER)
    return network, reports


def _prepared(dense: Network, settings: PostTraining) -> Network:
    """A copy with the wanted bits."""
    network = dense.copy()
    for step in network.chain:
        facts: Any = step.facts
        bits = {"activation_bits": settings.activation_bits}
        if isinstance(step, WeightedStep):
            bits |= {"weight_bits": settings.weight_bits, "bias_fraction_bits": _BIAS_FRACTION_BITS}
        if hasattr(facts, "activation_bits"):
            step.facts = replace(facts, **bits)
    widen_into_tables(network)
    return network


def _solve(
    pair: tuple[WeightedStep, WeightedStep],
    frontier: Frontier,
    settings: PostTraining,
    sparsity: float,
    sensitivity: Sensitivity,
) -> float:
    """Set weights, scales and bias of one layer; gives the relative error of its outputs.

    :param pair: the dense layer and the one to set.
    """
    dense, step = pair
    spec, name = step.facts.spec, step.name
    folds = Folds.none(spec)
    weight = grouped(spec, dense.weight.detach())
    for part in frontier.batches(name):
        places = _positions(step, frontier.count, settings.seed, folds.count)
        inputs = frontier.real_inputs(name, part)[0], frontier.dense_inputs(name, part)[0]
        accumulate(folds, spec, weight, inputs, places)
    moments = folds.together()
    within = frontier.within.get(frontier.sources[name][0])
    held = metric(step, weight, within) if sensitivity.few_images else None
    share = settings.damping or choose_damping(folds, weight, 1 - sparsity, held)
    problem = problem_of(moments, weight, share, settings.weight_bits, held)
    problem = replace(
        problem,
        count=max(1, round((1 - sparsity) * spec.weights)),
        rows=sensitivity.rows[name].to(problem.target),
        shared=step.facts.last,
    )
    levels = METHODS[settings.method](problem, weight.to(problem.target))
    _place(step, levels)
    step.bias.copy_(moments.bias(dense.bias.detach(), levels.weights))
    return problem.relative(levels.weights)


def _place(step: WeightedStep, levels: Levels) -> None:
    """Set a layer's weights to ``levels``, and its scales."""
    spec = step.facts.spec
    scales = levels.scales.reshape(-1).float()
    step.log_q = nn.Parameter((scales[0] if step.facts.last else scales).log())
    codes = ungrouped(spec, levels.codes).float()
    step.mask.copy_(codes != 0)
    step.frozen.copy_(codes)
    step.weight.copy_(codes * step.row_q)


def _choose_scale(step: Any, form: QFormat, frontier: Frontier) -> None:
    """Set the step of a step's output codes to that of least squared error.

    :param form: of the codes.
    """
    seen: list[Tensor] = []
    count = min(_SCALE_IMAGES, frontier.count)
    for part in frontier.batches(step.name):
        if part.start >= count:
            break
        values = step(*frontier.real_inputs(step.name, part))
        stride = 1 + values.numel() * count // len(values) // _SCALE_VALUES
        seen.append(values.flatten()[::stride])
    limit = step.facts.activation.largest_step(form)
    step.log_s.fill_(math.log(clip_scale(torch.cat(seen), form, limit)))


def digest_of(facts: object, network: Network, images: Tensor) -> str:
    """Digest of some plain data, a network and images: 16 hexadecimal digits."""
    digest = hashlib.sha256(json.dumps(facts).encode())
    digest.update(images.numpy().tobytes())
    state = network.state()
    digest.update(state["structure"].encode())
    for name in sorted(state["tensors"]):
        digest.update(state["tensors"][name].numpy().tobytes())
    return digest.hexdigest()[:16]


class _Store:
    """Solved layers in a folder, under the digest of everything that they depend on."""

    def __init__(
        self,
        folder: Path | None,
        calibration: Calibration,
        settings: PostTraining,
        shares: dict[str, float],
    ) -> None:
        self.folder = folder
        if folder is not None:
            facts = [asdict(settings), shares]
            self.folder = folder / digest_of(facts, calibration.network, calibration.images)

    def load(self, step: Step) -> float | None:
        """Restore a step; gives its error, or ``None`` where it is not known."""
        path = None if self.folder is None else self._path(step)
        if path is None or not path.is_file():
            return None
        try:
            stored = torch.load(path, weights_only=True)
            if isinstance(step, WeightedStep):
                step.log_q = nn.Parameter(stored["tensors"]["log_q"])
            step.load_state_dict(stored["tensors"])
            return float(stored["error"])
        except Exception as error:  # a damaged file can break torch's reader in any way
            raise PyadmmError(f"{path}: cannot be read ({error}); delete it") from error

    def save(self, step: Step, error: float) -> None:
        """Keep a solved step."""
        if self.folder is not None:
            file = io.BytesIO()
            torch.save({"tensors": step.state_dict(), "error": error}, file)
            write_atomic(self._path(step), file.getvalue())

    def _path(self, step: Step) -> Path:
        assert self.folder is not None
        return self.folder / f"{hashlib.sha256(step.name.encode()).hexdigest()[:16]}.pt"
