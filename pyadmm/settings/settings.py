"""All settings of a compression, as frozen data classes; those of phases are in :mod:`.phases`.

A setting is checked where it is made, so what reaches the training is possible. What depends on the
network (unknown layers, a layer left without weights) is checked by
:func:`pyadmm.compression.schedule.layer_targets`, before any training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pyadmm.settings.checks import require
from pyadmm.settings.phases import (
    AdmmSettings,
    ContinuousSettings,
    DistillSettings,
    LocalSearchSettings,
    QuantizeSettings,
    RegrowSettings,
    RoundingSettings,
    TrainSettings,
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
        require(bool(self.pattern), "settings: a layer's pattern must not be empty")
        require(self.ratio is None or self.ratio >= 1, f"{where}: ratio must be at least 1")
        require(self.outputs is None or self.outputs >= 1, f"{where}: outputs must be at least 1")
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
        require(self.scale > 0, f"settings, input: scale must be positive, not {self.scale}")
        require(len(self.mean) == len(self.std), "settings, input: mean and std must be as long")
        require(all(s > 0 for s in self.std), "settings, input: std must be positive")
        plain = self.offset == (0,) and self.scale == 1.0
        require(not self.mean or plain, "settings, input: give mean and std, or offset and scale")


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
        require(ratio >= 1, f"settings: pruning_ratio must be at least 1, not {ratio}")
        for name in ("filters_kept", "neurons_kept"):
            require(0 < getattr(self, name) <= 1, f"settings: {name} must be above 0, at most 1")
        for name in self.adapt:
            known = ", ".join(ADAPTABLE)
            require(name in ADAPTABLE, f"settings: adapt must be some of {known}, not {name!r}")
        require(self.most_bytes >= 0, "settings: most_bytes must not be negative")
        require(self.seed >= 0, f"settings: seed must not be negative, but is {self.seed}")
        _check_bits("settings", "weight_bits", self.weight_bits)
        _check_bits("settings", "activation_bits", self.activation_bits)
        _check_fraction("settings", self.bias_fraction_bits)
        bits = self.mult_bits
        require(
            not (self.compiled and self.sparse),
            "settings: compiled and sparse exclude each other; set one of them to false",
        )
        require(1 <= bits <= 16, f"settings: mult_bits must be 1 to 16, not {bits}")
        require(
            (self.admm.rounds > 0) != (self.continuous.epochs > 0),
            f"settings: either admm: rounds or continuous: epochs must be 0, not "
            f"{self.admm.rounds} and {self.continuous.epochs}; one of the two prunes",
        )
        self._check_cutmix()
        self._check_balanced()
        for name, floor in self.break_even.items():
            require(floor >= 1, f"settings, break_even: {name} must be at least 1, not {floor}")

    def _check_balanced(self) -> None:
        """Who may be balanced, and which phases do not know such patterns."""
        _check_sparsity("settings", self)
        if "balanced" not in (self.sparsity, *(layer.sparsity for layer in self.layers)):
            return
        require(
            self.regrow.cycles == 0,
            "settings, regrow: regrown weights leave a balanced pattern; set cycles to 0, or "
            "sparsity to unstructured",
        )
        require(
            self.admm.crowding == 0,
            "settings, admm: crowding ranks single weights, a balanced pattern does not; set "
            "crowding to 0, or sparsity to unstructured",
        )

    def _check_cutmix(self) -> None:
        """What an image with a patch shows only the teacher knows, asked for the very image."""
        require(self.dense.cutmix == 0, "settings, dense: cutmix needs a teacher; set it to 0")
        for name in ("admm", "retrain", "quantize_norms", "quantize"):
            require(
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
    require(
        given.sparsity in known,
        f"{where}: sparsity must be unstructured or balanced, not {given.sparsity!r}",
    )
    for name in ("window", "lockstep"):
        value = getattr(given, name)
        require(value is None or value >= 1, f"{where}: {name} must be at least 1, not {value}")
    fill = given.fill
    require(fill is None or 0 < fill <= 1, f"{where}: fill must be in (0, 1], not {fill}")


def _check_fraction(where: str, bits: int | None) -> None:
    require(
        bits is None or -8 <= bits <= 8, f"{where}: bias_fraction_bits must be -8 to 8, not {bits}"
    )


def _check_bits(where: str, name: str, bits: int | None) -> None:
    require(bits is None or 1 <= bits <= 8, f"{where}: {name} must be 1 to 8, not {bits}")
