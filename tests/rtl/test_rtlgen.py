"""What the generator binds, chooses and refuses; no tool runs here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pyadmm.codegen.hls import WEIGHTS_FILE
from pyadmm.codegen.rtl import (
    RTL_IDENT_FILE,
    TOP_FILE,
    RowWrites,
    RtlOptions,
    choose_beats,
    generate_rtl,
    row_writes,
    rtl_ident,
    stage_parameters,
)
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.plan import selects_products
from pyadmm.model import InputSpec
from pyadmm.model.types import QFormat
from tests.hls.chains import Recipe
from tests.rtl.designs import Design, design, small_lenet, sparse


@pytest.fixture(scope="module")
def lenet() -> Design:
    return small_lenet()


def test_generation_is_pure_and_repeatable(lenet: Design) -> None:
    first, second = generate_rtl(lenet.plan), generate_rtl(lenet.plan, {})
    assert first.digest == second.digest
    assert rtl_ident(first) == rtl_ident(second)
    assert {TOP_FILE, RTL_IDENT_FILE, "rtl/stage.sv"} <= set(first.files)


def test_the_ident_follows_the_options(lenet: Design) -> None:
    other = generate_rtl(lenet.plan, {"layer0": RtlOptions(fifo_depth=2)})
    assert rtl_ident(other) != rtl_ident(generate_rtl(lenet.plan))


def test_the_model_adds_its_weights_to_the_data_only(lenet: Design) -> None:
    build = generate_rtl(lenet.plan, model=lenet.model)
    assert build.digest == generate_rtl(lenet.plan).digest
    content = build.data[WEIGHTS_FILE]
    assert isinstance(content, bytes)
    np.testing.assert_array_equal(np.frombuffer(content, "<u4"), lenet.weights)


def test_the_top_holds_the_stages_numbers(lenet: Design) -> None:
    text = generate_rtl(lenet.plan).files[TOP_FILE]
    assert isinstance(text, str)
    stage = lenet.plan.stages[1]
    assert f".ENTRY_CAPACITY({stage.entry_capacity})" in text
    assert f".ACC_BITS({stage.acc_bits})" in text
    assert ".STAGES(4)" in text


def test_row_writes_of_streams_and_pools(lenet: Design) -> None:
    assert row_writes(None, 1, 1) == RowWrites(1, 0, True, 1)
    assert row_writes(None, 1, 2) == RowWrites(1, 0, False, 1)
    first = lenet.plan.stages[0]  # 2 rows per tile, 2x2 pool: one row per tile.
    assert row_writes(first, 1, 1) == RowWrites(1, 0, True, 1)
    assert row_writes(first, 1, 2) == RowWrites(1, 0, False, 1)
    unpooled = replace(first, pool=None)
    assert row_writes(unpooled, 1, 2) == RowWrites(2, 0, True, 1)
    assert row_writes(unpooled, 1, 1) == RowWrites(2, 0, True, 2)
    assert row_writes(unpooled, 2, 2) == RowWrites(1, 0, False, 1)


def test_beats_and_multiplexer_follow_the_load() -> None:
    recipes = [Recipe(6, (3, 3), padding=1, density=0.9), Recipe(3, output=None)]
    spec = InputSpec((8, 8, 8), QFormat(4, False), shift=4)
    built = design("wide", spec, recipes, [sparse(8, 2, 3), sparse(1, 1, 3)])
    busy = built.plan.stages[0]
    assert choose_beats(busy, banks=1) == 8
    assert selects_products(busy)
    idle = replace(busy, entry_capacity=8)
    assert choose_beats(idle, banks=1) == 1
    assert not selects_products(idle)
    assert not selects_products(built.plan.stages[1])
    writes, option = row_writes(None, 1, busy.banks), RtlOptions(shift_range=(9, 9))
    parameters = stage_parameters(busy, writes, 8, 1, option)
    assert (parameters["SHIFT_MIN"], parameters["SHIFT_MAX"], parameters["ACC_MUX"]) == (9, 9, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer9": RtlOptions()}, "'layer9', which is no layer"),
        ({"layer0": RtlOptions(dsp_groups=3)}, "at most the 2 groups, not 3"),
        ({"layer0": RtlOptions(drain_beats=3)}, "divide the 2 rows of a tile, not 3"),
        ({"layer3": RtlOptions(acc_mux=True)}, "acc_mux needs a sparse kernel of stride 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    lenet: Design, options: dict[str, RtlOptions], message: str
) -> None:
    with pytest.raises(PyadmmError, match=message):
        generate_rtl(lenet.plan, options)


def test_a_model_outside_the_shift_range_is_refused(lenet: Design) -> None:
    with pytest.raises(PyadmmError, match="layer0: requantises by a shift of 12, the hardware"):
        generate_rtl(lenet.plan, {"layer0": RtlOptions(shift_range=(3, 5))}, lenet.model)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dsp_groups": -1}, "dsp_groups must be at least 0"),
        ({"fifo_depth": 3}, "power of two, not 3"),
        ({"shift_range": (5, 3)}, "within 1 to 48"),
    ],
)
def test_bad_options_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(PyadmmError, match=message):
        RtlOptions(**arguments)  # type: ignore[arg-type]
