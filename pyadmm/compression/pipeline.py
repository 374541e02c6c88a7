"""The compression pipeline: dense training, ADMM rounds, masked retraining, quantisation, integers.

The phases share one interface (:class:`~pyadmm.compression.phase.CompressionPhase`); the tuples
:data:`PRUNING`, :data:`RETRAINING` and :data:`QUANTIZATION` say which follow each other. Each is
resumable through ``checkpoint_dir``. :func:`compress` runs all of them for a trained model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyadmm.compression.adaptation import adapted, choose_ratio
from pyadmm.compression.admm_rounds import AdmmRounds, AdmmToLevels
from pyadmm.compression.boundary import Told, only_ours
from pyadmm.compression.budgets import targets_of
from pyadmm.compression.byte_budget import PruningBeforeLevels, PruningToBytes, smallest
from pyadmm.compression.collapse import collapse
from pyadmm.compression.continuous_admm import ContinuousAdmm
from pyadmm.compression.local_search import LocalSearch
from pyadmm.compression.phase import (
    CompressionPhase,
    PhaseContext,
    PhaseResult,
    make_optimizer,
    run_phases,
)
from pyadmm.compression.regrow import Regrowth
from pyadmm.compression.second_order_rounding import SecondOrderRounding
from pyadmm.compression.training_phases import (
    FoldedNorms,
    LevelTraining,
    MaskedRetraining,
    QuantizedTraining,
    WeightScales,
)
from pyadmm.container.fields import NAME_LIMIT
from pyadmm.core.errors import PyadmmError
from pyadmm.model import CompressedModel
from pyadmm.network.exported import first_line, logits_among, require_open, shape_read, unwrapped
from pyadmm.network.graph import Network
from pyadmm.network.input_encoding import (
    channel_gain,
    condition_input,
    input_spec,
    merge_normalisation,
)
from pyadmm.network.layers import WeightedStep
from pyadmm.network.steps import ShortcutStep, Step
from pyadmm.network.table_inputs import widen_into_tables
from pyadmm.network.to_integer import to_compressed
from pyadmm.network.trace import LOGIT_BITS, trace
from pyadmm.settings import CompressSettings, TrainSettings
from pyadmm.training.augmentation import Augmentation
from pyadmm.training.checkpoint import (
    Best,
    EpochRecord,
    Phase,
    Progress,
    Stateful,
)
from pyadmm.training.data import Data, Images, accuracy
from pyadmm.training.devices import device_of
from pyadmm.training.distillation import Teacher
from pyadmm.training.trainer import EpochTrainer, cosine, require_compilers

PRUNING: tuple[CompressionPhase, ...] = (AdmmRounds(), ContinuousAdmm())
RETRAINING: tuple[CompressionPhase, ...] = (Regrowth(), MaskedRetraining())
QUANTIZATION: tuple[CompressionPhase, ...] = (
    AdmmToLevels(),
    WeightScales(),
    PruningBeforeLevels(),
    LevelTraining(),
    FoldedNorms(),
    SecondOrderRounding(),
    QuantizedTraining(),
    LocalSearch(),
    PruningToBytes(),
)


@dataclass(frozen=True)
class IntegerResult:
    """The integer model and its accuracy on the validation split."""

    model: CompressedModel
    validation_accuracy: float


def train_dense(
    model: nn.Module,
    settings: CompressSettings,
    data: Data,
    *,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
    identity: str = "",
    ending: str = "",
) -> list[EpochRecord]:
    """Train ``model`` in place, as it stands, on inputs quantised as they will be on the chip.

    It is trained on the device that it is on, as all later phases are.

    The epoch with the best validation accuracy of the last third is kept.

    :param identity: digest of the model's computation. A checkpoint with another digest is ignored.
    :param ending: what the model does to its logits at the end (:attr:`Network.ending`). It is
        undone, because the loss takes logits.
    :raises PyadmmError: where the model fails in training mode.
    """
    train = settings.dense
    encoder, forward = _on_codes(model, settings, data, ending)
    trainer = _dense_trainer(model, train, encoder, forward)
    best = Best()
    parts: dict[str, Stateful] = {"network": model, "optimizer": trainer.optimizer, "best": best}
    start = (
        *(settings.dense, settings.input, data.digests, settings.seed, identity),
        model.state_dict(),
    )
    phase = Phase("dense", "dense", train.epochs, settings.seed, start, checkpoint_dir, progress)
    weights = sum(p.numel() for p in model.parameters() if p.ndim > 1)

    def epoch(number: int) -> tuple[dict[str, Any], bool]:
        _to_training_mode(model)
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


def _on_codes(
    model: nn.Module, settings: CompressSettings, data: Data, ending: str
) -> tuple[Network, Callable[[Tensor], Tensor]]:
    """Two functions: images to input codes of the chip, and such codes to the logits of ``model``."""
    spec = input_spec(settings.input, _shape(data))
    encoder = Network(spec, []).to(device_of(model))
    scale = (spec.format.scale * channel_gain(settings.input)).to(device_of(model))
    shape = shape_read(model, spec.shape)

    def forward(codes: Tensor) -> Tensor:
        return logits_of(model, (codes * scale).reshape(len(codes), *shape), ending)

    return encoder, forward


def _dense_trainer(
    model: nn.Module,
    train: TrainSettings,
    encoder: Network,
    forward: Callable[[Tensor], Tensor],
) -> EpochTrainer:
    """A trainer of all parameters of ``model``, whose weights it lays out by channels."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return EpochTrainer(
        forward,
        encoder.encode,
        make_optimizer([{"params": list(model.parameters())}], train),
        train.batch_size,
        Augmentation.of(train),
        precision=train.precision,
        module=model,
    )


_UNDONE: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda y: y.clamp_min(torch.finfo(y.dtype).tiny).log(),
    "sigmoid": lambda y: y.logit(eps=1e-6),
    "tanh": lambda y: y.clamp(-1 + 1e-6, 1 - 1e-6).atanh(),
}
"""From what the end of a network gives back to its logits."""


def logits_of(model: nn.Module, inputs: Tensor, ending: str = "") -> Tensor:
    """Logits ``(N, classes)`` that the user's ``model`` gives, whatever it wraps them in.

    Of several results, as networks with auxiliary classifiers give in training, those of
    :func:`~pyadmm.network.exported.logits_among` count.

    :raises PyadmmError: where it fails; any exception of it becomes ours.
    """
    try:
        given = logits_among(model(inputs))
        return _UNDONE.get(ending, lambda y: y)(given.flatten(1))
    except PyadmmError:
        raise
    except Exception as error:  # foreign code
        mode = "training" if model.training else "evaluation"
        raise PyadmmError(
            f"model {type(model).__name__}: its forward fails in {mode} mode on a batch of shape "
            f"{tuple(inputs.shape)}: {type(error).__name__}: {first_line(error)}"
        ) from error


def _to_training_mode(model: nn.Module) -> None:
    try:
        model.train()
    except NotImplementedError as error:  # of modules that torch.export made
        raise PyadmmError(
            f"model {type(model).__name__}: an exported module cannot be trained; give the module "
            "from which it was made, or the file of its trained weights"
        ) from error


def to_network(
    model: nn.Module, settings: CompressSettings, shape: tuple[int, int, int]
) -> Network:
    """Trace ``model`` and give every layer its bits.

    :raises PyadmmError: for unsupported layers, unknown layer names, impossible targets; and if
        ``settings`` want compiled code and there can be none here.
    """
    network = _traced(model, settings, shape)
    set_widths(network, settings)
    return network


def to_adapted(
    model: nn.Module, settings: CompressSettings, shape: tuple[int, int, int]
) -> tuple[Network, CompressSettings]:
    """:func:`to_network` with settings that suit the network, and these (:func:`adapted`)."""
    network = _traced(model, settings, shape)
    settings = adapted(settings, network)
    set_widths(network, settings)
    return network, settings


def _traced(model: nn.Module, settings: CompressSettings, shape: tuple[int, int, int]) -> Network:
    require_compilers(
        device_of(model),
        dynamo=settings.compiled,
        native=settings.sparse,
        annealing=settings.rounding.candidates > 0,
    )
    return to_teacher(model, settings, shape)


def to_teacher(
    model: nn.Module, settings: CompressSettings, shape: tuple[int, int, int]
) -> Network:
    """Trace ``model`` as a teacher of networks that read the same input; it is never quantised.

    :raises PyadmmError: for unsupported layers.
    """
    model = unwrapped(model)
    _require_finite(model)
    network = trace(model, input_spec(settings.input, shape))
    _require_weights(network)
    merge_normalisation(network, settings.input)
    condition_input(network)
    return network


_EXTREME = 1e18


def _require_weights(network: Network) -> None:
    """Refuse what no file and no scale can be made of."""
    for step in network.chain:
        length = len(step.name.encode("utf-8", "surrogatepass"))
        if length > NAME_LIMIT:
            raise PyadmmError(
                f"layer {step.name[:40]}…: its name must have at most {NAME_LIMIT} bytes, not "
                f"{length}; give it a shorter one"
            )
    for name, layer in network.layers.items():
        if layer.weight.is_meta:
            continue
        largest = float(layer.weight.detach().abs().max())
        if largest == 0:
            raise PyadmmError(
                f"layer {name}: all of its weights are 0, so it computes nothing; train it, or "
                "leave it out of the model"
            )
        if not 1 / _EXTREME < largest < _EXTREME:
            raise PyadmmError(
                f"layer {name}: the largest of its weights is {largest:.3g}; it must be between "
                f"{1 / _EXTREME:g} and {_EXTREME:g}, as squares of weights are computed in float32; "
                "train it anew, or move its scale into the layer behind it"
            )


def _require_finite(model: nn.Module) -> None:
    """Refuse weights and statistics that are no numbers, and variances that have no root."""
    require_open(model)
    for path, module in model.named_modules():
        variance, eps = getattr(module, "running_var", None), getattr(module, "eps", 0.0)
        if isinstance(variance, Tensor) and not variance.is_meta and bool((variance < -eps).any()):
            raise PyadmmError(
                f"layer {path}: its running_var holds {float(variance.min()):.3g}, but a variance "
                "is never negative; load other weights"
            )
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.is_meta:
            continue
        if not bool(torch.isfinite(tensor).all()):
            layer, _, kind = name.rpartition(".")
            raise PyadmmError(
                f"layer {layer or name}: its {kind} holds values that are not finite (NaN or "
                "infinite); train the model again or load other weights"
            )


def shared_teacher(network: Network, settings: CompressSettings) -> Teacher:
    """``network`` as the teacher of several phases, which share its cached logits."""
    folded = network.fold_norms()
    distill = settings.distill
    return Teacher(folded, folded.encode, distill.averaged_shifts, distill.precision)


def set_widths(network: Network, settings: CompressSettings) -> None:
    """Give every layer of ``network`` the bits that ``settings`` say, in place.

    :raises PyadmmError: for unknown layer names and impossible targets.
    """
    targets = targets_of(network, settings)
    for name, layer in network.layers.items():
        target = targets[name]
        layer.facts = replace(
            layer.facts,
            weight_bits=target.weight_bits,
            activation_bits=target.activation_bits,
            bias_fraction_bits=target.bias_fraction_bits,
        )
    last = network.chain[-1]
    if isinstance(last, WeightedStep) and not last.facts.last:
        last.facts = replace(last.facts, activation_bits=LOGIT_BITS)
    for step in network.chain:
        if step is not last and not isinstance(step, WeightedStep | ShortcutStep):
            step.facts = replace(step.facts, activation_bits=settings.activation_bits)
        _require_format(step)
    widen_into_tables(network)


def _require_format(step: Step) -> None:
    """Refuse widths that no number format has before anything is trained."""
    try:
        _ = step.output
    except PyadmmError as error:
        raise PyadmmError(
            f"layer {step.name}: activation_bits must be at least 2 where no ReLU follows, as "
            f"negative values need a sign; raise it ({error})"
        ) from error


def output_count(network: Network) -> int:
    """Number of outputs of ``network``, which are its classes."""
    codes = network.encode(torch.zeros(1, *network.input.shape, dtype=torch.uint8))
    with torch.no_grad():
        return int(network(codes).shape[1])


def admm_phase(
    network: Network,
    settings: CompressSettings,
    data: Data,
    *,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
    teacher: Network | Teacher | None = None,
) -> PhaseResult:
    """Prune ``network`` by ADMM: in one run whose target tightens, or in progressive rounds.

    ``network`` is not changed. It may be pruned already: its pruned weights stay pruned.

    :param teacher: whose logits are distilled, ``network`` itself by default. A :class:`Teacher`
        keeps its logits, so one that several phases share computes them once.
    """
    own = _teacher(network if teacher is None else teacher, settings)
    context = PhaseContext("", settings, data, own, checkpoint_dir, progress)
    return run_phases(PRUNING, network, context)


def retrain(
    network: Network,
    settings: CompressSettings,
    data: Data,
    *,
    checkpoint_dir: Path | None = None,
    progress: Progress | None = None,
    teacher: Network | Teacher | None = None,
) -> PhaseResult:
    """Masked retraining in floats, after weights were regrown if ``settings`` want that."""
    own = _teacher(teacher, settings)
    context = PhaseContext("", settings, data, own, checkpoint_dir, progress)
    return run_phases(RETRAINING, network, context)


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

    If ``settings`` want it, ADMM pulls the weights to levels first. While batch norms still learn,
    only the weights are at their levels. Then the norms are folded, and the network computes with
    the very integers of the chip. If ``settings`` want a rounding, it takes the place of both; a
    local search may follow.

    :param name: name of the model in the file whose size ``settings`` may limit.
    """
    own = _teacher(teacher, settings)
    context = PhaseContext("", settings, data, own, checkpoint_dir, progress, name)
    return run_phases(QUANTIZATION, network, context)


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
    """Prune and quantise the trained ``model`` with ADMM, and return the integer model.

    A ``UserWarning`` says what tracing left out, such as a softmax at the end. Another one says that two
    points of accuracy or more are lost, and names the setting to relax.

    :param model: a module of the operations that :mod:`pyadmm.network.trace` lists. It is not
        changed. Training runs on the device that it is on.
    :param config: all settings; :func:`pyadmm.settings.preset` and :func:`pyadmm.settings.from_dict`
        make them.
    :param train_loader: batches ``(images, labels)``, or :class:`Images`; see :meth:`Images.of`.
    :param val_loader: the same, for every choice during the compression.
    :param name: name of the network.
    :param checkpoint_dir: folder for the state of every phase, from which the same call continues;
        ``None``: nothing is kept.
    :param progress: called with the record of every epoch and the number of epochs of its phase.
    :raises PyadmmError: before training for what is unsupported, unknown or impossible; during
        training if the loss is not finite. Other exceptions come only from ``progress``.
    """
    told = Told(progress)
    with only_ours("compress", told.failures):
        _require_arguments(model, config)
        model = unwrapped(model)
        data = Data(Images.of(train_loader), Images.of(val_loader))
        dense, config = to_adapted(model, config, _shape(data))
        for note in dense.notes:
            warnings.warn(f"model: {note}", stacklevel=2)
        data.require_labels(output_count(dense))
        common: dict[str, Any] = {
            "checkpoint_dir": None if checkpoint_dir is None else Path(checkpoint_dir),
            "progress": told,
            "teacher": shared_teacher(dense, config),
        }
        config = choose_ratio(dense, config, data, **common).settings
        pruned = admm_phase(dense, config, data, **common)
        tuned = retrain(pruned.network, config, data, **common).network
        quantized = quantize(tuned, config, data, **common, name=name)
        integer = to_integer(quantized.network, data, name)
        lost = _collapse(dense, tuned, integer, data.validation)
        if lost is not None:
            warnings.warn(lost, stacklevel=2)
        return smallest(integer.model) if config.most_bytes else integer.model


def _require_arguments(model: object, config: object) -> None:
    if not isinstance(config, CompressSettings):
        raise PyadmmError(
            f"settings: must be CompressSettings, not {type(config).__name__}; make them by "
            "pyadmm.settings.preset or from_dict"
        )
    for name, parameter in unwrapped(model).named_parameters():
        if parameter.is_meta:
            raise PyadmmError(
                f"model: {name} is on the meta device, which holds no values; load the weights on "
                "the CPU or a GPU"
            )


def _collapse(dense: Network, tuned: Network, integer: IntegerResult, images: Images) -> str | None:
    """The warning where accuracy on ``images`` is lost."""
    before, between = (
        accuracy(lambda x, n=network: n(n.encode(x)), images)  # type: ignore[misc]
        for network in (dense, tuned)
    )
    after = integer.validation_accuracy
    return collapse(before, after, images.labels.numpy(), (before, between, after))


def _teacher(teacher: Network | Teacher | None, settings: CompressSettings) -> Teacher | None:
    return shared_teacher(teacher, settings) if isinstance(teacher, Network) else teacher


def _shape(data: Data) -> tuple[int, int, int]:
    if data.train.shape != data.validation.shape:
        raise PyadmmError("data: training and validation images differ in shape")
    return data.train.shape
