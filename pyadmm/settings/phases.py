"""Settings of the phases of a compression: training, ADMM, regrowing, rounding, local search."""

from __future__ import annotations

from dataclasses import dataclass

from pyadmm.settings.checks import require


def _check_precision(where: str, precision: str) -> None:
    known = "float32", "bfloat16"
    require(
        precision in known, f"{where}: precision must be {' or '.join(known)}, not {precision!r}"
    )


def _check_optimizer(where: str, optimizer: str) -> None:
    known = "adam", "sgd"
    require(
        optimizer in known, f"{where}: optimizer must be {' or '.join(known)}, not {optimizer!r}"
    )


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
        require(self.epochs >= 0, f"settings: epochs must not be negative, but is {self.epochs}")
        require(self.lr > 0, f"settings: lr must be positive, not {self.lr}")
        require(self.batch_size >= 1, "settings: batch_size must be at least 1")
        require(0 <= self.shift_pixels <= 8, "settings: shift_pixels must be 0 to 8")
        require(0 <= self.distort <= 0.5, "settings: distort must be 0 to 0.5")
        require(0 <= self.cutmix <= 1, "settings: cutmix must be 0 to 1")
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
        require(0 <= self.freeze_from <= 1, "settings, quantize: freeze_from must be 0 to 1")
        require(
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
        require(self.rounds >= 0, f"settings, admm: rounds must not be negative: {self.rounds}")
        require(self.iterations >= 0, "settings, admm: iterations must not be negative")
        require(self.level_iterations >= 0, "settings, admm: level_iterations must not be negative")
        require(self.retrain_epochs >= 0, "settings, admm: retrain_epochs must not be negative")
        require(self.first_ratio >= 1, "settings, admm: first_ratio must be at least 1")
        for name in ("rho", "lr", "tolerance"):
            require(getattr(self, name) > 0, f"settings, admm: {name} must be positive")
        require(self.growth >= 1, f"settings, admm: growth must be at least 1, not {self.growth}")
        require(self.batch_size >= 1, "settings, admm: batch_size must be at least 1")
        require(0 <= self.shift_pixels <= 8, "settings, admm: shift_pixels must be 0 to 8")
        require(0 <= self.distort <= 0.5, "settings, admm: distort must be 0 to 0.5")
        require(0 <= self.cutmix <= 1, "settings, admm: cutmix must be 0 to 1")
        require(0 <= self.curvature <= 1, "settings, admm: curvature must be 0 to 1")
        require(0 <= self.crowding <= 2, "settings, admm: crowding must be 0 to 2")
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
        require(self.epochs >= 0, f"{where}: epochs must not be negative: {self.epochs}")
        require(self.rho > 0, f"{where}: rho must be positive, not {self.rho}")
        require(self.growth >= 1, f"{where}: growth must be at least 1, not {self.growth}")
        require(self.updates >= 1, f"{where}: updates must be at least 1, not {self.updates}")
        require(0 < self.ramp < 1, f"{where}: ramp must be above 0 and below 1, not {self.ramp}")
        require(0 <= self.levels_from <= 1, f"{where}: levels_from must be 0 to 1")
        require(self.slack >= 1, f"{where}: slack must be at least 1, not {self.slack}")
        require(1 <= self.relaxation < 2, f"{where}: relaxation must be at least 1, below 2")
        require(self.balance >= 1, f"{where}: balance must be at least 1, not {self.balance}")
        require(0 <= self.memory <= 1, f"{where}: memory must be 0 to 1, not {self.memory}")


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
        require(self.cycles >= 0, f"{where}: cycles must not be negative: {self.cycles}")
        require(0 < self.share <= 1, f"{where}: share must be above 0, at most 1")
        require(self.grow_epochs >= 1, f"{where}: grow_epochs must be at least 1")
        require(self.prune_epochs >= 1, f"{where}: prune_epochs must be at least 1")
        require(self.lr > 0, f"{where}: lr must be positive, not {self.lr}")


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
        require(count >= 0, f"{where}: candidates must not be negative: {count}")
        require(self.damping > 0, f"{where}: damping must be positive, not {self.damping}")
        require(self.images >= 1, f"{where}: images must be at least 1, not {self.images}")


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
        require(
            self.cycles >= 0, f"settings, local_search: cycles must not be negative: {self.cycles}"
        )
        require(
            self.epochs >= 1, f"settings, local_search: epochs must be at least 1: {self.epochs}"
        )
        require(0 < self.share <= 1, "settings, local_search: share must be above 0, at most 1")
        require(self.lr > 0, f"settings, local_search: lr must be positive, not {self.lr}")


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
        require(0 <= self.weight <= 1, "settings, distill: weight must be 0 to 1")
        require(self.temperature > 0, "settings, distill: temperature must be positive")
        require(0 <= self.averaged_shifts <= 8, "settings, distill: averaged_shifts must be 0 to 8")
        require(
            self.cached_augmentations >= 0,
            "settings, distill: cached_augmentations must not be negative",
        )
        _check_precision("settings, distill", self.precision)
        require(
            not (self.averaged_shifts and self.cached_augmentations),
            "settings, distill: averaged_shifts and cached_augmentations exclude each other; set one of them to 0",
        )
