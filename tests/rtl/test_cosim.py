"""The Verilated top gives the golden model's integers, with and without stalls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pyadmm.codegen.rtl import RtlOptions, generate_rtl, rtl_ident
from pyadmm.core.errors import ToolError
from pyadmm.eda.rtl_simulation import LiveTop, cosim, cosim_report, infer, load_weights
from pyadmm.eda.verilator import RtlSimulator, build_simulator
from pyadmm.hardware.input_stream import stream_words
from pyadmm.hardware.registers import AP_CTRL, COUNT, DONE, IDENT, IDLE, LOAD, MODE, READY, START
from pyadmm.model import InputSpec
from tests.hls.chains import Recipe
from tests.rtl.designs import Design, design, small_lenet, sparse
from tests.unit.models import U4


@pytest.fixture(scope="module")
def lenet() -> Design:
    return small_lenet()


@pytest.fixture(scope="module")
def top(lenet: Design, simulators: Path) -> RtlSimulator:
    build = generate_rtl(lenet.plan, {"layer1": RtlOptions(fifo_depth=4, dsp_groups=1)})
    return build_simulator(build, lenet.plan, simulators)


def test_simulators_share_verilators_own_library(top: RtlSimulator, simulators: Path) -> None:
    def library() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in simulators.glob("runtime-*/*.o")}

    before = library()
    assert {path.stem for path in before} == {"verilated", "verilated_threads"}
    spec = InputSpec((1, 3, 3), U4, shift=4)
    other = design("other", spec, [Recipe(2, output=None)], [sparse(1, 1)])
    simulator = build_simulator(generate_rtl(other.plan, {}), other.plan, simulators)
    assert simulator.program != top.program
    assert library() == before


def test_back_to_back_images_are_bit_exact(lenet: Design, top: RtlSimulator) -> None:
    images = lenet.images(40)
    result = cosim(top, lenet.weights, images)
    np.testing.assert_array_equal(result.logits, lenet.model.run(images))
    assert result.interval_cycles is not None
    assert result.interval_cycles < result.latency_cycles
    report = cosim_report(result, lenet.plan, "digest")
    assert report.latency.exact == result.latency_cycles
    assert (report.interval.least, report.interval.most) == result.interval_range
    assert [module.name for module in report.modules] == [s.name for s in lenet.plan.stages]
    assert report.resources.known() == {}


@pytest.mark.parametrize(("source", "sink"), [(0.5, 0.0), (0.0, 0.7), (0.3, 0.3)])
def test_stalls_change_no_integer(
    lenet: Design, top: RtlSimulator, source: float, sink: float
) -> None:
    images = lenet.images(12, seed=5)
    free = cosim(top, lenet.weights, images)
    stalled = cosim(top, lenet.weights, images, stalls=(7, source, sink))
    np.testing.assert_array_equal(stalled.logits, lenet.model.run(images))
    assert stalled.total_cycles > free.total_cycles


def test_another_model_of_the_same_shapes_needs_no_new_hardware(
    lenet: Design, top: RtlSimulator
) -> None:
    images = lenet.images(6)
    first, second = lenet.weights, lenet.weights
    second[3] ^= 1  # The first weight of layer0: another code, the same layout.
    with LiveTop(top) as live:
        load_weights(live, second)
        other = infer(live, images).logits
        load_weights(live, first)
        again = infer(live, images).logits
    np.testing.assert_array_equal(again, lenet.model.run(images))
    assert not np.array_equal(other, again)


def test_a_run_leaves_the_next_images_words_on_the_stream(lenet: Design, top: RtlSimulator) -> None:
    images = lenet.images(3)
    words = stream_words(images, lenet.plan)
    with LiveTop(top) as live:
        load_weights(live, lenet.weights)
        live.send(words)
        live.write(MODE, 0)
        live.write(COUNT, 2)
        live.write(AP_CTRL, START)
        live.until(10, 20_000)
        got, last = live.receive(100)
        assert last
        assert live.status().offered == len(words) // 3
        live.write(COUNT, 1)
        live.write(AP_CTRL, START)
        live.until(5, 20_000)
        rest, last = live.receive(100)
        assert last
    logits = np.concatenate([got, rest]).view(np.int32).reshape(3, -1)
    np.testing.assert_array_equal(logits, lenet.model.run(images))


def test_registers_follow_ap_ctrl_hs(lenet: Design, top: RtlSimulator) -> None:
    build = generate_rtl(lenet.plan, {"layer1": RtlOptions(fifo_depth=4, dsp_groups=1)})
    with LiveTop(top) as live:
        assert live.read(IDENT) == rtl_ident(build)
        assert live.read(AP_CTRL) == IDLE
        live.write(0x04, 1)
        live.write(0x08, 3)
        live.write(MODE, LOAD)
        live.write(AP_CTRL, START)
        assert live.read(AP_CTRL) == START
        live.send(lenet.weights)
        live.advance(len(lenet.weights) + 20)
        assert live.status().interrupt
        assert live.read(0x0C) == 3
        live.write(0x0C, 3)
        assert live.read(0x0C) == 0
        assert not live.status().interrupt
        assert live.read(AP_CTRL) == DONE | IDLE | READY
        assert live.read(AP_CTRL) == IDLE
        assert live.read(MODE) == LOAD
        live.write(COUNT, 0x12345678)
        assert live.read(COUNT) == 0x12345678


def test_no_images_is_done_at_once(lenet: Design, top: RtlSimulator) -> None:
    with LiveTop(top) as live:
        live.write(MODE, 0)
        live.write(COUNT, 0)
        live.write(AP_CTRL, START)
        live.advance(5)
        assert live.read(AP_CTRL) & DONE


def test_a_run_without_input_is_reported(lenet: Design, top: RtlSimulator) -> None:
    with LiveTop(top) as live:
        live.stall(1, 1.0, 0.0)
        with pytest.raises(ToolError, match="0 of 10 logits came, TLAST missing"):
            infer(live, lenet.images(2), cycles_limit=500)
