"""Layer specs, number formats, resources."""

from __future__ import annotations

import numpy as np
import pytest

from pyadmm.core.errors import PyadmmError
from pyadmm.model.types import LayerSpec, QFormat, Resources, signed_bits


def test_lenet5_has_the_papers_weights_and_macs() -> None:
    layers = [
        LayerSpec("conv1", "conv", (20, 1, 5, 5), (1, 28, 28)),
        LayerSpec("conv2", "conv", (50, 20, 5, 5), (20, 12, 12)),
        LayerSpec("fc1", "linear", (500, 800), (50, 4, 4)),
        LayerSpec("fc2", "linear", (10, 500), (500, 1, 1)),
    ]
    assert sum(layer.weights for layer in layers) == 430_500
    assert [layer.macs for layer in layers] == [288_000, 1_600_000, 400_000, 5_000]


def test_geometry_of_grouped_strided_padded_convolution() -> None:
    spec = LayerSpec("c", "conv", (96, 24, 3, 3), (48, 13, 11), stride=2, padding=1, groups=2)
    assert spec.output_shape == (96, 7, 6)
    assert spec.window_shape == (96, 24, 3, 3)
    assert spec.kernel_channels == 24


def test_linear_is_a_convolution_over_the_whole_map() -> None:
    spec = LayerSpec("fc", "linear", (10, 24), (2, 3, 4))
    assert spec.kernel == (3, 4)
    assert spec.output_shape == (10, 1, 1)
    assert spec.window_shape == (10, 2, 3, 4)


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        ({"kind": "pool", "weight_shape": (1, 1)}, "kind"),
        ({"kind": "conv", "weight_shape": (1, 1)}, "4 dimensions"),
        ({"kind": "conv", "weight_shape": (1, 1, 9, 9)}, "larger than the padded input"),
        ({"kind": "conv", "weight_shape": (2, 2, 3, 3)}, "groups"),
        ({"kind": "linear", "weight_shape": (2, 17)}, "does not take"),
        ({"kind": "linear", "weight_shape": (2, 16), "stride": 2}, "no stride"),
        ({"kind": "conv", "weight_shape": (0, 1, 3, 3)}, "at least 1"),
    ],
)
def test_impossible_layers_are_refused_by_name(facts: dict, word: str) -> None:
    with pytest.raises(PyadmmError, match=f"layer odd.*{word}"):
        LayerSpec("odd", input_shape=(1, 4, 4), **facts)


@pytest.mark.parametrize(
    ("bits", "signed", "lo", "hi"), [(1, False, 0, 1), (4, False, 0, 15), (5, True, -16, 15)]
)
def test_format_limits(bits: int, signed: bool, lo: int, hi: int) -> None:
    fmt = QFormat(bits, signed)
    assert (fmt.lo, fmt.hi) == (lo, hi)
    assert fmt.saturate(np.array([-1000, 1000])).tolist() == [lo, hi]
    assert fmt.max_magnitude == max(hi, -lo)


def test_quantize_rounds_half_up() -> None:
    fmt = QFormat(6, True, 0.25)
    values = np.array([-0.125, 0.125, 0.374, 0.375])
    assert fmt.quantize(values).tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize(("bits", "signed", "scale"), [(0, False, 1), (1, True, 1), (4, False, 0)])
def test_impossible_formats_are_refused(bits: int, signed: bool, scale: float) -> None:
    with pytest.raises(PyadmmError, match="number format"):
        QFormat(bits, signed, scale)


def test_signed_bits_hold_both_signs() -> None:
    for magnitude in (0, 1, 7, 8, 12345):
        bits = signed_bits(magnitude)
        assert magnitude <= 2 ** (bits - 1) - 1


def test_resources_add_and_fit() -> None:
    need = Resources(lut=10, dsp=1) + Resources(lut=5, bram18=2)
    assert need == Resources(lut=15, dsp=1, bram18=2)
    assert need.fits(Resources(15, 0, 1, 2, 0))
    assert need.over(Resources(14, 0, 1, 1, 0)) == {"lut": (15, 14), "bram18": (2, 1)}
    assert need.scaled(2).lut == 30
