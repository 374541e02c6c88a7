"""All settings of a compression, as frozen data classes; the presets; YAML in and out.

A setting is checked where it is made, so what reaches the training is possible. What depends on the
network (unknown layers, a layer left without weights) is checked by
:func:`pyadmm.compression.schedule.layer_targets`, before any training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pyadmm.core.errors import PyadmmError


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise PyadmmError(message)


def _check_precision(where: str, precision: str) -> None:
    known = "float32", "bfloat16"
    _require(
        precision in known, f"{where}: precision must be {' or '.join(known)}, not {precision!r}"
    )


def _check_optimizer(where: str, optimizer: str) -> None:
    known = "adam", "sgd"
    _require(
        optimizer in known, f"{where}: optimizer must be {' or '.join(known)}, not {optimizer!r}"
    )


@dataclass(frozen=True)
class LayerTarget:
    """Targets of the layers whose name matches ``pattern`` (``fnmatch``).

    ``None`` leaves the choice to the global settings. Of several matching entries, the last one
    with a value decides.

    :param ratio: pruning ratio, dense weights over weights that are left; 1 keeps the layer dense.
    :param weight_bits: ``n`` of the ``2**n`` levels, 1 to 8.
    :param activation_bits: bits of the outputs, 1 to 8.
    :param outputs: most output channels (filters, neurons) that may keep weights.
    :param bias_fraction_bits: a bias is a multiple of ``2**-f`` output steps (``f`` may be
        negative: of several steps); fewer bits make a smaller file.
    :param sparsity: pattern of the remaining weights, ``unstructured`` or ``balanced``.
    :param window: positions of a window of a balanced pattern.
    :param lockstep: output channels with equally many weights in each window.
    :param fill: share of a balanced pattern's places that hold a weight.
    """

    pattern: str
    ratio: float | None = None
    weight_bits: int | None = None
    activation_bits: int | None = None
    outputs: int | None = None
    bias_fraction_bits: int | None = None
    sparsity: str | None = None
    window: int | None = None
    lockstep: int | None = None
    fill: float | None = None

    def __post_init__(self) -> None:
        where = f"settings, layer {self.pattern!r}"
        _require(bool(self.pattern), "settings: a layer's pattern must not be empty")
        _require(self.ratio is None or self.ratio >= 1, f"{where}: ratio must be at least 1")
        _require(self.outputs is None or self.outputs >= 1, f"{where}: outputs must be at least 1")
        _check_bits(where, "weight_bits", self.weight_bits)
        _check_bits(where, "activation_bits", self.activation_bits)
        _check_fraction(where, self.bias_fraction_bits)
        _check_sparsity(where, self)


@dataclass(frozen=True)
class InputSettings:
    """Encoding of bytes as the numbers that the float network was trained on.

    ``x = (byte - offset) * scale / 255``, cut to ``bits`` by a right shift of ``8 - bits``. A
    network trained on pixels in 0 … 1 has the defaults ``offset`` 0, ``scale`` 1.

    :param bits: width of the network's input.
    :param offset: one byte, or one per channel.
    :param scale: factor of the pixels.
    :param mean: with ``std``, a normalisation ``(byte / 255 - mean) / std`` per channel that the
        network was trained with, as torchvision writes it. It is merged into the first layer; the
        remainder becomes ``offset`` and ``scale``, which must then keep their defaults.
    """

    bits: int = 4
    offset: tuple[int, ...] = (0,)
    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_bits("settings, input", "bits", self.bits)
        _require(self.scale > 0, f"settings, input: scale must be positive, not {self.scale}")
        _require(len(self.mean) == len(self.std), "settings, input: mean and std must be as long")
        _require(all(s > 0 for s in self.std), "settings, input: std must be positive")
        plain = self.offset == (0,) and self.scale == 1.0
        _require(not self.mean or plain, "settings, input: give mean and std, or offset and scale")


@dataclass(frozen=True)
class TrainSettings:
    """One plain training phase, in which the learning rate falls from ``lr`` to 0.

    :param epochs: number of passes over the training images.
    :param lr: highest learning rate, after a short warm-up.
    :param batch_size: images of a step, those of all processes together.
    :param shift_pixels: images are shifted at random by at most this many pixels.
    :param weight_decay: factor of the optimizer's weight decay.
    :param precision: of products: ``float32``, or ``bfloat16`` (sums and weights stay float32),
        which is faster and gives other weights; float32 where the processor cannot multiply it.
        With ``sparse`` products stay float32, and the maps between layers are kept in bfloat16.
    :param flip: images are mirrored left to right, at random.
    :param optimizer: ``adam``, or ``sgd`` with Nesterov's momentum of 0.9, for networks with norms.
    :param distort: images are turned, stretched and sheared at random by the linear map ``I + E``,
        the entries of ``E`` uniform in ``-distort … distort``.
    :param cutmix: share of the images in which a rectangle of another image covers a part. Only the
        teacher can label them, so ``distill`` must have weight 1 and averaged_shifts 0.
    """

    epochs: int
    lr: float
    batch_size: int = 128
    shift_pixels: int = 0
    weight_decay: float = 0.0
    precision: str = "float32"
    flip: bool = False
    optimizer: str = "adam"
    distort: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        _require(self.epochs >= 0, f"settings: epochs must not be negative, but is {self.epochs}")
        _require(self.lr > 0, f"settings: lr must be positive, not {self.lr}")
        _require(self.batch_size >= 1, "settings: batch_size must be at least 1")
        _require(0 <= self.shift_pixels <= 8, "settings: shift_pixels must be 0 to 8")
        _require(0 <= self.distort <= 0.5, "settings: distort must be 0 to 0.5")
        _require(0 <= self.cutmix <= 1, "settings: cutmix must be 0 to 1")
        _check_precision("settings", self.precision)
        _check_optimizer("settings", self.optimizer)


@dataclass(frozen=True)
class QuantizeSettings(TrainSettings):
    """Retraining with quantised weights and activations; weights are frozen in rounds.

    ``epochs``, ``lr``, ``batch_size``, ``shift_pixels``, ``weight_decay``, ``precision``, ``flip``,
    ``optimizer``, ``distort`` and ``cutmix`` are as in :class:`TrainSettings`.

    :param freeze_from: share of the epochs after which freezing starts; 1 freezes nothing. From
        there to the last epoch, a growing share of the weights, those nearest to their level, stays
        at it for good while the others go on learning.
    """

    freeze_from: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(0 <= self.freeze_from <= 1, "settings, quantize: freeze_from must be 0 to 1")
        _require(
            self.precision == "float32",
            f"settings, quantize: precision must be float32, not {self.precision!r}: codes are "
            "integers, which bfloat16 rounds",
        )

    def frozen_share(self, epoch: int) -> float:
        """Share of the weights that is frozen after ``epoch`` (counted from 0) is trained.

        >>> QuantizeSettings(6, 1e-3, freeze_from=0.5).frozen_share(3)
        0.5
        """
        first = self.freeze_from * self.epochs
        if epoch + 1 < first or self.freeze_from == 1:
            return 0.0
        return min(1.0, (epoch + 2 - first) / (self.epochs - first + 1))


@dataclass(frozen=True)
class AdmmSettings:
    """ADMM: ``rounds`` of progressive pruning, each some iterations and a masked retraining.

    An iteration is one epoch on ``f(W) + sum rho/2 |W - Z + U|^2``, then ``Z = proj(W + U)``, then
    ``U += W - Z`` (ADMM-NN, section 3). ``lr``, ``batch_size``, ``shift_pixels``, ``precision``,
    ``flip``, ``optimizer``, ``distort`` and ``cutmix`` are as in :class:`TrainSettings`. With 0
    rounds ``continuous`` prunes; it takes these, ``first_ratio``, ``tolerance``, ``curvature`` and
    ``crowding`` from here.

    :param first_ratio: global pruning ratio of the first round; the rounds between it and the
        target grow geometrically.
    :param iterations: most ADMM iterations of a round; 0 prunes by magnitude instead.
    :param rho: penalty at the start of a round; it grows by ``growth`` per iteration.
    :param tolerance: a round ends early once both residuals, relative to the norm of W, are below.
    :param retrain_epochs: masked epochs that end a round.
    :param curvature: power of a weight's own Fisher information in its rank, 1 being a second-order
        model of the loss; 0 ranks a layer's weights by magnitude.
    :param crowding: how much the projections favour entries in crowded rows and columns, whose
        positions cost fewer bytes: magnitudes count ``(row's non-zeros * column's)**crowding``.
    :param joint: the last round projects onto levels as well as onto the number of weights.
    :param level_iterations: most ADMM iterations that pull the weights that are left to levels,
        after the masked retraining (ADMM-NN section 3.4.2); 0 leaves that phase out.
    """

    rounds: int = 3
    first_ratio: float = 10.0
    iterations: int = 4
    rho: float = 3e-3
    growth: float = 1.3
    tolerance: float = 1e-3
    retrain_epochs: int = 2
    lr: float = 1e-3
    batch_size: int = 128
    shift_pixels: int = 0
    precision: str = "float32"
    curvature: float = 0.0
    crowding: float = 0.0
    flip: bool = False
    optimizer: str = "adam"
    distort: float = 0.0
    cutmix: float = 0.0
    joint: bool = True
    level_iterations: int = 0

    def __post_init__(self) -> None:
        _require(self.rounds >= 0, f"settings, admm: rounds must not be negative: {self.rounds}")
        _require(self.iterations >= 0, "settings, admm: iterations must not be negative")
        _require(
            self.level_iterations >= 0, "settings, admm: level_iterations must not be negative"
        )
        _require(self.retrain_epochs >= 0, "settings, admm: retrain_epochs must not be negative")
        _require(self.first_ratio >= 1, "settings, admm: first_ratio must be at least 1")
        for name in ("rho", "lr", "tolerance"):
            _require(getattr(self, name) > 0, f"settings, admm: {name} must be positive")
        _require(self.growth >= 1, f"settings, admm: growth must be at least 1, not {self.growth}")
        _require(self.batch_size >= 1, "settings, admm: batch_size must be at least 1")
        _require(0 <= self.shift_pixels <= 8, "settings, admm: shift_pixels must be 0 to 8")
        _require(0 <= self.distort <= 0.5, "settings, admm: distort must be 0 to 0.5")
        _require(0 <= self.cutmix <= 1, "settings, admm: cutmix must be 0 to 1")
        _require(0 <= self.curvature <= 1, "settings, admm: curvature must be 0 to 1")
        _require(0 <= self.crowding <= 2, "settings, admm: crowding must be 0 to 2")
        _check_precision("settings, admm", self.precision)
        _check_optimizer("settings, admm", self.optimizer)

    @property
    def retraining(self) -> TrainSettings:
        """The masked retraining that ends a round."""
        return TrainSettings(
            self.retrain_epochs,
            self.lr,
            self.batch_size,
            self.shift_pixels,
            precision=self.precision,
            flip=self.flip,
            optimizer=self.optimizer,
            distort=self.distort,
            cutmix=self.cutmix,
        )


@dataclass(frozen=True)
class ContinuousSettings:
    """One uninterrupted ADMM in place of the rounds: the target tightens, ``Z`` and ``U`` live on.

    First and last pruning ratio, training, ``curvature`` (of the metric that the Z-step measures
    distances in) and ``crowding`` are those of ``admm``.

    :param epochs: of training in all; 0 leaves pruning to the rounds.
    :param rho: penalty in the metric of the optimizer (:meth:`pyadmm.admm.solver.Admm.pull`): where
        the loss does not hold it, ``exp(-n * lr * rho)`` of a weight outside ``Z`` is left after
        ``n`` batches.
    :param growth: of ``rho`` at every Z- and U-step once the target stays.
    :param updates: Z- and U-steps in an epoch. ``W`` must be able to follow: with too many of them
        ``U`` grows faster than the learning rate lets ``W`` move, and ``Z`` swings.
    :param ramp: share of the epochs in which the target tightens. In the rest it stays, and the
        learning rate falls, so that both residuals do.
    :param levels_from: share of the epochs after which ``Z`` is on levels as well; 1: never.
    :param slack: weights that may come back, in units of those in ``Z``; the others are pruned.
    :param relaxation: over-relaxation of the Z- and U-step, 1 to 2.
    :param follow: until levels count, the non-zeros of ``Z`` follow ``W`` between Z-steps, so that
        the penalty acts on the other weights alone and does not hold these back.
    :param balance: factor by which ``rho`` follows the ratio of the residuals; 1 keeps ``rho``.
    :param memory: share of ``U`` that a Z- and U-step keeps: 1 is ADMM, 0 a penalty without
        multipliers.
    """

    epochs: int = 0
    rho: float = 30.0
    growth: float = 1.08
    updates: int = 8
    ramp: float = 0.6
    levels_from: float = 1.0
    slack: float = 3.0
    relaxation: float = 1.0
    balance: float = 1.0
    memory: float = 1.0
    follow: bool = True

    def __post_init__(self) -> None:
        where = "settings, continuous"
        _require(self.epochs >= 0, f"{where}: epochs must not be negative: {self.epochs}")
        _require(self.rho > 0, f"{where}: rho must be positive, not {self.rho}")
        _require(self.growth >= 1, f"{where}: growth must be at least 1, not {self.growth}")
        _require(self.updates >= 1, f"{where}: updates must be at least 1, not {self.updates}")
        _require(0 < self.ramp < 1, f"{where}: ramp must be above 0 and below 1, not {self.ramp}")
        _require(0 <= self.levels_from <= 1, f"{where}: levels_from must be 0 to 1")
        _require(self.slack >= 1, f"{where}: slack must be at least 1, not {self.slack}")
        _require(1 <= self.relaxation < 2, f"{where}: relaxation must be at least 1, below 2")
        _require(self.balance >= 1, f"{where}: balance must be at least 1, not {self.balance}")
        _require(0 <= self.memory <= 1, f"{where}: memory must be 0 to 1, not {self.memory}")


@dataclass(frozen=True)
class RegrowSettings:
    """Exchange of weights after ADMM: pruned weights come back, the least useful ones go.

    :param cycles: how often; with 0 nothing is regrown.
    :param share: of the weights that come back in a cycle; as many are pruned again.
    :param grow_epochs: training with the weights that have come back.
    :param prune_epochs: epochs that follow, with a part of the pruning before each.
    :param lr: learning rate; it falls while weights are pruned. All else is as in ``retrain``.
    """

    cycles: int = 0
    share: float = 0.05
    grow_epochs: int = 4
    prune_epochs: int = 4
    lr: float = 1.5e-3

    def __post_init__(self) -> None:
        where = "settings, regrow"
        _require(self.cycles >= 0, f"{where}: cycles must not be negative: {self.cycles}")
        _require(0 < self.share <= 1, f"{where}: share must be above 0, at most 1")
        _require(self.grow_epochs >= 1, f"{where}: grow_epochs must be at least 1")
        _require(self.prune_epochs >= 1, f"{where}: prune_epochs must be at least 1")
        _require(self.lr > 0, f"{where}: lr must be positive, not {self.lr}")


@dataclass(frozen=True)
class RoundingSettings:
    """All levels at once, without training, by a second-order model of the loss.

    For small pruned networks: time and memory grow with the square of their weights.

    :param candidates: number of roundings; the one with the least loss on augmented
        training images is kept. 0 leaves the levels to the epochs of ``quantize_norms`` and
        ``quantize``, which this replaces.
    :param damping: added to the curvature's diagonal, relative to it: the less a model that holds
        nearby is trusted far away. Some candidates take half and twice as much.
    :param images: training images, augmented as in ``quantize``, for measuring the curvature.
    """

    candidates: int = 0
    damping: float = 0.1
    images: int = 60_000

    def __post_init__(self) -> None:
        where = "settings, rounding"
        count = self.candidates
        _require(count >= 0, f"{where}: candidates must not be negative: {count}")
        _require(self.damping > 0, f"{where}: damping must be positive, not {self.damping}")
        _require(self.images >= 1, f"{where}: images must be at least 1, not {self.images}")


@dataclass(frozen=True)
class LocalSearchSettings:
    """Search around a quantised network: some weights leave their levels, are trained and settle.

    The result of a cycle is kept if its loss on augmented training images is lower (large neighbourhood
    search: Shaw, CP 1998).

    :param cycles: number of cycles; 0 leaves the network unchanged.
    :param epochs: training in a cycle; after each, weights settle, after the last one all of them.
    :param share: share of the weights that leave their levels in a cycle.
    :param lr: highest learning rate of a cycle.
    """

    cycles: int = 0
    epochs: int = 2
    share: float = 0.1
    lr: float = 4e-3

    def __post_init__(self) -> None:
        _require(
            self.cycles >= 0, f"settings, local_search: cycles must not be negative: {self.cycles}"
        )
        _require(
            self.epochs >= 1, f"settings, local_search: epochs must be at least 1: {self.epochs}"
        )
        _require(0 < self.share <= 1, "settings, local_search: share must be above 0, at most 1")
        _require(self.lr > 0, f"settings, local_search: lr must be positive, not {self.lr}")


@dataclass(frozen=True)
class DistillSettings:
    """Distillation from the dense network: ``(1 - weight) CE + weight T^2 KL(dense | pruned)``.

    :param weight: weight of the teacher in the loss, 0 to 1.
    :param temperature: ``T``, which softens the logits.
    :param averaged_shifts: an image's goal is the mean of the dense network's logits over all
        shifts of it by at most this many pixels; 0 takes the logits of the image as it is trained
        on.
    :param cached_augmentations: augmentations of every image that are kept, one of which an epoch
        uses, so that the dense network's logits of these very images are computed once for each
        (where 256 MB hold them); 0: in a new way in every epoch. Needs ``averaged_shifts`` 0.
    :param precision: of the dense network's products, as in :class:`TrainSettings`: ``bfloat16``
        halves the time that its logits take and moves them a little.
    """

    weight: float = 0.7
    temperature: float = 4.0
    averaged_shifts: int = 0
    cached_augmentations: int = 0
    precision: str = "float32"

    def __post_init__(self) -> None:
        _require(0 <= self.weight <= 1, "settings, distill: weight must be 0 to 1")
        _require(self.temperature > 0, "settings, distill: temperature must be positive")
        _require(
            0 <= self.averaged_shifts <= 8, "settings, distill: averaged_shifts must be 0 to 8"
        )
        _require(
            self.cached_augmentations >= 0,
            "settings, distill: cached_augmentations must not be negative",
        )
        _check_precision("settings, distill", self.precision)
        _require(
            not (self.averaged_shifts and self.cached_augmentations),
            "settings, distill: averaged_shifts and cached_augmentations exclude each other; set one of them to 0",
        )


ADAPTABLE = (
    *("pruning_ratio", "filters_kept", "neurons_kept"),
    *("weight_bits", "activation_bits", "training"),
)
"""Settings that a preset may leave to be chosen for the network."""


@dataclass(frozen=True)
class CompressSettings:
    """All settings of a compression.

    A setting of a layer (``weight_bits`` to ``fill`` below) holds for all layers for which
    ``layers`` has no other value.

    :param pruning_ratio: global target; layers without their own ratio share it.
    :param weight_bits: ``n`` of the ``2**n`` levels.
    :param activation_bits: width of hidden activations.
    :param bias_fraction_bits: a bias is a multiple of ``2**-f`` output steps.
    :param mult_bits: significant bits of a requantiser's multiplier.
    :param sparsity: pattern of the remaining weights: ``unstructured``, or ``balanced``, which an
        array in lock step runs without gaps (:mod:`pyadmm.admm.balanced`).
    :param window: positions of a window of a balanced pattern.
    :param lockstep: output channels with equally many weights in each window.
    :param fill: share of a balanced pattern's places that hold a weight; below 1 it takes more steps
        for as many weights, and loses less accuracy.
    :param filters_kept: largest share of a hidden convolution's filters that may keep weights;
        fewer active filters train faster and make positions cheaper to store.
    :param neurons_kept: the same for a hidden linear layer.
    :param seed: seed of all random numbers.
    :param input: encoding of the network's input.
    :param layers: targets of single layers.
    :param break_even: layer -> least pruning ratio at which its sparse hardware pays off.
    :param dense: training of the dense network.
    :param continuous: one uninterrupted ADMM instead of the rounds of ``admm``.
    :param regrow: regrowing of pruned weights between ADMM and ``retrain``.
    :param retrain: masked retraining after ADMM, float.
    :param quantize_norms: masked retraining with quantised weights while batch norms still learn,
        for networks that have some; after it they are folded.
    :param quantize: masked retraining with quantised weights and activations.
    :param rounding: second-order rounding instead of both, for small pruned networks; needs a C++
        compiler.
    :param local_search: local search over the levels after that.
    :param most_bytes: largest size of the ``.admm`` file. The least useful weights are removed
        until it fits, and so are the scales of the weights, which only reports read. 0: no limit.
    :param distill: distillation from the dense network or a larger teacher.
    :param adapt: what is chosen for the network, if it is another one than the preset was made for:
        fields of these settings, and ``training`` (learning rates, epochs and shifts). The pruning
        ratio is found by short trials. What you set yourself is not changed.
    :param compiled: float phases after ``dense`` run through ``torch.compile``, which is faster on
        networks with norms and sums, needs a C++ compiler and rounds differently.
    :param sparse: on the CPU, phases after ``dense`` multiply only by non-zero weights and distort
        images in compiled code. This is several times faster on pruned networks, needs a C++
        compiler, and rounds real numbers differently; integers are the same.
    """

    pruning_ratio: float = 85.0
    weight_bits: int = 3
    activation_bits: int = 4
    bias_fraction_bits: int = 2
    mult_bits: int = 16
    filters_kept: float = 1.0
    neurons_kept: float = 1.0
    sparsity: str = "unstructured"
    window: int = 3
    lockstep: int = 8
    fill: float = 1.0
    seed: int = 0
    input: InputSettings = field(default_factory=InputSettings)
    layers: tuple[LayerTarget, ...] = ()
    break_even: Mapping[str, float] = field(default_factory=dict)
    dense: TrainSettings = TrainSettings(epochs=10, lr=2e-3)
    admm: AdmmSettings = field(default_factory=AdmmSettings)
    continuous: ContinuousSettings = field(default_factory=ContinuousSettings)
    regrow: RegrowSettings = field(default_factory=RegrowSettings)
    retrain: TrainSettings = TrainSettings(epochs=8, lr=2e-3)
    quantize_norms: TrainSettings = TrainSettings(epochs=0, lr=1e-3)
    quantize: QuantizeSettings = QuantizeSettings(epochs=15, lr=1e-3)
    rounding: RoundingSettings = field(default_factory=RoundingSettings)
    local_search: LocalSearchSettings = field(default_factory=LocalSearchSettings)
    most_bytes: int = 0
    distill: DistillSettings = field(default_factory=DistillSettings)
    adapt: tuple[str, ...] = ()
    compiled: bool = False
    sparse: bool = False

    def __post_init__(self) -> None:
        ratio = self.pruning_ratio
        _require(ratio >= 1, f"settings: pruning_ratio must be at least 1, not {ratio}")
        for name in ("filters_kept", "neurons_kept"):
            _require(0 < getattr(self, name) <= 1, f"settings: {name} must be above 0, at most 1")
        for name in self.adapt:
            known = ", ".join(ADAPTABLE)
            _require(name in ADAPTABLE, f"settings: adapt must be some of {known}, not {name!r}")
        _require(self.most_bytes >= 0, "settings: most_bytes must not be negative")
        _require(self.seed >= 0, f"settings: seed must not be negative, but is {self.seed}")
        _check_bits("settings", "weight_bits", self.weight_bits)
        _check_bits("settings", "activation_bits", self.activation_bits)
        _check_fraction("settings", self.bias_fraction_bits)
        bits = self.mult_bits
        _require(
            not (self.compiled and self.sparse),
            "settings: compiled and sparse exclude each other; set one of them to false",
        )
        _require(1 <= bits <= 16, f"settings: mult_bits must be 1 to 16, not {bits}")
        _require(
            (self.admm.rounds > 0) != (self.continuous.epochs > 0),
            f"settings: either admm: rounds or continuous: epochs must be 0, not "
            f"{self.admm.rounds} and {self.continuous.epochs}; one of the two prunes",
        )
        self._check_cutmix()
        self._check_balanced()
        for name, floor in self.break_even.items():
            _require(floor >= 1, f"settings, break_even: {name} must be at least 1, not {floor}")

    def _check_balanced(self) -> None:
        """Who may be balanced, and which phases do not know such patterns."""
        _check_sparsity("settings", self)
        if "balanced" not in (self.sparsity, *(layer.sparsity for layer in self.layers)):
            return
        _require(
            self.regrow.cycles == 0,
            "settings, regrow: regrown weights leave a balanced pattern; set cycles to 0, or "
            "sparsity to unstructured",
        )
        _require(
            self.admm.crowding == 0,
            "settings, admm: crowding ranks single weights, a balanced pattern does not; set "
            "crowding to 0, or sparsity to unstructured",
        )

    def _check_cutmix(self) -> None:
        """What an image with a patch shows only the teacher knows, asked for the very image."""
        _require(self.dense.cutmix == 0, "settings, dense: cutmix needs a teacher; set it to 0")
        for name in ("admm", "retrain", "quantize_norms", "quantize"):
            _require(
                getattr(self, name).cutmix == 0
                or (self.distill.weight == 1 and self.distill.averaged_shifts == 0),
                f"settings, {name}: cutmix needs distill: {{weight: 1, averaged_shifts: 0}}; set these, "
                "or cutmix to 0",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data; :func:`from_dict` gives equal settings back."""
        return asdict(self)


def _check_sparsity(where: str, given: LayerTarget | CompressSettings) -> None:
    known = None, "unstructured", "balanced"
    _require(
        given.sparsity in known,
        f"{where}: sparsity must be unstructured or balanced, not {given.sparsity!r}",
    )
    for name in ("window", "lockstep"):
        value = getattr(given, name)
        _require(value is None or value >= 1, f"{where}: {name} must be at least 1, not {value}")
    fill = given.fill
    _require(fill is None or 0 < fill <= 1, f"{where}: fill must be in (0, 1], not {fill}")


def _check_fraction(where: str, bits: int | None) -> None:
    _require(
        bits is None or -8 <= bits <= 8, f"{where}: bias_fraction_bits must be -8 to 8, not {bits}"
    )


def _check_bits(where: str, name: str, bits: int | None) -> None:
    _require(bits is None or 1 <= bits <= 8, f"{where}: {name} must be 1 to 8, not {bits}")
