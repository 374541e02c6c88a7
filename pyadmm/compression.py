"""The compression pipeline: dense training, ADMM rounds, masked retraining, quantisation, integers.

Every phase is a function of its network, the settings and the data, resumable through
``checkpoint_dir``. :func:`compress` calls them in turn for a model that is already trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyadmm import distributed
from pyadmm.activations import calibrate
from pyadmm.admm import Admm, Projection, Residuals
from pyadmm.augment import Augmentation
from pyadmm.convert import snap_scales, to_compressed
from pyadmm.devices import device_of
from pyadmm.errors import PyadmmError
from pyadmm.exchange import exchange
from pyadmm.images import Data, Images, accuracy
from pyadmm.model import INPUT, CompressedModel, InputSpec
from pyadmm.network import AddStep, Network, PoolStep, WeightedStep
from pyadmm.phases import Surroundings, make_optimizer, train_masked
from pyadmm.polish import polish
from pyadmm.project import (
    Kept,
    crowded_mask,
    joint_scale,
    keep_joint,
    keep_largest,
    optimal_scale,
    project_levels,
    row_mask,
)
from pyadmm.rounding import round_weights
from pyadmm.schedule import (
    Decision,
    Target,
    allocate,
    keep,
    layer_targets,
    partial_ratio,
    plan_ratios,
    round_ratios,
)
from pyadmm.seeds import digest_of, seed_of
from pyadmm.settings import (
    AdmmSettings,
    CompressSettings,
    InputSettings,
)
from pyadmm.slopes import FISHER_FLOOR
from pyadmm.spec import QFormat
from pyadmm.teacher import Teacher
from pyadmm.trace import trace
from pyadmm.training import (
    Best,
    Checkpoint,
    EpochRecord,
    EpochTrainer,
    Phase,
    Progress,
    Stateful,
    as_text,
    cosine,
    records_of,
    require_compilers,
)
from pyadmm.trim import smallest, trim, trim_before_levels

_FISHER_IMAGES = 4096
_FISHER_BATCH = 32
_FISHER_POWER = 0.25


@dataclass(frozen=True)
class PhaseResult:
    """A network after a phase, and the record of each epoch."""

    network: Network
    records: list[EpochRecord]


@dataclass(frozen=True)
class AdmmResult(PhaseResult):
    """After ADMM: also how each round ended and what the schedule decided."""

    status: tuple[str, ...]
    decisions: tuple[Decision, ...]


@dataclass(frozen=True)
class IntegerResult:
    """The integer model and its accuracy on the validation split."""

    model: CompressedModel
    validation_accuracy: float


def input_spec(settings: InputSettings, shape: tuple[int, int, int]) -> InputSpec:
    """How bytes become input integers; ``integer * format.scale`` is what the network sees.

    >>> input_spec(InputSettings(bits=4), (1, 28, 28)).format
    QFormat(bits=4, signed=False, scale=0.06666666666666667)
    """
    shift = 8 - settings.bits
    offset, scale = settings.offset, settings.scale
    if settings.mean:
        _require_channels(settings, shape)
        offset = tuple(round(255 * mean) for mean in settings.mean)
        scale = len(settings.std) / sum(settings.std)
    if any(offset):
        form = QFormat(settings.bits + 1, True, scale * 2**shift / 255)
    else:
        form = QFormat(settings.bits, False, scale / (2**settings.bits - 1))
    return InputSpec(shape, form, offset, shift)


def _require_channels(settings: InputSettings, shape: tuple[int, int, int]) -> None:
    if len(settings.mean) != shape[0]:
        raise PyadmmError(
            f"settings, input: mean and std have {len(settings.mean)} values, but images have "
            f"{shape[0]} channels; give one value per channel"
        )


def _channel_gain(settings: InputSettings) -> Tensor:
    """What is left of the normalisation per channel, ``(C, 1, 1)``, once all share one scale."""
    std = torch.tensor(settings.std or (1.0,))
    return (std.reciprocal() * std.mean()).reshape(-1, 1, 1)


def train_dense(
    model: nn.Module,
    settings: CompressSettings,
    data: Data,
    *,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
) -> list[EpochRecord]:
    """Train ``model`` in place, as it stands, on inputs quantised as they will be on the chip.

    It is trained on the device that it is on, as all later phases are.

    The epoch with the best validation accuracy of the last third is kept.
    """
    train = settings.dense
    spec = input_spec(settings.input, _shape(data))
    encoder = Network(spec, []).to(device_of(model))
    scale = (spec.format.scale * _channel_gain(settings.input)).to(device_of(model))

    def forward(codes: Tensor) -> Tensor:
        return model(codes * scale).flatten(1)

    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer([{"params": list(model.parameters())}], train)
    trainer = EpochTrainer(
        forward,
        encoder.encode,
        optimizer,
        train.batch_size,
        Augmentation.of(train),
        precision=train.precision,
        module=model,
    )
    best = Best()
    parts: dict[str, Stateful] = {"network": model, "optimizer": optimizer, "best": best}
    start = (settings.dense, settings.input, data.digests, settings.seed, model.state_dict())
    phase = Phase("dense", "dense", train.epochs, settings.seed, start, checkpoint_dir, progress)
    weights = sum(p.numel() for p in model.parameters() if p.ndim > 1)

    def epoch(number: int) -> tuple[dict[str, Any], bool]:
        model.train()
        loss = trainer.train(
            data.train,
            phase.epoch_seed(number),
            f"dense, epoch {number}",
            lambda done: cosine(train.lr, (number + done) / train.epochs),
        )
        model.eval()
        right = accuracy(lambda images: forward(encoder.encode(images)), data.validation)
        if number >= 2 * train.epochs // 3:
            best.offer(right, model)
        return {"loss": loss, "val_accuracy": right, "nnz": weights}, False

    records = phase.run(parts, epoch)
    if best.tensors:
        model.load_state_dict(best.tensors)
    model.eval()
    return records


def to_network(
    model: nn.Module, settings: CompressSettings, shape: tuple[int, int, int]
) -> Network:
    """Trace ``model`` and give every layer its bits.

    :raises PyadmmError: for unsupported layers, unknown layer names, impossible targets; and if
        ``settings`` want compiled code and there can be none here.
    """
    require_compilers(
        device_of(model),
        dynamo=settings.compiled,
        native=settings.sparse,
        annealing=settings.rounding.candidates > 0,
    )
    network = to_teacher(model, settings, shape)
    set_widths(network, settings)
    return network


def to_teacher(
    model: nn.Module, settings: CompressSettings, shape: tuple[int, int, int]
) -> Network:
    """Trace ``model`` as a teacher of networks that read the same input; it is never quantised.

    :raises PyadmmError: for unsupported layers.
    """
    network = trace(model, input_spec(settings.input, shape))
    _merge_normalisation(network, settings.input)
    return network


def shared_teacher(network: Network, settings: CompressSettings) -> Teacher:
    """``network`` as the teacher of several phases: what it keeps of its logits, it keeps once."""
    folded = network.fold_norms()
    distill = settings.distill
    return Teacher(folded, folded.encode, distill.views, distill.precision)


def set_widths(network: Network, settings: CompressSettings) -> None:
    """Give every layer of ``network`` the bits that ``settings`` say, in place.

    :raises PyadmmError: for unknown layer names and impossible targets.
    """
    targets = _targets(network, settings)
    for name, layer in network.layers.items():
        target = targets[name]
        layer.facts = replace(
            layer.facts,
            weight_bits=target.weight_bits,
            activation_bits=target.activation_bits,
            bias_fraction_bits=target.bias_fraction_bits,
        )
    for step in network.chain:
        if isinstance(step, AddStep | PoolStep):
            step.facts = replace(step.facts, activation_bits=settings.activation_bits)


@torch.no_grad()
def _merge_normalisation(network: Network, settings: InputSettings) -> None:
    """Multiply the weights that read the input by what :func:`_channel_gain` leaves to do."""
    if len(set(settings.std)) <= 1:
        return
    for step in network.chain:
        if INPUT not in network.sources[step.name]:
            continue
        if not isinstance(step, WeightedStep) or step.facts.spec.groups > 1:
            raise PyadmmError(
                f"layer {step.name}: reads the input, so it must be a layer without groups to take "
                f"up a std per channel, {settings.std}; use equal values"
            )
        gain = _channel_gain(settings)[..., 0].to(step.weight.device)
        scaled = step.as_windows(step.weight) * gain
        step.weight.copy_(scaled.reshape(step.weight.shape))


def admm_phase(
    network: Network,
    settings: CompressSettings,
    data: Data,
    *,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
    teacher: Network | Teacher | None = None,
) -> AdmmResult:
    """Prune ``network`` in progressive ADMM rounds; the last round projects onto levels as well.

    Each round: allocate the weights over the layers, ADMM, project for good, cut off dead channels,
    retrain what is left. ``network`` (not changed) may be pruned already: what it lost stays lost,
    and rounds to ratios that it has passed are left out.

    :param teacher: whose logits are distilled, ``network`` itself by default. A :class:`Teacher`
        keeps its logits, so one that several phases share computes them once.
    """
    admm = settings.admm
    tutor = _teacher(network if teacher is None else teacher, settings)
    targets = _targets(network, settings)
    targets, decisions = _respect_break_even(network, targets, settings, data)
    ratios = round_ratios(admm.first_ratio, settings.pruning_ratio, admm.rounds)
    records: list[EpochRecord] = []
    status = []
    current = network.copy()
    done = network.weights / network.nnz
    for number, ratio in enumerate(ratios):
        if 1 < done >= ratio < ratios[-1]:
            continue
        around = Surroundings(f"{number + 1}", settings, data, tutor, checkpoint_dir, progress)
        joint = number == len(ratios) - 1 and admm.iterations > 0
        epochs, outcome, current = _whole_round(current, targets, ratio, joint, around)
        records += epochs
        status.append(outcome)
    return AdmmResult(current, records, tuple(status), tuple(decisions))


def retrain(
    network: Network,
    settings: CompressSettings,
    data: Data,
    *,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
    teacher: Network | Teacher | None = None,
) -> PhaseResult:
    """Masked retraining in floats, after an exchange of weights if ``settings`` want one.

    Layers with a pruning ratio of their own keep their number of weights, and all layers do where
    there are break-even pruning ratios.
    """
    current = network.copy()
    surroundings = Surroundings(
        "retrain", settings, data, _teacher(teacher, settings), checkpoint_dir, progress
    )
    records: list[EpochRecord] = []
    if settings.exchange.cycles:
        fixed = _fixed_layers(current, settings)
        exchanging = replace(surroundings, name="exchange")
        current, records = exchange(current, settings.exchange, fixed, exchanging)
    records += train_masked(current, settings.retrain, surroundings)
    return PhaseResult(current, records)


def quantize(
    network: Network,
    settings: CompressSettings,
    data: Data,
    *,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
    teacher: Network | Teacher | None = None,
    name: str = "model",
) -> PhaseResult:
    """Masked retraining with quantised weights and activations (straight-through gradients).

    While batch norms still learn, only the weights are at their levels. Then the norms are folded,
    and the network computes with the very integers of the chip. If ``settings`` want a rounding, it
    takes the place of both; polishing may follow.

    :param name: of the model, which the file holds whose size ``settings`` may limit.
    """
    current = network.copy()
    for layer in current.layers.values():
        layer.fit_weight_scale()
    surroundings = Surroundings(
        "quantize-norms", settings, data, _teacher(teacher, settings), checkpoint_dir, progress
    )
    records = []
    rounds = settings.rounding.candidates > 0
    if current.norms:
        if not rounds:
            if settings.most_bytes:
                trim_before_levels(current, name, replace(surroundings, name="trim-before-levels"))
            current.levels = True
            records += train_masked(current, settings.quantize_norms, surroundings)
        current = current.fold_norms()
    if rounds:
        rounding = replace(surroundings, name="rounding")
        current, tried = round_weights(current, settings.rounding, rounding, name)
        records += tried
    else:
        calibrate(current, data.train)
        current.quantized = True
        records += train_masked(current, settings.quantize, replace(surroundings, name="quantize"))
        snap_scales(current, settings.mult_bits)
    if settings.polish.cycles:
        records += polish(current, settings.polish, replace(surroundings, name="polish"))
    if settings.most_bytes:
        trim(current, settings.most_bytes, name, replace(surroundings, name="trim"))
    return PhaseResult(current, records)


def to_integer(network: Network, data: Data, name: str = "model") -> IntegerResult:
    """The integer model, with its accuracy on the validation split."""
    model = to_compressed(network, name)
    validation = data.validation
    right = model.accuracy(validation.images.numpy(), validation.labels.numpy())
    return IntegerResult(model, right)


def compress(
    model: nn.Module,
    config: CompressSettings,
    train_loader: Images | Iterable[tuple[Tensor, Tensor]],
    val_loader: Images | Iterable[tuple[Tensor, Tensor]],
    *,
    name: str = "model",
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
) -> CompressedModel:
    """Compress a trained ``model``: the integer model that ADMM, retraining and quantisation give.

    :param model: made of the layers that :mod:`pyadmm.trace` lists; not changed. All training is
        done on the device that it is on.
    :param train_loader: batches ``(images, labels)``, or :class:`Images`; see :meth:`Images.of`.
    :param val_loader: the same, for every choice that is made on the way.
    :raises PyadmmError: before training for what is unsupported, unknown or impossible; during it
        if the loss is not finite.
    """
    data = Data(Images.of(train_loader), Images.of(val_loader))
    dense = to_network(model, config, _shape(data))
    common: dict[str, Any] = {
        "checkpoint_dir": checkpoint_dir,
        "progress": progress,
        "teacher": shared_teacher(dense, config),
    }
    pruned = admm_phase(dense, config, data, **common)
    tuned = retrain(pruned.network, config, data, **common)
    quantized = quantize(tuned.network, config, data, **common, name=name)
    integer = to_integer(quantized.network, data, name).model
    return smallest(integer) if config.most_bytes else integer


@dataclass(frozen=True)
class _Round:
    """What one round of ADMM aims at: the weights that each layer keeps, on levels if ``joint``."""

    counts: Mapping[str, int]
    matters: Mapping[str, Tensor]
    targets: Mapping[str, Target]
    joint: bool

    def projections(self, settings: AdmmSettings) -> list[Projection]:
        """One for each layer."""
        return [
            _projection(count, self.targets[name], self.matters[name], self.joint, settings)
            for name, count in self.counts.items()
        ]


def _whole_round(
    network: Network,
    targets: Mapping[str, Target],
    ratio: float,
    joint: bool,
    around: Surroundings,
) -> tuple[list[EpochRecord], str, Network]:
    """ADMM to ``ratio``, then masked retraining of what is left: epochs, outcome, network.

    A round that is finished is taken from its checkpoint as a whole; those of its phases, several
    times as large, are deleted.

    :param around: named by the round's number.
    """
    settings = around.settings
    whole, pruning, retraining = (
        replace(around, name=f"{part}-{around.name}") for part in ("round", "admm", "retrain")
    )
    kept = whole.phase(0, network, settings.admm, ratio, joint, targets).checkpoint
    ended = kept.load()
    if ended is not None:
        _forget(pruning, retraining)  # a run that was killed in between has not
        after = Network.from_state(ended["network"]).to(device_of(network))
        return records_of(ended["records"]), ended["outcome"], after
    matters = importance(network, around.data.train, settings.seed, settings.admm.curvature)
    counts = _counts(network, targets, settings, ratio, matters)
    aim = _Round(counts, matters, targets, joint)
    records, outcome = _admm_round(network, aim, pruning)
    network = network.shrink()
    records += train_masked(network, settings.admm.retraining, retraining)
    kept.save({"network": network.state(), "records": as_text(records), "outcome": outcome})
    _forget(pruning, retraining)
    return records, outcome, network


def _forget(*phases: Surroundings) -> None:
    """Delete the checkpoints of phases that a finished round stands for."""
    for phase in phases:
        Checkpoint(phase.folder, phase.name, "").remove()


def _admm_round(
    network: Network, aim: _Round, around: Surroundings
) -> tuple[list[EpochRecord], str]:
    """ADMM on ``network`` in place, ending with the hard projection."""
    settings = around.settings.admm
    layers = network.layers
    projections = aim.projections(settings)
    if settings.iterations == 0:
        for layer, project in zip(layers.values(), projections, strict=True):
            layer.apply_mask(project(layer.weight.detach()).mask)
        return [], "magnitude"
    weights = [layer.weight for layer in layers.values()]
    admm = Admm(weights, projections, settings.rho, settings.growth)
    plain = replace(settings.retraining, epochs=1)
    optimizer = make_optimizer([{"params": list(network.trainable())}], plain)
    trainer = around.trainer(network, plain, optimizer, admm.add_penalty_gradient)
    phase = around.phase(settings.iterations, network, settings, *vars(aim).values())
    nnz = sum(aim.counts.values())

    def w_step(number: int) -> float:
        where = f"{around.name}, iteration {number}"
        seed = phase.epoch_seed(number)
        network.train()
        loss = trainer.train(around.data.train, seed, where, lambda d: cosine(settings.lr, d))
        network.eval()
        return loss

    def iteration(number: int) -> tuple[dict[str, Any], bool]:
        loss = w_step(number)  # W := argmin f(W) + rho/2 |W - Z + U|^2
        moved = admm.z_and_u_step()  # Z := proj(W + U); U := U + W - Z
        if distributed.size() > 1:
            held = [(z.mask, z.values) for z in admm.z]
            distributed.agree("the projection Z", digest_of(held))
        right = _projected_accuracy(network, admm.z, around.data.validation)
        figures = {"loss": loss, "val_accuracy": right, "nnz": nnz, **vars(moved)}
        return figures, moved.below(settings.tolerance)

    parts: dict[str, Stateful] = {"network": network, "optimizer": optimizer, "admm": admm}
    records = phase.run(parts, iteration)
    for layer, z in zip(layers.values(), admm.z, strict=True):
        layer.apply_mask(z.mask)
    last = records[-1]
    ended = Residuals(last.primal or 0.0, last.dual or 0.0, last.rho or 0.0)
    return records, "converged" if ended.below(settings.tolerance) else "iteration limit"


def _projection(
    count: int, target: Target, matters: Tensor, joint: bool, settings: AdmmSettings
) -> Projection:
    """The projection of one layer: cardinality, living outputs, and levels if ``joint``."""
    bits, rows = target.weight_bits, target.outputs

    def project(w: Tensor) -> Kept:
        if rows is not None and rows < len(w):
            w = w * row_mask(w, count, rows)
        if settings.curvature > 0 or settings.crowding > 0:
            w = w * crowded_mask(w * matters, count, settings.crowding)
        if joint and count == w.numel():
            return Kept.of(project_levels(w, optimal_scale(w, bits), bits))
        if joint:
            return keep_joint(w, count, joint_scale(w, count, bits), bits)
        return keep_largest(w, count)

    return project


def _projected_accuracy(network: Network, z: Sequence[Kept], data: Images) -> float:
    """Validation accuracy with the weights at ``Z``."""
    weights = [layer.weight.data for layer in network.layers.values()]
    trained = [w.clone() for w in weights]
    for weight, kept in zip(weights, z, strict=True):
        weight.copy_(kept.dense())
    right = accuracy(lambda images: network(network.encode(images)), data)
    torch._foreach_copy_(weights, trained)
    return right


def importance(
    network: Network, images: Images, seed: int, curvature: float = 0.0
) -> dict[str, Tensor]:
    """How much a change of each weight matters, per unit of it: ``(w * importance)**2`` ranks them.

    From ``F``, the Fisher information on some training images. ``w**2 F / 2`` would be the
    second-order change of the loss when ``w`` is pruned, but that holds only nearby: far out it
    starves the large layers, as plain magnitude starves the small ones. With ``curvature`` 0 all
    weights of a layer count alike, by the power 1/4 of the layer's mean ``F``; else each by this
    power of its own. Measured in ``docs/admm.md``. Labels are drawn from the network's own
    predictions, so ``F`` does not vanish on a network that fits its data. A weight before a batch
    norm counts as what it is once the norm is folded.
    """
    factors = {name: layer.row_factor for name, layer in network.layers.items()}
    network = network.fold_norms()
    generator = torch.Generator().manual_seed(seed_of(seed, "fisher"))
    order = torch.randperm(len(images), generator=generator)[:_FISHER_IMAGES]
    layers = network.layers
    fisher = {name: torch.zeros_like(layer.mask) for name, layer in layers.items()}
    for index in order.split(_FISHER_BATCH):
        logits = network(network.encode(images.at(index)))
        shares = logits.detach().softmax(1).cpu()
        drawn = torch.multinomial(shares, 1, generator=generator)[:, 0]
        loss = F.cross_entropy(logits, drawn.to(logits.device))
        gradients = torch.autograd.grad(loss, [layer.weight for layer in layers.values()])
        for name, gradient in zip(layers, gradients, strict=True):
            fisher[name] += gradient.square()
    return {
        name: _importance(fisher[name], layer.mask, curvature) * factors[name]
        for name, layer in layers.items()
    }


def _importance(fisher: Tensor, mask: Tensor, curvature: float) -> Tensor:
    mean = fisher[mask > 0].mean()
    if curvature == 0:
        return (mean ** (_FISHER_POWER / 2)).expand_as(fisher)
    return (fisher + FISHER_FLOOR * mean) ** (curvature / 2)


def _counts(
    network: Network,
    targets: Mapping[str, Target],
    settings: CompressSettings,
    ratio: float,
    matters: Mapping[str, Tensor],
) -> dict[str, int]:
    """Weights that each layer keeps in a round whose global pruning ratio is ``ratio``."""
    layers = network.layers
    final = settings.pruning_ratio
    progress = math.log(ratio) / math.log(final) if final > 1 else 1.0
    counts = {}
    for name, target in targets.items():
        if target.ratio is not None:
            wanted = keep(layers[name].facts.spec.weights, partial_ratio(target.ratio, progress))
            counts[name] = min(wanted, layers[name].nnz)
    free = {
        name: (layer.weight.detach() * matters[name] * layer.mask).square()
        for name, layer in layers.items()
        if name not in counts
    }
    while free:
        budget = math.floor(network.weights / ratio) - sum(counts.values())
        total = max(len(free), min(budget, sum(layers[name].nnz for name in free)))
        shares = allocate(free, total)
        most = {
            name: keep(
                layers[name].facts.spec.weights, partial_ratio(targets[name].least, progress)
            )
            for name in free
        }
        done = {n: most[n] for n in free if shares[n] > most[n]} or shares
        counts |= done
        free = {name: values for name, values in free.items() if name not in done}
    return {name: counts[name] for name in layers}


def planned_ratios(network: Network, settings: CompressSettings, data: Data) -> dict[str, float]:
    """Each layer's pruning ratio if hardware did not matter."""
    targets = _targets(network, settings)
    matters = importance(network, data.train, settings.seed, settings.admm.curvature)
    counts = _counts(network, targets, settings, settings.pruning_ratio, matters)
    return {name: network.layers[name].facts.spec.weights / counts[name] for name in counts}


def living_weights(network: Network, settings: CompressSettings) -> dict[str, int]:
    """Weights of the outputs that may live, by layer."""
    specs = {name: layer.facts.spec for name, layer in network.layers.items()}
    most = {name: target.outputs for name, target in _targets(network, settings).items()}
    return {
        name: spec.weights // spec.outputs * min(most[name] or spec.outputs, spec.outputs)
        for name, spec in specs.items()
    }


def _respect_break_even(
    network: Network, targets: dict[str, Target], settings: CompressSettings, data: Data
) -> tuple[dict[str, Target], list[Decision]]:
    """Targets whose layers are dense or have ``ratio >= break_even``, and why.

    Only dense and raised layers get a ratio of their own: the rounds know better than the plan how
    the others should share what is left.
    """
    if not settings.break_even:
        return targets, []
    weights = {name: layer.facts.spec.weights for name, layer in network.layers.items()}
    ratios = planned_ratios(network, settings, data)
    decisions = plan_ratios(
        weights,
        ratios,
        settings.break_even,
        settings.pruning_ratio,
        living=living_weights(network, settings),
    )
    obeying = {
        d.layer: replace(targets[d.layer], ratio=d.ratio)
        if d.fixed
        else replace(targets[d.layer], least=d.floor or 1.0)
        for d in decisions
    }
    return obeying, decisions


def _targets(network: Network, settings: CompressSettings) -> dict[str, Target]:
    return layer_targets([layer.facts.spec for layer in network.layers.values()], settings)


def _fixed_layers(network: Network, settings: CompressSettings) -> list[str]:
    """Layers whose number of weights an exchange must not change."""
    targets = _targets(network, settings)
    bound = bool(settings.break_even)
    return [name for name, target in targets.items() if bound or target.ratio is not None]


def _teacher(teacher: Network | Teacher | None, settings: CompressSettings) -> Teacher | None:
    return shared_teacher(teacher, settings) if isinstance(teacher, Network) else teacher


def _shape(data: Data) -> tuple[int, int, int]:
    if data.train.shape != data.validation.shape:
        raise PyadmmError("data: training and validation images differ in shape")
    return data.train.shape
