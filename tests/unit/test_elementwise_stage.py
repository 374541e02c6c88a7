"""Stages without weights: frames, lanes, words of the weight image, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pyadmm.codegen.hls import generate
from pyadmm.codegen.rtl import TOP_FILE, generate_rtl
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.cost import initiation_interval, plan_resources, row_resources, stage_cycles
from pyadmm.hardware.design_space import search
from pyadmm.hardware.elementwise_stage import ElementwisePlan, fewest_lanes
from pyadmm.hardware.mapping import plan_rows, row_nodes
from pyadmm.hardware.plan_json import ACCELERATOR, accelerator_facts, read_accelerator
from pyadmm.hardware.weight_image import hardware_output, weight_image
from pyadmm.model import INPUT, CompressedModel, InputSpec
from pyadmm.model.types import QFormat
from tests.hls.graphs import Graph, branching_network, random_network, residual_network
from tests.unit.models import U4, planned

BOARD = load_board("pynq-z2")


def deep_block() -> CompressedModel:
    graph = Graph(InputSpec((2, 8, 8), U4, shift=4), 0)
    x = graph.conv(INPUT, 4)
    x = graph.block(x, 4, 1, "identity", depth=3)
    graph.linear(x, 3)
    return graph.model


def test_a_skip_waits_for_its_branch() -> None:
    (row,) = planned(deep_block()).rows
    # Written, read by three convolutions in turn, and read by the sum: five images are under way.
    assert row.frames == (2, 5)


@pytest.mark.parametrize("seed", range(4))
def test_every_stage_is_behind_what_it_reads(seed: int) -> None:
    model = random_network(seed)
    plan = planned(model)
    seen = {INPUT}
    for unit in plan.units:
        assert seen.issuperset(unit.sources)
        seen.add(unit.node)
    assert plan.last.node == model.nodes[-1].name
    assert len(plan.units) == len(model.layers) + len(row_nodes(model))
    reads = [(unit.name, place) for node in seen for unit, place in plan.readers(node)]
    assert len(reads) == len(set(reads)) == sum(len(unit.sources) for unit in plan.units)


def test_lanes_keep_up_with_the_engines_and_no_more() -> None:
    model = deep_block()
    plan = planned(model)
    engine = max(stage.tiles * stage.entry_capacity for stage in plan.stages)
    (row,) = plan.rows
    assert row.steps <= engine
    assert row.lanes == fewest_lanes(row.output_shape, 1, engine)
    cycles = {s.name: stage_cycles(model.layer(s.name), s) for s in plan.stages}
    slow = replace(plan, rows=(replace(row, lanes=1),))
    assert initiation_interval(slow, cycles) >= slow.rows[0].steps > row.steps


def test_resources_count_frames_and_lanes() -> None:
    (row,) = planned(deep_block()).rows
    wide, deep = replace(row, lanes=8), replace(row, frames=(2, 50))
    assert row_resources(wide).dsp + row_resources(wide).lut > row_resources(row).lut
    assert row_resources(deep).bram18 > row_resources(row).bram18
    plan = planned(deep_block())
    assert plan_resources(plan).lut > plan_resources(replace(plan, rows=())).lut


def wide_block() -> CompressedModel:
    """A skip of 2,560 row words of 64 bits."""
    graph = Graph(InputSpec((2, 32, 16), U4, shift=4), 0)
    x = graph.conv(INPUT, 16, density=0.02)
    x = graph.block(x, 16, 1, "identity", depth=3)
    graph.linear(x, 2)
    return graph.model


def test_large_buffers_go_to_ultraram_where_there_is_some() -> None:
    model = wide_block()
    plans = {name: planned(model, name) for name in ("zcu104", "pynq-z2")}
    ultra, block = plans["zcu104"].rows[0], plans["pynq-z2"].rows[0]
    assert (ultra.storage, block.storage) == ("uram", "bram")
    # 1,024 words of 96 bits and 2,560 of 64, in blocks of 4,096 x 72 bits.
    assert (row_resources(ultra).uram, row_resources(ultra).bram18) == (2 + 1, 0)
    assert row_resources(block).uram == 0
    top = generate(model, plans["zcu104"]).files["src/top.cpp"]
    assert "variable=second_add4 type=ram_s2p impl=uram" in top
    assert "variable=second_add4 type=pipo depth=5" in top
    assert "impl=uram" not in generate(model, plans["pynq-z2"]).files["src/top.cpp"]
    assert ".ULTRA(1)" in generate_rtl(plans["zcu104"]).files[TOP_FILE]
    board = load_board("zcu104")
    none = replace(board, resources=replace(board.resources, uram=4))
    assert plan_rows(model, none, 10_000)[0].storage == "bram"


def test_the_search_covers_them() -> None:
    model = residual_network()
    result = search(model, BOARD)
    rows = {row.name for row in result.best.rows}
    assert rows == {node.name for node in row_nodes(model)}
    assert all(row.steps <= result.best.interval for row in result.best.rows)
    assert all(f"{name}: " in result.table() and "frames" in result.table() for name in rows)


def test_words_of_the_weight_image() -> None:
    model = deep_block()
    plan = planned(model)
    add = next(node for node in row_nodes(model))
    words = weight_image(model, plan)[-6:]
    assert len(weight_image(model, plan)) == plan.weight_words
    assert words.tolist() == [1, 1, add.mult[1], 0, 0, add.mult[0] | add.shift << 16]  # type: ignore[union-attr]


def test_a_model_of_another_graph_is_refused() -> None:
    model = deep_block()
    plan = planned(model)
    add = model.nodes[-2]
    swapped = replace(add, sources=add.sources[::-1])
    other = replace(model, nodes=(*model.nodes[:-2], swapped, model.nodes[-1]))
    with pytest.raises(PyadmmError, match=rf"{add.name}: sources .* differs from the accelerator"):
        weight_image(other, plan)
    wide = replace(add, output=QFormat(3, False))
    with pytest.raises(PyadmmError, match="differs from the accelerator"):
        weight_image(replace(model, nodes=(*model.nodes[:-2], wide, model.nodes[-1])), plan)


def test_only_logits_get_a_whole_word() -> None:
    graph = Graph(InputSpec((2, 4, 4), U4, shift=4), 0)
    x = graph.linear(INPUT, 3)
    graph.add(x, x, QFormat(16, True))
    model = graph.model
    layer = model.layers[0]
    assert hardware_output(model, layer) == layer.output
    assert hardware_output(replace(model, nodes=model.nodes[:1]), layer).bits == 32


def test_the_plan_survives_its_file(tmp_path: Path) -> None:
    plan = planned(branching_network())
    (tmp_path / ACCELERATOR).write_text(json.dumps(accelerator_facts(plan)), encoding="utf-8")
    assert read_accelerator(tmp_path) == plan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lanes": 3}, "sum: lanes must divide the 8 output columns, not 3"),
        ({"frames": (2, 1)}, r"sum: buffers hold at least 2 frames, not \(2, 1\)"),
        ({"output": QFormat(32, False)}, "sum: outputs of 32 bits do not fit"),
        ({"inputs": (QFormat(48, True), U4)}, "sum: scaling takes 65 bits"),
    ],
)
def test_impossible_stages_are_refused(changes: dict[str, object], message: str) -> None:
    row = ElementwisePlan("sum", "add", ("a", "b"), (4, 8, 8), (U4, U4), U4, (2, 4))
    with pytest.raises(PyadmmError, match=message):
        replace(row, **changes)  # type: ignore[arg-type]


def test_every_layer_is_in_the_image_once() -> None:
    plan = planned(residual_network())
    sizes = [unit.weight_words for unit in (*plan.stages, *plan.rows)]
    assert plan.weight_words == sum(sizes)
    assert np.count_nonzero([size == 0 for size in sizes]) == sum(
        row.kind == "maxpool" for row in plan.rows
    )
