"""Adder graphs: the weights, exactly, within proven ranges, whatever the layer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyadmm.core.errors import PyadmmError
from pyadmm.core.files import write_atomic
from pyadmm.hardware.adder_graph import LEVELS_PER_STAGE, adder_graph, block_codes, full_codes
from pyadmm.hardware.cost import stage_cycles, stage_resources
from pyadmm.hardware.mapping import layer_links, plan_accelerator, plan_stage
from pyadmm.hardware.plan import KernelConfig
from pyadmm.hardware.plan_json import accelerator_facts, read_accelerator
from pyadmm.model.types import QFormat
from tests.rtl.unrolled_designs import small_lenet


@given(st.integers(0, 10_000), st.integers(1, 8), st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_graph_is_its_weights_and_keeps_its_ranges(seed: int, bits: int, signed: bool) -> None:
    rng = np.random.default_rng(seed)
    layer = small_lenet().model.layers[2]
    limit = 1 << (bits - 1)
    codes = rng.integers(-limit, limit + 1, layer.codes.shape)
    codes[rng.random(codes.shape) < rng.random()] = 0
    layer = replace(layer, codes=codes.astype(np.int16), weight_bits=bits)
    source = QFormat(max(bits, 2), signed)
    graph = adder_graph(layer, source)
    x = rng.integers(source.lo, source.hi + 1, (len(graph.taps), 20))
    x[:, 0], x[:, 1] = source.lo, source.hi
    kernel = full_codes(layer)[:, list(graph.channels)]
    taps = kernel[(slice(None), *np.array(graph.taps, int).reshape(-1, 3).T)]
    np.testing.assert_array_equal(graph.evaluate(x), taps @ x)
    assert np.count_nonzero(taps) == layer.nnz
    for found in graph.sums:
        assert found.low <= found.high
        assert found.stage == (found.level - 1) // LEVELS_PER_STAGE
        for value in (found.left, found.right):
            assert graph.stage_of(value) <= found.stage


def test_one_graph_computes_the_pixels_of_a_block_with_fewer_sums() -> None:
    layer, source = small_lenet().model.layers[0], QFormat(4, False)
    graph, single = adder_graph(layer, source, (2, 4)), adder_graph(layer, source)
    assert (len(graph.outputs), len(single.outputs)) == (8 * 4, 4)
    assert graph.luts < 8 * single.luts
    window = np.random.default_rng(0).integers(0, 16, (1, 4, 6, 1))
    acc = graph.evaluate(np.array([window[tap] for tap in graph.taps]))
    codes = full_codes(layer)
    for row in range(2):
        for pixel in range(4):
            part = window[:, row : row + 3, pixel : pixel + 3, 0]
            found = acc[(4 * row + pixel) * 4 :][:4, 0]
            np.testing.assert_array_equal(found, (codes * part).sum((1, 2, 3)))
    assert block_codes(codes, 2, (1, 2)).shape == (8, 1, 3, 5)


def test_convolution_groups_are_zeros_elsewhere() -> None:
    layer = small_lenet().model.layers[1]
    codes = full_codes(layer)
    assert codes.shape == (6, 4, 2, 2)
    assert not codes[:3, 2:].any()
    assert not codes[3:, :2].any()
    assert np.count_nonzero(codes) == layer.nnz


def test_a_layer_without_weights_is_constants_only() -> None:
    layer = small_lenet().model.layers[0]
    graph = adder_graph(replace(layer, codes=np.zeros_like(layer.codes)), QFormat(4, False))
    assert (graph.taps, graph.sums, graph.latency) == ((), (), 1)
    assert graph.evaluate(np.zeros((0, 3), np.int64)).tolist() == [[0, 0, 0]] * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": 3}, "computes all 4 output channels at once, not 3"),
        ({"tile_rows": 3}, "must be 1 or the rows of a max-pool .* not 3"),
        ({"pixels": 3}, "must be 1 or whole windows of a max-pool .* not 3"),
        ({"pixels": 11}, "at most the 10 output columns, not 11"),
        ({"family": "sparse", "pixels": 2}, "only an unrolled kernel takes 2 pixels"),
    ],
)
def test_impossible_kernels_are_refused(change: dict[str, int], message: str) -> None:
    model = small_lenet().model
    config = replace(KernelConfig("unrolled", 2, 4, pixels=4), **change)
    with pytest.raises(PyadmmError, match=message):
        plan_stage(model, layer_links(model)[0], config)


def test_one_layer_must_stay_loadable() -> None:
    built = small_lenet()
    configs = {
        stage.name: KernelConfig("unrolled", 1, stage.spec.outputs) for stage in built.plan.stages
    }
    with pytest.raises(PyadmmError, match="leaves no weights to load"):
        plan_accelerator(built.model, built.plan.board, configs)


def test_more_pixels_cost_adders_and_save_cycles() -> None:
    model = small_lenet().model
    link = layer_links(model)[0]
    sizes = [(1, 1), (1, 2), (2, 2), (2, 4)]
    configs = [KernelConfig("unrolled", rows, 4, pixels=pixels) for rows, pixels in sizes]
    stages = [plan_stage(model, link, config) for config in configs]
    luts = [stage_resources(stage).lut for stage in stages]
    cycles = [stage_cycles(link.layer, stage).engine for stage in stages]
    assert luts == sorted(luts)
    assert cycles == sorted(cycles, reverse=True)
    assert luts[0] < luts[-1]
    assert cycles[0] > cycles[-1]


def test_the_plan_survives_its_file(tmp_path: Path) -> None:

    plan = small_lenet().plan
    write_atomic(tmp_path / "accelerator.json", json.dumps(accelerator_facts(plan)))
    assert read_accelerator(tmp_path).stages == plan.stages
