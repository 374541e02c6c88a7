"""Truncated, damaged and hostile ``.admm`` files: one clear error, in bounded time and memory."""

from __future__ import annotations

import contextlib
import time
import tracemalloc
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pyadmm.container import codec as container
from pyadmm.container import network_coding, seal, sparse, window_coding
from pyadmm.container.budget import Budget
from pyadmm.container.network_coding import NODE_LIMIT, NetworkCoder
from pyadmm.container.range_coder import Decoder, Encoder, Sizes
from pyadmm.core.errors import PyadmmError
from pyadmm.model import (
    INPUT,
    AvgPool,
    CompressedLayer,
    CompressedModel,
    InputSpec,
    MaxPool,
    Requant,
)
from pyadmm.model.types import LayerSpec, QFormat
from pyadmm.model.windows import Windows
from tests.unit.arbitrary_models import assert_same, models
from tests.unit.models import random_lenet5

HEAD = 4
GOOD = container.encode(random_lenet5(1, kept=(100, 500, 500, 200)))
SECONDS = 10.0
"""Generous: the machine may be busy; the largest admissible work takes about 3 s."""
relaxed = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Stop(Exception):
    """Ends a hostile encoder."""


def decode_or_error(data: bytes) -> CompressedModel | None:
    """The model, or ``None`` for a :class:`PyadmmError`; nothing else may come out."""
    start = time.process_time()
    model, said = None, ".admm file: "
    try:
        model = container.decode(data)
    except PyadmmError as error:
        said = str(error)
    assert said.startswith(".admm file: ")
    assert "\n" not in said
    assert time.process_time() - start < SECONDS
    return model


def test_truncation_at_every_length() -> None:
    for length in range(len(GOOD)):
        with pytest.raises(PyadmmError, match=r"\.admm file: (checksum|starts|version)"):
            container.decode(GOOD[:length])


@pytest.mark.parametrize("tail", [b"\0", b"\0" * 100, b"x", GOOD])
def test_trailing_bytes(tail: bytes) -> None:
    with pytest.raises(PyadmmError, match="checksum is wrong"):
        container.decode(GOOD + tail)


@relaxed
@given(st.lists(st.integers(0, 8 * len(GOOD) - 1), min_size=1, max_size=20, unique=True))
def test_flipped_bits(places: list[int]) -> None:
    data = bytearray(GOOD)
    for place in places:
        data[place // 8] ^= 1 << place % 8
    assert decode_or_error(bytes(data)) is None


@relaxed
@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    assert decode_or_error(data) is None
    assert decode_or_error(container.MAGIC + data) is None


@relaxed
@given(st.binary(max_size=400))
@example(b"")
@example(b"\xff" * 400)
@example(b"\0" * 400)
def test_any_content_with_a_right_checksum(content: bytes) -> None:
    model = decode_or_error(seal(content))
    if model is not None:
        assert_same(model, container.decode(container.encode(model)))


@relaxed
@given(st.data())
def test_changed_content_with_a_right_checksum(data: st.DataObject) -> None:
    content = bytearray(GOOD[HEAD:])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.one_of(st.integers(0, 60), st.integers(0, len(content) - 1)))
        content[place] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    decode_or_error(seal(bytes(content)))


@settings(relaxed, max_examples=40)
@given(models(), st.data())
def test_changed_files_of_any_model(model: CompressedModel, data: st.DataObject) -> None:
    content = bytearray(container.encode(model)[HEAD:])
    for _ in range(data.draw(st.integers(1, 4))):
        if content:
            place = data.draw(st.integers(0, len(content) - 1))
            content[place] = data.draw(st.integers(0, 255))
    decode_or_error(seal(bytes(content)))


def balanced(number: int) -> CompressedModel:
    """A layer of which each row holds ``number`` weights in every other window of eight inputs."""
    codes = np.tile(np.arange(256) % 16 < number, (40, 1)).astype(np.int16)
    codes = np.random.default_rng(0).permuted(codes.reshape(40, 32, 8), axis=2).reshape(40, 256)
    spec = LayerSpec("fc1", "linear", codes.shape, (256, 1, 1))
    zeros = np.zeros(len(codes), np.int64)
    layer = CompressedLayer(spec, INPUT, codes, 3, zeros, Requant(), QFormat(8, False))
    return CompressedModel("m", InputSpec((256, 1, 1), QFormat(8, False)), (layer,))


@cache
def balanced_file_of(number: int) -> bytes:
    """The file of :func:`balanced`."""
    return container.encode(balanced(number))


@settings(relaxed, max_examples=30)
@given(st.integers(1, 8), st.data())
def test_changed_files_of_balanced_layers(number: int, data: st.DataObject) -> None:
    content = bytearray(balanced_file_of(number)[HEAD:])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    decode_or_error(seal(bytes(content), container.BALANCED))


def test_truncated_balanced_file() -> None:
    good = container.encode(balanced(3))
    assert good[:1] == container.BALANCED
    for length in range(len(good)):
        with pytest.raises(PyadmmError, match=r"\.admm file: (checksum|starts|version)"):
            container.decode(good[:length])


@relaxed
@given(st.binary(max_size=400))
def test_any_content_of_version_4(content: bytes) -> None:
    decode_or_error(seal(content, container.BALANCED))


class LastBudget(Budget):
    """Stops the encoder when a layer has coded the numbers of its windows."""

    asked = 0

    def affords(self, nonzeros: int, lines: int, cells: int) -> bool:
        self.asked += 1
        if self.asked > 1:
            raise Stop
        return super().affords(nonzeros, lines, cells)


def balanced_file(monkeypatch: pytest.MonkeyPatch, **changes: object) -> bytes:
    """A file of a balanced layer, up to its windows, by an encoder with changed ``windows``."""
    encoder = Encoder()
    coder = NetworkCoder(
        encoder, extended=True, weight_limit=1 << 60, budget=LastBudget(), balanced=True
    )
    with monkeypatch.context() as patch:
        patch.setattr(sparse, "choose_coding", lambda *_: sparse.Coding.BALANCED)
        for name, change in changes.items():
            patch.setattr(window_coding, name, change)
        with pytest.raises((Stop, PyadmmError)):
            coder.model(balanced(3))
    return seal(encoder.finish(), container.BALANCED)


def test_window_with_more_weights_than_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of 43 windows of 6 places has only 4, which the encoder ignores."""
    data = balanced_file(
        monkeypatch,
        find_windows=lambda *_: Windows(6, 4),
        window_bounds=lambda *_: np.arange(0, 259, 6),
        window_counts=lambda *_: np.full((40, 43), 5),
    )
    assert_refused_at_once(data, "a window has more non-zeros than cells")


def test_group_without_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    data = balanced_file(monkeypatch, find_windows=lambda *_: Windows(8, 0))
    assert_refused_at_once(data, "a group of a balanced layer has no rows")


@settings(relaxed, max_examples=40)
@given(st.binary(max_size=60), st.binary(min_size=0, max_size=200))
def test_memory_is_bounded(start: bytes, rest: bytes) -> None:
    """Half a megabyte may hold a million weights of two bytes; nothing needs much more."""
    content = GOOD[HEAD : HEAD + len(start) // 2] + start + rest
    tracemalloc.start()
    decode_or_error(seal(content))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6


# --- files that a hostile encoder makes ----------------------------------------------------------


def hostile(monkeypatch: pytest.MonkeyPatch, model: CompressedModel) -> bytes:
    """A sealed file of ``model`` by an encoder that ignores the limits, ending at its first
    layer's weights."""

    def stop(*_: object) -> None:
        raise Stop

    encoder = Encoder()
    free = 1 << 60
    coder = NetworkCoder(
        encoder, weight_limit=free, budget=Budget(), scalar_limit=free, map_limit=free
    )
    with monkeypatch.context() as patch:
        patch.setattr(network_coding, "code_matrix", stop)
        with pytest.raises(Stop):
            coder.model(model)
    return seal(encoder.finish())


def giant(outputs: int, inputs: int) -> CompressedModel:
    """A network that declares many weights and holds none in memory."""
    spec = LayerSpec("fc1", "linear", (outputs, inputs), (inputs, 1, 1))
    layer = CompressedLayer(
        replace(spec, weight_shape=(1, inputs)),
        INPUT,
        np.zeros((1, inputs), np.int16),
        1,
        np.zeros(1, np.int64),
        Requant(),
        QFormat(8, False),
    )
    object.__setattr__(layer, "spec", spec)
    entry = InputSpec((inputs, 1, 1), QFormat(8, False))
    model = CompressedModel("m", entry, (MaxPool("p", INPUT, 1, 1),))
    object.__setattr__(model, "nodes", (layer,))
    return model


def assert_refused_at_once(data: bytes, reason: str) -> None:
    """A short file is refused before anything large is made."""
    assert len(data) < 60
    tracemalloc.start()
    with pytest.raises(PyadmmError, match=reason):
        container.decode(data)
    assert tracemalloc.get_traced_memory()[1] < 8e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("outputs", "inputs"),
    [(1 << 30, 1), (1 << 16, 1 << 10), (1 << 20, 2), (1, (1 << 20) + 100_000)],
)
def test_declared_weights(monkeypatch: pytest.MonkeyPatch, outputs: int, inputs: int) -> None:
    data = hostile(monkeypatch, giant(outputs, inputs))
    assert_refused_at_once(data, "that a file of this length may hold")


def test_declared_outputs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million rows of one weight each: coded one by one, so limited."""
    data = hostile(monkeypatch, giant(1 << 20, 1))
    assert decode_or_error(data) is None


def test_declared_scales_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million scales that follow from one multiplier take no bytes, so they are limited."""
    model = giant(1 << 20, 1)
    object.__setattr__(model.nodes[0], "weight_scale", (0.5,) * (1 << 20))
    data = hostile(monkeypatch, model)
    assert_refused_at_once(data, "biases, multipliers and scales")


def test_endless_multipliers() -> None:
    """Equal multipliers cost next to nothing to code; their number is limited."""
    wide = Requant((1,) * 65536, 1)
    entry = InputSpec((1, 1, 1), QFormat(8, False))
    pool = AvgPool("pool1", INPUT, 1, 1, wide, QFormat(8, False))
    model = CompressedModel("m", entry, (pool,))
    data = container.encode(model)
    assert len(data) < 5000
    for coder, source in ((Encoder(), model), (Decoder(data[HEAD:]), None)):
        session = NetworkCoder(
            coder, weight_limit=1 << 60, budget=Budget(), scalar_limit=len(wide.mult) - 1
        )
        with pytest.raises(PyadmmError, match="more than 65535 biases, multipliers and scales"):
            session.model(source)


def full(outputs: int) -> CompressedModel:
    """One layer of equal weights, 1,000 for each output."""
    spec = LayerSpec("fc1", "linear", (outputs, 1000), (1000, 1, 1))
    layer = CompressedLayer(
        spec,
        INPUT,
        np.ones((outputs, 1000), np.int16),
        1,
        np.zeros(outputs, np.int64),
        Requant(),
        QFormat(8, False),
    )
    return CompressedModel("m", InputSpec((1000, 1, 1), QFormat(8, False)), (layer,))


@pytest.mark.parametrize(
    ("outputs", "budget", "reason"),
    [
        (200, Budget(1 << 60), "takes too long to decode"),
        (1100, Budget(), "of this length may hold"),
    ],
)
def test_cheap_full_layers(outputs: int, budget: Budget, reason: str) -> None:
    """Weights that are all alike cost next to nothing to code; the work on them is limited."""
    model = full(outputs)
    assert_same(model, container.decode(container.encode(model)))
    encoder = Encoder()
    NetworkCoder(encoder, weight_limit=1 << 60, budget=budget).model(model)
    with pytest.raises(PyadmmError, match=reason):
        container.decode(seal(encoder.finish()))


def test_deep_networks_do_not_exhaust_the_stack() -> None:
    entry = InputSpec((1, 1, 1), QFormat(8, False))
    sources = [INPUT, *(f"p{i}" for i in range(NODE_LIMIT - 1))]
    pools = tuple(MaxPool(f"p{i}", source, 1, 1) for i, source in enumerate(sources))
    model = CompressedModel("deep", entry, pools)
    back = container.decode(container.encode(model))
    assert_same(model, back)
    assert back.format_of(pools[-1].name) == entry.format


# --- the coder -----------------------------------------------------------------------------------


@relaxed
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 3), st.integers(0, 5))), st.binary())
def test_coder_round_trip(steps: list[tuple[int, int, int]], junk: bytes) -> None:
    """Any symbols of any (extreme) weights come back; junk gives symbols in range or an error."""
    rng = np.random.default_rng(0)
    weights = [1.0 + (rng.random(n) * 2.0 ** (14 * power)).round() for n, power, _ in steps]
    symbols = [symbol % len(w) for w, (*_, symbol) in zip(weights, steps, strict=True)]
    encoder = Encoder()
    for w, symbol in zip(weights, symbols, strict=True):
        encoder.symbol(w, symbol)
    data = encoder.finish()
    decoder = Decoder(data)
    assert [decoder.symbol(w, None) for w in weights] == symbols
    reader = Decoder(junk)
    with contextlib.suppress(PyadmmError):
        assert all(0 <= reader.symbol(w, None) < len(w) for w in weights)


@pytest.mark.parametrize("value", [0, 1, 2, 1000, 1 << 40, (1 << 48) - 1])
def test_sizes(value: int) -> None:
    encoder = Encoder()
    assert Sizes("x", (1 << 48) - 1).code(encoder, value) == value
    assert Sizes("x", (1 << 48) - 1).code(Decoder(encoder.finish()), None) == value
    with pytest.raises(PyadmmError, match="x must be 0 to 5, not 6"):
        Sizes("x", 5).code(encoder, 6)


def test_encoder_wastes_less_than_a_byte() -> None:
    rng = np.random.default_rng(0)
    for count in range(40):
        encoder = Encoder()
        encoder.mark("all")
        for _ in range(count):
            encoder.symbol(np.array([1.0, 2.0, 3.0]), int(rng.integers(3)))
        assert 8 * len(encoder.finish()) < encoder.sections["all"] + 8
