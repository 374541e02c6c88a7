"""Named settings: what each preset of the command line stands for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pyadmm.core.errors import PyadmmError
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
from pyadmm.settings.settings import (
    ADAPTABLE,
    CompressSettings,
    LayerTarget,
)

_GENTLE = AdmmSettings(rounds=7, first_ratio=6.0, iterations=1, rho=0.1, retrain_epochs=1)
"""Many small rounds: what one takes is little, and the retraining between them mends it."""


_FAST: dict[str, Any] = {"shift_pixels": 1, "precision": "bfloat16"}


_DISTILL = DistillSettings(temperature=2.0, averaged_shifts=1)


_DISTORT = 0.07


def _record(
    pruning_ratio: float,
    weight_bits: int,
    kept: tuple[float, float],
    rounds: int,
    epochs: tuple[int, int, int],
    *,
    layers: tuple[LayerTarget, ...] = (),
    distort: float = _DISTORT,
) -> CompressSettings:
    """One preset of the record chains.

    Few active channels: at equal non-zeros they train faster, take fewer bytes and lose nothing
    (``docs/admm.md``).

    :param epochs: of the dense network, of retraining in floats, of retraining at levels.
    :param distort: in all phases after the dense one, which chains share.
    """
    varied: dict[str, Any] = {**_FAST, "distort": distort}
    return CompressSettings(
        pruning_ratio=pruning_ratio,
        weight_bits=weight_bits,
        activation_bits=6,
        filters_kept=kept[0],
        neurons_kept=kept[1],
        layers=layers,
        dense=TrainSettings(epochs=epochs[0], lr=2e-3, distort=_DISTORT, **_FAST),
        admm=replace(
            _GENTLE, first_ratio=5.0, rounds=rounds, curvature=0.5, crowding=0.3, **varied
        ),
        retrain=TrainSettings(epochs=epochs[1], lr=2e-3, **varied),
        quantize=QuantizeSettings(
            epochs=epochs[2], lr=1e-3, freeze_from=0.3, shift_pixels=1, distort=distort
        ),
        distill=_DISTILL,
    )


def _finer(base: CompressSettings) -> CompressSettings:
    """``base`` trained on labels alone, by its non-zeros, with a local search; finer activations.

    A bias step of eight steps of 8-bit activations is two of 6-bit ones.
    """
    return replace(
        base,
        activation_bits=8,
        bias_fraction_bits=-3,
        mult_bits=8,
        admm=replace(base.admm, precision="float32"),
        retrain=replace(base.retrain, precision="float32"),
        quantize=replace(base.quantize, lr=2e-3),
        local_search=LocalSearchSettings(cycles=16),
        distill=replace(base.distill, weight=0.0),
        sparse=True,
    )


_ENDS_FINER = tuple(LayerTarget(name, weight_bits=4) for name in ("conv1", "fc2"))
"""The first and the last layer hold one weight in six and lose most by coarse levels."""


_WIDEST_COARSER = (LayerTarget("fc1", weight_bits=3),)
"""One weight in three of a network at 400x is in fc1."""


_RECORDS = {
    "record-85": _record(85.0, 4, (0.5, 0.14), 24, (20, 24, 40)),
    "record-205": _record(205.0, 3, (0.35, 0.08), 48, (20, 24, 60), layers=_ENDS_FINER),
    "record-300": _record(300.0, 5, (0.35, 0.08), 48, (20, 24, 80)),
    "record-410": replace(
        _record(410.0, 4, (0.35, 0.08), 48, (20, 72, 80), layers=_WIDEST_COARSER),
        bias_fraction_bits=-1,
        mult_bits=8,
    ),
    "record-360": _finer(_record(360.0, 4, (0.35, 0.08), 48, (20, 200, 40))),
    "record-369": replace(
        _finer(_record(369.0, 4, (0.35, 0.08), 8, (20, 60, 40), distort=0.12)),
        regrow=RegrowSettings(cycles=14, share=0.08),
        most_bytes=1140,
        distill=_DISTILL,
    ),
}


_RECORDS["record-352"] = replace(
    _RECORDS["record-369"],
    pruning_ratio=352.0,
    bias_fraction_bits=-1,
    rounding=RoundingSettings(candidates=12),
    local_search=LocalSearchSettings(cycles=8),
)

_ADMM_NN_LENET5 = {
    "conv1": (500, 100, 5),
    "conv2": (25_000, 1_330, 3),
    "fc1": (400_000, 800, 2),
    "fc2": (5_000, 350, 3),
}
"""Dense weights, weights that are left and their bits: Ye et al., arXiv 1811.01907, table 3."""


def _admm_nn(pruning_ratio: float, weight_bits: int, *layers: LayerTarget) -> CompressSettings:
    """The method of ADMM-NN (Ren et al., ASPLOS 2019) as published, on hard labels.

    Four rounds of ADMM pruning (progressive, with masks in between; the penalty grows threefold at
    each iteration), masked retraining; ADMM quantisation and retraining while ever more weights are
    frozen at their levels. Images are shifted as for the dense network.
    """
    return CompressSettings(
        pruning_ratio=pruning_ratio,
        weight_bits=weight_bits,
        activation_bits=8,
        layers=layers,
        dense=TrainSettings(epochs=8, lr=2e-3, shift_pixels=1),
        admm=AdmmSettings(
            rounds=4,
            first_ratio=20.0,
            iterations=4,
            rho=3e-3,
            growth=3.0,
            retrain_epochs=2,
            shift_pixels=1,
            joint=False,
            level_iterations=4,
        ),
        retrain=TrainSettings(epochs=24, lr=2e-3, shift_pixels=1),
        quantize=QuantizeSettings(
            epochs=20 if weight_bits < 8 else 6, lr=2e-3, freeze_from=0.2, shift_pixels=1
        ),
        distill=DistillSettings(weight=0.0),
        sparse=True,
    )


def _published(dense: int, kept: int, bits: int, name: str) -> LayerTarget:
    return LayerTarget(name, ratio=dense / kept, weight_bits=bits)


_ADMM_NN = {
    "admm-nn": _admm_nn(
        430_500 / 2_580,
        3,
        *(_published(*facts, name) for name, facts in _ADMM_NN_LENET5.items()),
    ),
    "admm-nn-85": _admm_nn(85.0, 8),
    "admm-nn-167": _admm_nn(167.0, 8),
}
"""LeNet-5 in 890 bytes of weights ("1,910x"), and its rows of pruning alone: 5,060 and 2,580 weights.

The paper has no layers' ratios for those two, so the schedule shares them out; 8-bit weights stand
for its floats.
"""

PRESETS: dict[str, CompressSettings] = {
    "quick": CompressSettings(
        pruning_ratio=110.0,
        filters_kept=0.5,
        neurons_kept=0.125,
        dense=TrainSettings(epochs=8, lr=2e-3, shift_pixels=1),
        admm=replace(_GENTLE, rounds=0, lr=4e-3, curvature=0.5),
        continuous=ContinuousSettings(epochs=7, growth=1.12),
        retrain=TrainSettings(epochs=0, lr=2e-3),
        quantize=QuantizeSettings(epochs=8, lr=2e-3, freeze_from=0.2),
        adapt=ADAPTABLE,
    ),
    "standard": CompressSettings(
        pruning_ratio=172.0,
        activation_bits=6,
        filters_kept=0.6,
        neurons_kept=0.14,
        dense=TrainSettings(epochs=20, lr=2e-3, shift_pixels=1),
        admm=replace(_GENTLE, rounds=10, retrain_epochs=2, shift_pixels=1),
        retrain=TrainSettings(epochs=40, lr=2e-3, shift_pixels=1),
        quantize=QuantizeSettings(epochs=50, lr=1e-3, freeze_from=0.3, shift_pixels=1),
    ),
    **_ADMM_NN,
    **_RECORDS,
    "record": _RECORDS["record-300"],
}
"""Settings by name; ``quick`` is the default of the flow."""


def preset(name: str) -> CompressSettings:
    """The settings of the preset ``name``.

    :raises PyadmmError: for an unknown name; it lists the known ones.
    """
    if name not in PRESETS:
        raise PyadmmError(f"preset {name!r} is unknown; choose one of: {', '.join(PRESETS)}")
    return PRESETS[name]
