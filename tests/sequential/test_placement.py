"""Ways in which the compiler gets a map through a buffer that is too small for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.sequential.array import SLICE, SequentialArray
from pyadmm.hardware.sequential.compiler import Compiled, compile_model, descriptors
from pyadmm.hardware.sequential.fusion import CHAIN_LIMIT
from pyadmm.hardware.sequential.interpreter import interpret
from pyadmm.hardware.sequential.maps import Split
from pyadmm.hardware.sequential.program import Load, Run, decode
from pyadmm.hardware.sequential.roofline import best_images, cycles_per_image
from pyadmm.model import INPUT, Add, AvgPool, CompressedModel, Concat, InputSpec, MaxPool, Requant
from pyadmm.model.types import LayerSpec, QFormat
from tests.sequential.networks import images_of, weighted

TINY = SequentialArray(2, 32, 32, 64, 256, 512, 16)
_BYTE = QFormat(8, False)


def _model(shape: tuple[int, int, int], *nodes: object) -> CompressedModel:
    return CompressedModel("m", InputSpec(shape, _BYTE), nodes)  # type: ignore[arg-type]


def _conv(
    name: str, source: str, shape: tuple[int, int, int], outputs: int, **facts: int
) -> object:
    size, rng = facts.pop("size", 3), np.random.default_rng(len(name))
    weight = (outputs, shape[0], size, size)
    spec = LayerSpec(name, "conv", weight, shape, facts.get("stride", 1), facts.get("padding", 0))
    return weighted(rng, spec, source, 0.5)


def _exact(
    model: CompressedModel,
    array: SequentialArray,
    images: int = 1,
    split: Split | None = None,
    chain_limit: float = CHAIN_LIMIT,
) -> Compiled:
    compiled = compile_model(model, array, images, split, chain_limit=chain_limit)
    data = images_of(np.random.default_rng(0), model, images)
    assert_array_equal(interpret(compiled, data), model.run(data))
    assert _tables_are_safe(compiled)
    return compiled


def _tables_are_safe(compiled: Compiled) -> bool:
    """Whether no table is loaded where the last RUN, which may be computing still, reads it."""
    used: dict[str, range] = {}
    for data in descriptors(compiled.program.image):
        item = decode(data)
        if isinstance(item, Run):
            masks = item.taps * item.tiles
            words = item.stored if item.listed else 0
            used = {
                "masks": range(item.mask_base, item.mask_base + masks),
                "taps": range(item.tap_base, item.tap_base + item.taps),
                "list": range(item.list_base, item.list_base + words),
            }
        elif isinstance(item, Load) and item.wait_run:
            used = {}
        elif isinstance(item, Load) and item.target in used:
            read = used[item.target]
            if item.index < read.stop and read.start < item.index + item.beats:
                return False
    return True


def test_a_stripe_buffer_rolls_over_a_map_in_memory() -> None:
    conv = _conv("conv", INPUT, (3, 48, 16), 4, padding=1)
    (step,) = _exact(_model((3, 48, 16), conv), TINY).steps
    assert len(step.stripes) == 1
    assert len(step.runs) > 2
    # Lines of the halo stay in the buffer, whose end the map passes.
    assert step.loaded_lines == 48 * 16 // TINY.lanes
    assert 3 * step.rolling <= TINY.lines < 3 * step.loaded_lines


def test_stripes_take_turns_beside_another_map() -> None:
    first = _conv("first", INPUT, (4, 32, 16), 2, padding=1)
    last = _conv("last", "first", (2, 32, 16), 2, padding=1)
    steps = _exact(_model((4, 32, 16), first, last), replace(TINY, lines=64)).steps
    assert len(steps[0].stripes) == 2
    assert steps[0].loaded_lines > 32 * 16 // TINY.lanes


def test_one_stripe_at_a_time_where_two_have_no_room() -> None:
    conv = _conv("conv", INPUT, (9, 8, 16), 4, padding=1)
    (step,) = _exact(_model((9, 8, 16), conv), TINY).steps
    assert len(step.stripes) == 1
    assert len(step.runs) > 1


def test_a_pool_takes_some_channels_at_a_time() -> None:
    model = _model((64, 16, 16), MaxPool("pool", INPUT, 3, 1))
    steps = _exact(model, TINY).steps
    assert len(steps) > 1
    assert [channel for step in steps for channel in step.step.block] == list(range(64))


def test_a_map_that_its_pass_cannot_repack_is_copied() -> None:
    conv = _conv("conv", INPUT, (20, 32, 8), 20, padding=1)
    model = _model((20, 32, 8), conv, MaxPool("pool", "conv", 4, 2))
    array = replace(TINY, lines=64)
    names = [step.step.lowered.name for step in _exact(model, array).steps]
    assert names[0] == "conv"
    assert any(name.startswith("conv@") for name in names)


def test_small_planes_are_loaded_without_gaps() -> None:
    rng = np.random.default_rng(0)
    first = weighted(rng, LayerSpec("fc1", "linear", (40, 30), (30, 1, 1)), INPUT, 0.5)
    last = weighted(rng, LayerSpec("fc2", "linear", (5, 40), (40, 1, 1)), "fc1", 0.5)
    steps = _exact(_model((30, 1, 1), first, last), TINY, 3).steps
    assert steps[1].loads == (0,)
    assert steps[1].sources[0].stride == SLICE


def test_a_strided_1x1_layer_keeps_one_phase() -> None:
    conv = _conv("conv", INPUT, (4, 8, 8), 4, padding=1)
    skip = _conv("skip", "conv", (4, 8, 8), 4, size=1, stride=2)
    main = _conv("main", "conv", (4, 8, 8), 4, padding=1)
    pool = MaxPool("pool", "main", 2, 2)
    model = _model(
        (4, 8, 8), conv, main, skip, pool, Add("add", ("pool", "skip"), (1, 1), 1, _BYTE)
    )
    steps = {step.step.lowered.name: step.step for step in _exact(model, SequentialArray()).steps}
    assert steps["skip"].sources[0].format.first_only
    assert steps["main"].sources[0].format.phases == 1


def test_sums_of_any_multipliers() -> None:
    conv = _conv("conv", INPUT, (2, 6, 6), 2, padding=1)
    twin = _conv("twin", INPUT, (2, 6, 6), 2, padding=1)
    for mult in ((1, 1), (128, 3), (129, 128), (65535, 1), (40000, 65534)):
        add = Add("add", (INPUT, "conv"), mult, 17, _BYTE)
        pool = MaxPool("pool", "conv", 1, 1)
        joined = _exact(_model((2, 6, 6), conv, add), TINY)
        assert [step.step.lowered.name for step in joined.steps] == ["add"]
        # A map that has another reader is made apart; so is the sum.
        apart = Add("add", ("pool", "conv"), mult, 17, _BYTE)
        assert len(_exact(_model((2, 6, 6), conv, pool, apart), TINY).steps) == 3
        both = Add("add", ("twin", "conv"), mult, 17, _BYTE)
        assert len(_exact(_model((2, 6, 6), conv, twin, both), TINY).steps) == 2


def test_a_sum_that_does_not_fit_beside_its_layer_is_a_pass_of_its_own() -> None:
    conv = _conv("conv", INPUT, (20, 4, 8), 20, size=1)
    add = Add("add", (INPUT, "conv"), (1, 1), 1, _BYTE)
    names = [step.step.lowered.name for step in _exact(_model((20, 4, 8), conv, add), TINY).steps]
    assert names[0] == "conv"
    assert set(names[1:]) == {"add"}


def test_a_small_pool_is_made_with_stride_1_and_drops_the_rest() -> None:
    conv = _conv("conv", INPUT, (3, 9, 8), 4, padding=1)
    model = _model((3, 9, 8), conv, MaxPool("pool", "conv", 3, 2))
    first, pool = _exact(model, SequentialArray(), 2).steps
    assert not first.step.output.listed
    assert pool.step.output.natural.every == (2, 2)


def test_the_roofline_chooses_the_images_per_run() -> None:
    rng = np.random.default_rng(0)
    fc = weighted(rng, LayerSpec("fc", "linear", (64, 64), (64, 1, 1)), INPUT, 1.0)
    model = _model((64, 1, 1), fc)
    chosen = best_images(model, SequentialArray(), 6.0)
    assert chosen.images == 8
    alone = compile_model(model, SequentialArray())
    assert cycles_per_image(chosen, 6.0) < cycles_per_image(alone, 6.0) / 4


def test_requantisers_of_large_shifts() -> None:
    rng = np.random.default_rng(0)
    layer = weighted(rng, LayerSpec("fc", "linear", (6, 8), (8, 1, 1)), INPUT, 1.0)
    for shift in (1, 20, 45, 48):
        made = type(layer)(
            layer.spec, INPUT, layer.codes, 8, layer.bias, Requant((65535,), shift), _BYTE
        )
        _exact(_model((8, 1, 1), made), TINY)


def test_the_first_layers_take_fewer_images_than_the_others() -> None:
    """Strided and padded input, a sum and a listed map in the parts; what joins them is read with a stride."""
    conv = _conv("conv", INPUT, (3, 19, 18), 4, stride=2, padding=1)
    twin = _conv("twin", "conv", (4, 10, 9), 4, padding=1)
    add = Add("add", ("twin", "conv"), (3, 5), 3, _BYTE)
    pool = MaxPool("pool", "add", 3, 2)
    later = _conv("later", "pool", (4, 4, 4), 6, stride=2, padding=1)
    model = _model((3, 19, 18), conv, twin, add, pool, later)
    for last, part, images in (("conv", 1, 3), ("add", 2, 4), ("pool", 1, 5), ("pool", 2, 6)):
        for array in (replace(TINY, lines=128), replace(TINY, lines=256), SequentialArray()):
            compiled = _exact(model, array, images, Split(last, part))
            names = [step.step.lowered.name for step in compiled.steps]
            assert names.count("conv") >= images // part
            assert compiled.images == images


def test_a_split_needs_one_map_that_crosses() -> None:
    conv = _conv("conv", INPUT, (3, 8, 8), 3, padding=1)
    twin = _conv("twin", "conv", (3, 8, 8), 3, padding=1)
    add = Add("add", ("twin", "conv"), (3, 5), 3, _BYTE)
    pool = MaxPool("pool", "add", 2, 2)
    model = _model((3, 8, 8), conv, twin, add, pool)
    for split, images, reason in (
        (Split("twin", 1), 2, "twin is no map"),
        (Split("conv", 2), 3, "no multiple"),
        (Split("pool", 1), 2, "pool is no map"),
    ):
        with pytest.raises(PyadmmError, match=reason):
            compile_model(model, TINY, images, split)
    skip = MaxPool("skip", "conv", 1, 1)
    crossing = _model((3, 8, 8), conv, skip, Add("add", ("skip", INPUT), (1, 1), 1, _BYTE))
    with pytest.raises(PyadmmError, match="input is read before and behind conv"):
        compile_model(crossing, TINY, 2, Split("conv", 1))


def test_channels_that_no_logit_depends_on_take_no_time() -> None:
    conv = _conv("conv", INPUT, (2, 8, 8), 6, padding=1)
    codes, bias = conv.codes.copy(), conv.bias.copy()
    codes[3:], bias[3:] = 0, 0
    last = _conv("last", "conv", (6, 8, 8), 2)
    model = _model((2, 8, 8), replace(conv, codes=codes, bias=bias), last)
    first, _ = _exact(model, SequentialArray()).steps
    assert len(first.step.slots) == 3


def test_blocks_of_channels_load_while_the_block_before_computes() -> None:
    model = _model((64, 16, 16), MaxPool("pool", INPUT, 3, 1))
    compiled = _exact(model, replace(TINY, lines=256))
    first, second, *_ = compiled.steps
    assert len(first.runs) == 1 < len(first.stripes)
    assert second.follows(first)
    loads = [decode(data) for data in descriptors(compiled.program.image)]
    waits = [load.wait_run for load in loads if isinstance(load, Load) and load.target == "buffer"]
    assert waits == [True, *[False] * (len(waits) - 1)]


def test_a_large_network_is_split_before_its_heavy_linear_layers() -> None:
    conv = _conv("conv", INPUT, (2, 8, 8), 6, padding=1)
    rng = np.random.default_rng(1)
    spec = LayerSpec("fc", "linear", (40, 384), (6, 8, 8))
    chosen = best_images(
        _model((2, 8, 8), conv, weighted(rng, spec, "conv", 0.5)), SequentialArray(), 6.0, large=1e4
    )
    assert (chosen.images, chosen.split) == (16, Split("conv", 1))
    wide = best_images(_model((2, 8, 8), conv), SequentialArray(), 6.0, large=1e3)
    assert (wide.images, wide.split) == (1, None)


def wide_sum() -> CompressedModel:
    """A sum whose second map is large, behind a layer whose input is small."""
    narrow = _conv("narrow", INPUT, (32, 16, 16), 4, size=1)
    wide = _conv("wide", "narrow", (4, 16, 16), 32, padding=1)
    add = Add("add", ("wide", INPUT), (3, 5), 3, _BYTE)
    return _model((32, 16, 16), narrow, wide, add)


def test_what_a_sum_adds_is_loaded_some_channels_at_a_time() -> None:
    compiled = _exact(wide_sum(), replace(TINY, lines=256))
    sums = [step for step in compiled.steps if step.step.lowered.name == "add"]
    assert len(sums) > 2
    assert all(step.partial for step in sums)
    assert [channel for step in sums for channel in step.step.block] == list(range(32))
    loads = [decode(data) for data in descriptors(compiled.program.image)]
    lengths = [load.rows for load in loads if isinstance(load, Load) and load.target == "buffer"]
    assert sum(lengths[-len(sums) :]) == 32


def in_place_sum() -> CompressedModel:
    """A sum behind two layers, and another one whose output is stored with its phases apart."""
    shape = (4, 16, 16)
    nodes: list[object] = [_conv("first", INPUT, (3, 16, 16), 4, padding=1)]
    for source, name in (("first", "add"), ("add", "total")):
        nodes.append(_conv(f"{name}.a", source, shape, 4, padding=1))
        nodes.append(_conv(f"{name}.b", f"{name}.a", shape, 4, padding=1))
        nodes.append(Add(name, (f"{name}.b", source), (3, 5), 3, _BYTE))
    last = _conv("last", "total", shape, 5, stride=2, padding=1)
    return _model((3, 16, 16), *nodes, last)


@pytest.mark.parametrize("images", [1, 2])
def test_a_sum_takes_the_place_of_what_is_added(images: int) -> None:
    compiled = _exact(in_place_sum(), replace(TINY, lines=128, masks=512, lists=1024), images)
    places = {step.step.lowered.name: step.output for step in compiled.steps}
    assert places["first"].base == places["add"].base == places["total"].base
    assert places["first"].in_buffer


def test_a_sum_stays_beside_what_its_layer_reads() -> None:
    conv = _conv("conv", INPUT, (3, 16, 16), 4, padding=1)
    other = _conv("other", "conv", (4, 16, 16), 4, padding=1)
    add = Add("add", ("other", "conv"), (3, 5), 3, _BYTE)
    last = Add("last", ("add", "conv"), (1, 1), 1, _BYTE)
    compiled = _exact(_model((3, 16, 16), conv, other, add, last), replace(TINY, lines=128))
    places = {step.step.lowered.name: step.output for step in compiled.steps}
    # The map is read again, by a sum that no layer makes.
    assert places["conv"] != places["add"]


def chains() -> dict[str, CompressedModel]:
    """Networks whose maps are larger than 256 lines of 32 bytes, and passes that suit chains."""
    shape, half, narrow = (24, 48, 32), (24, 24, 16), (4, 48, 32)
    first = _conv("first", INPUT, (3, 48, 32), 24, padding=1)
    second = _conv("second", "first", shape, 24, size=1)
    down = _conv("down", INPUT, (2, 96, 64), 24, stride=2, padding=1)
    low, wide = _conv("low", INPUT, shape, 12, size=1), _conv("wide", "mid", narrow, 24, size=1)
    mid = _conv("mid", "low", (12, 48, 32), 4, padding=1)
    return {
        "pool": _model((3, 48, 32), first, MaxPool("pool", "first", 2, 2)),
        "halo": _model((3, 48, 32), first, MaxPool("pool", "first", 3, 2, 1)),
        "phases": _model((2, 96, 64), down, MaxPool("pool", "down", 2, 2)),
        "three": _model((3, 48, 32), first, second, MaxPool("pool", "second", 2, 2)),
        "sum": _model(shape, low, mid, wide, Add("add", ("wide", INPUT), (3, 5), 3, _BYTE)),
        "behind": _model(
            (3, 48, 32),
            first,
            MaxPool("pool", "first", 2, 2),
            _conv("last", "pool", half, 3, padding=1),
        ),
    }


ANY_CHAIN = 100.0
"""Limit that makes chains wherever they are possible: on small maps they do not pay."""


@pytest.mark.parametrize("name", chains())
@pytest.mark.parametrize("images", [1, 2])
def test_passes_take_turns_stripe_by_stripe(name: str, images: int) -> None:
    array = SequentialArray(2, 32, 256, 64, 512, 1024, 16)
    compiled = _exact(chains()[name], array, images, chain_limit=ANY_CHAIN)
    first, second, *_ = compiled.steps
    assert first.rolling > 0
    assert first.output == second.sources[0]
    assert first.output.in_buffer
    made = [planned.step.lowered.name for planned, _ in compiled.runs]
    last = len(made) - 1 - made[::-1].index(first.step.lowered.name)
    assert made.index(second.step.lowered.name) < last
    assert sum(len(planned.runs) for planned in compiled.steps) == len(made)


def test_a_pass_of_a_chain_that_follows_itself_keeps_its_tables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pool waits for whole rows in most turns, and masks of the layer differ from turn to turn."""
    monkeypatch.setattr("pyadmm.hardware.sequential.fusion._MOST_TILES", (3,))
    shape = (64, 56, 112)
    spec = LayerSpec("conv", "conv", (96, 64, 3, 3), shape, 1, 1)
    conv = weighted(np.random.default_rng(0), spec, INPUT, 0.05)
    model = _model(shape, conv, MaxPool("pool", "conv", 2, 2))
    compiled = compile_model(model, chain_limit=ANY_CHAIN)
    first, second = (len(step.runs) for step in compiled.steps)
    assert first > 2 * second
    assert _tables_are_safe(compiled)


def test_a_chain_is_taken_where_memory_binds() -> None:
    """A sparse layer before a pool waits for memory; a dense one does not."""
    shape = (64, 96, 96)
    rng, size = np.random.default_rng(3), SequentialArray()
    spec = LayerSpec("conv", "conv", (64, 64, 3, 3), shape, 1, 1)
    pool = MaxPool("pool", "conv", 2, 2)
    for density, chained in ((0.01, True), (1.0, False)):
        model = _model(shape, weighted(rng, spec, INPUT, density), pool)
        compiled = compile_model(model, size)
        assert compiled.steps[0].output.in_buffer == chained


def test_pools_of_many_rows() -> None:
    """More kernel elements than an entry can name: rows are advances; two images, and one that memory feeds."""
    conv = _conv("conv", INPUT, (3, 15, 14), 5, padding=1)
    pool = AvgPool("pool", "conv", (15, 14), (15, 14), Requant((1249,), 18), _BYTE)
    last = _conv("last", "pool", (5, 1, 1), 4, size=1)
    for array, images in ((SequentialArray(), 1), (SequentialArray(), 2), (TINY, 1)):
        _exact(_model((3, 15, 14), conv, pool, last), array, images)
    part = AvgPool("pool", INPUT, (12, 13), (1, 1), Requant((1680,), 18), _BYTE)
    _exact(_model((3, 15, 14), part), SequentialArray(), 2)


def test_layers_write_their_channels_of_a_concatenation() -> None:
    squeeze = _conv("squeeze", INPUT, (3, 9, 8), 2, size=1)
    single = _conv("single", "squeeze", (2, 9, 8), 3, size=1)
    wide = _conv("wide", "squeeze", (2, 9, 8), 4, padding=1)
    pool = MaxPool("pool", "squeeze", 3, 1, 1)
    last = _conv("last", "both", (9, 9, 8), 4, stride=2, padding=1)
    sources = "single", "pool", "wide"
    for requants, expected in (
        ((Requant(),) * 3, ["single", "wide", "both[1]"]),
        ((Requant(), Requant(), Requant((3,), 2)), ["single", "wide", "both[1]", "both[2]"]),
    ):
        both = Concat("both", sources, requants, _BYTE)
        model = _model((3, 9, 8), squeeze, single, wide, pool, both, last)
        for array, images in ((SequentialArray(), 2), (TINY, 1)):
            names = [step.step.lowered.name for step in _exact(model, array, images).steps]
            made = [name for name in names if name in {"single", "wide"} or "[" in name]
            assert list(dict.fromkeys(made)) == expected
