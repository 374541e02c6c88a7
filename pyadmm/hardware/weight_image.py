"""Weight layouts on chip: gap-coded sparse entries, dense words, groups and the weight image.

The formats are those of ``docs/kernels.md``. A sparse channel is a list of entries sorted by
``(c, kh, kw)``; a gap in ``c`` wider than the index field is bridged by fillers, which cost a cycle
each (as the padding zeros of EIE, Han et al. 2016, section 3.2).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware import balanced
from pyadmm.hardware.elementwise_stage import ElementwisePlan
from pyadmm.hardware.group_balance import assign_groups
from pyadmm.hardware.plan import (
    HEADER_WORDS,
    SLOT_WORDS,
    WORD_BITS,
    AcceleratorPlan,
    Constants,
    EntryFormat,
    StagePlan,
)
from pyadmm.model import Add, AvgPool, CompressedLayer, CompressedModel, InputSpec, MaxPool
from pyadmm.model.types import IntArray, LayerSpec, QFormat

Words = NDArray[np.uint32]


def encode_code(codes: IntArray, bits: int) -> NDArray[np.int64]:
    """Non-zero level codes as sign-and-magnitude fields: bit ``bits-1`` the sign, magnitude - 1.

    >>> encode_code(np.array([1, 2, -1, -2]), 2).tolist()
    [0, 1, 2, 3]
    """
    codes = np.asarray(codes, np.int64)
    sign = (codes < 0).astype(np.int64)
    fields: NDArray[np.int64] = (sign << (bits - 1)) | (np.abs(codes) - 1)
    return fields


def decode_code(fields: IntArray, bits: int) -> NDArray[np.int64]:
    """The level codes of fields; the inverse of :func:`encode_code`."""
    fields = fields.astype(np.int64)
    magnitude = (fields & ((1 << (bits - 1)) - 1)) + 1
    return np.asarray(np.where(fields >> (bits - 1) & 1, -magnitude, magnitude), np.int64)


@dataclass(frozen=True)
class Positions:
    """Positions of the non-zeros of a layer, sorted by ``(o, c, kh, kw)``; ``c`` counts all ``C``.

    :param gap: advance of ``c`` since the previous non-zero of the same output channel (since 0
        for its first).
    :param outputs: number of output channels ``O``.
    """

    o: NDArray[np.int64]
    kh: NDArray[np.int64]
    kw: NDArray[np.int64]
    gap: NDArray[np.int64]
    code: NDArray[np.int64]
    outputs: int

    @classmethod
    def of(cls, layer: CompressedLayer) -> Positions:
        """The non-zeros of ``layer``."""
        window = layer.window_codes
        o, c, kh, kw = np.nonzero(window)
        code = window[o, c, kh, kw].astype(np.int64)
        c = c + _first_channel(layer.spec, o)
        same_output = np.concatenate([[False], o[1:] == o[:-1]])[: len(o)]
        previous = np.concatenate([[0], c[:-1]])[: len(o)]
        return cls(o, kh, kw, c - np.where(same_output, previous, 0), code, len(window))

    def fillers(self, index_bits: int) -> NDArray[np.int64]:
        """Fillers in front of every non-zero when the index field has ``index_bits`` bits."""
        if index_bits == 0:
            return np.zeros_like(self.gap)
        return np.maximum(self.gap - 1, 0) // ((1 << index_bits) - 1)

    def entries_per_output(self, index_bits: int) -> NDArray[np.int64]:
        """Entries (cycles per tile) of every output channel, fillers included; at least 1."""
        cost = 1 + self.fillers(index_bits)
        counts = np.bincount(self.o, cost, self.outputs).astype(np.int64)
        return np.maximum(counts, 1)


def _first_channel(spec: LayerSpec, outputs: IntArray) -> NDArray[np.int64]:
    """First input channel that every one of ``outputs`` sees."""
    return np.asarray(outputs, np.int64) // (spec.outputs // spec.groups) * spec.kernel_channels


def encode_entries(positions: Positions, form: EntryFormat) -> tuple[Words, NDArray[np.int64]]:
    """All entries of a layer, output channel after output channel, and their count per channel.

    :returns: ``(entries, counts)``; ``counts`` has shape ``(O,)`` and sums to ``len(entries)``.
    """
    counts = positions.entries_per_output(form.index_bits)
    fillers = positions.fillers(form.index_bits)
    mac = 1 << form.mac_bit
    entries = np.full(int(counts.sum()), form.max_advance << form.dc_lsb, np.int64)
    ends = np.cumsum(counts)
    empty = np.bincount(positions.o, minlength=positions.outputs) == 0
    # A channel's empty entry holds no place among the non-zeros: it shifts those behind it by one.
    shift = np.cumsum(empty)[positions.o]
    places = np.cumsum(1 + fillers) - 1 + shift
    entries[places] = (
        encode_code(positions.code, form.code_bits)
        | positions.kw << form.kw_lsb
        | positions.kh << form.kh_lsb
        | (positions.gap - fillers * form.max_advance) << form.dc_lsb
        | mac
    )
    entries[ends[empty] - 1] = 0
    entries[ends - 1] |= 1 << form.last_bit
    return entries.astype(np.uint32), counts


def decode_entries(entries: Words, form: EntryFormat, channels: int) -> NDArray[np.int64]:
    """Codes ``(slots, C, KH', KW')`` of a group's entries, ``KH' = 2**kh_bits`` and so on.

    Sequential on purpose: it walks the list as the hardware does.

    :raises PyadmmError: where the list breaks the format (a channel beyond ``C``, no ``last``).
    """
    outputs: list[NDArray[np.int64]] = []
    block = np.zeros((channels, 1 << form.kh_bits, 1 << form.kw_bits), np.int64)
    c, open_channel = 0, False
    for word in entries.tolist():
        open_channel = True
        c += word >> form.dc_lsb & form.max_advance
        if word >> form.mac_bit & 1:
            if c >= channels:
                raise PyadmmError(f"weight image: entry for channel {c} of {channels}")
            kh = word >> form.kh_lsb & ((1 << form.kh_bits) - 1)
            kw = word >> form.kw_lsb & ((1 << form.kw_bits) - 1)
            code = word & ((1 << form.code_bits) - 1)
            block[c, kh, kw] = decode_code(np.array(code), form.code_bits)
        if word >> form.last_bit & 1:
            outputs.append(block.copy())
            block[:] = 0
            c, open_channel = 0, False
    if open_channel:
        raise PyadmmError("weight image: a group's last entry does not end its channel")
    return np.array(outputs, np.int64).reshape(len(outputs), *block.shape)


def dense_groups(outputs: int, groups: int) -> list[list[int]]:
    """Output channels of every dense group: channel ``o`` is slot ``o // G`` of group ``o % G``."""
    return [list(range(group, outputs, groups)) for group in range(groups)]


@dataclass(frozen=True)
class GroupContent:
    """Content of one group of a stage: memory words and the channels of its slots."""

    words: Words
    channels: Sequence[int]


def stage_contents(layer: CompressedLayer, stage: StagePlan) -> list[GroupContent]:
    """Weight words and channels of every group of ``stage``, capacities not yet applied."""
    if stage.config.family == "dense":
        flat = layer.codes.reshape(stage.spec.outputs, -1).astype(np.int64)
        members = dense_groups(stage.spec.outputs, stage.groups)
        return [GroupContent(flat[m].ravel().astype(np.uint32), m) for m in members]
    if stage.config.family == "balanced":
        return [
            GroupContent(words.astype(np.uint32), channels)
            for words, channels in balanced.group_words(layer, stage)
        ]
    entries, counts = encode_entries(Positions.of(layer), stage.entry_format)
    starts = np.cumsum(counts) - counts
    contents = []
    for channels in assign_groups(counts, stage.groups):
        pieces = [entries[starts[o] : starts[o] + counts[o]] for o in channels]
        contents.append(GroupContent(np.concatenate([*pieces, entries[:0]]), channels))
    return contents


def needed_capacities(layer: CompressedLayer, stage: StagePlan) -> tuple[int, int]:
    """``(entries, slots)`` that the fullest group of ``stage`` needs for ``layer``."""
    if stage.config.family == "dense":
        slots = -(-stage.spec.outputs // stage.groups)
        return slots * stage.window, slots
    if stage.config.family == "balanced":
        return balanced.needed_steps(layer.window_codes, stage)
    loads = Positions.of(layer).entries_per_output(stage.config.index_bits)
    return sparse_capacities(loads, stage.groups)


def sparse_capacities(loads: IntArray, groups: int) -> tuple[int, int]:
    """``(entries, slots)`` of the fullest group when channels with ``loads`` share ``groups``."""
    members = assign_groups(loads, groups)
    return max(int(loads[m].sum()) for m in members), max(len(m) for m in members)


def weight_image(model: CompressedModel, plan: AcceleratorPlan) -> Words:
    """The weight image of ``model`` for the accelerator ``plan`` (``docs/kernels.md``).

    :raises PyadmmError: where the model does not fit the accelerator.
    """
    names = [stage.name for stage in plan.stages]
    if [layer.name for layer in model.layers] != names:
        raise PyadmmError(
            f"model {model.name}: its layers {[layer.name for layer in model.layers]} are not "
            f"those of accelerator {plan.name}, {names}"
        )
    if _input_facts(model.input) != _input_facts(plan.input):
        raise PyadmmError(f"model {model.name}: its input is not that of accelerator {plan.name}")
    for stage in plan.stages:
        if stage.constants is not None:
            _check_constants(model.layer(stage.name), stage.constants)
    parts = [_stage_image(model, stage) for stage in plan.loadable]
    return np.concatenate([*parts, *(_scale_image(model, row) for row in plan.rows)])


def _check_constants(layer: CompressedLayer, constants: Constants) -> None:
    """Raise where ``layer`` is not the one that an unrolled kernel was made of."""
    if constants_digest(layer) != constants.digest:
        raise PyadmmError(
            f"{layer.name}: its weights are part of the hardware (unrolled) and differ from this "
            "model's; generate the accelerator anew"
        )


def constants_digest(layer: CompressedLayer) -> str:
    """SHA-256 of everything of ``layer`` that an unrolled kernel makes part of the hardware."""
    digest = hashlib.sha256()
    for values in (layer.codes, layer.bias, layer.requant.mult, (layer.requant.shift,)):
        digest.update(np.asarray(values, "<i8").tobytes() + b"|")
    return digest.hexdigest()


def _input_facts(spec: InputSpec) -> tuple[object, ...]:
    """Facts of the input that the hardware depends on: all but the real-valued scale."""
    return spec.shape, spec.format.bits, spec.format.signed, spec.offset, spec.shift


def _stage_image(model: CompressedModel, stage: StagePlan) -> Words:
    layer = model.layer(stage.name)
    _check_fits(model, layer, stage)
    mult = np.broadcast_to(np.array(layer.requant.mult, np.int64), (stage.spec.outputs,))
    image = np.zeros((stage.groups, stage.group_words), np.uint32)
    for row, content in zip(image, stage_contents(layer, stage), strict=True):
        entries, slots = len(content.words), len(content.channels)
        for what, need, capacity in (
            ("entries", entries, stage.entry_capacity),
            ("slots", slots, stage.slot_capacity),
        ):
            if need > capacity:
                raise PyadmmError(
                    f"{stage.name}: a group needs {need} {what}, the accelerator holds {capacity}; "
                    "prune further or generate it with more capacity"
                )
        row[:HEADER_WORDS] = entries, slots
        row[HEADER_WORDS : HEADER_WORDS + entries] = content.words
        channels = np.array(content.channels, np.int64)
        records = np.stack(
            [channels, layer.bias[channels], mult[channels] | layer.requant.shift << 16], axis=1
        )
        first = HEADER_WORDS + stage.entry_capacity
        row[first : first + SLOT_WORDS * slots] = records.ravel().astype(np.uint32)
    return image.ravel()


def _scale_image(model: CompressedModel, row: ElementwisePlan) -> Words:
    """The words of a stage without weights: a group of one weight, the mult of a sum's second
    source, and one slot record that holds the mult of the first source and the shift."""
    node = next((node for node in model.nodes if node.name == row.name), None)
    facts = {
        "node": (type(node).__name__.lower(), row.kind),
        "output": (
            None if node is None else _format_facts(model.format_of(row.name)),
            _format_facts(row.output),
        ),
        "sources": (None if node is None else node.sources, row.sources),
    }
    for what, (has, wants) in facts.items():
        if has != wants:
            raise PyadmmError(f"{row.name}: {what} {has} differs from the accelerator's {wants}")
    if isinstance(node, Add):
        mult, second, shift = *node.mult, node.shift
    elif isinstance(node, AvgPool):
        mult, second, shift = node.requant.mult[0], 0, node.requant.shift
    else:
        return np.zeros(0, np.uint32)
    return np.array([1, 1, second, 0, 0, mult | shift << 16], np.uint32)


def _format_facts(form: QFormat) -> tuple[int, bool]:
    return form.bits, form.signed


def never_saturates(model: CompressedModel, layer: CompressedLayer) -> bool:
    """Whether no input can reach the limits of the layer's output format: raw logits."""
    x = model.format_of(layer.source).max_magnitude
    reach = layer.accumulator_magnitude(x) * max(layer.requant.mult)
    reach = (reach + (1 << (layer.requant.shift - 1))) >> layer.requant.shift
    return layer.output.lo <= -reach and reach <= layer.output.hi


def hardware_output(model: CompressedModel, layer: CompressedLayer) -> QFormat:
    """Format of the layer's results in hardware.

    Logits that never saturate get a whole word of the output stream, so that models whose logits
    have other ranges run on the same accelerator; every other layer has its own format.
    """
    if _gives_logits(model, layer) and never_saturates(model, layer):
        return QFormat(WORD_BITS, True, layer.output.scale)
    return layer.output


def _gives_logits(model: CompressedModel, layer: CompressedLayer) -> bool:
    """Whether nothing but a max-pool comes behind ``layer``."""
    readers = [node for node in model.nodes if layer.name in node.sources]
    if not readers:
        return True
    return len(readers) == 1 and readers[0] is model.nodes[-1] and isinstance(readers[0], MaxPool)


def _check_fits(model: CompressedModel, layer: CompressedLayer, stage: StagePlan) -> None:
    source = model.format_of(layer.source)
    output = hardware_output(model, layer)
    needs = {
        "shape": (layer.spec, stage.spec),
        "source": (layer.source, stage.source),
        "input bits": ((source.bits, source.signed), (stage.input.bits, stage.input.signed)),
        "output bits": (
            (output.bits, output.signed),
            (stage.output.bits, stage.output.signed),
        ),
    }
    for what, (has, wants) in needs.items():
        if has != wants:
            raise PyadmmError(f"{stage.name}: {what} {has} differs from the accelerator's {wants}")
    for what, bits, limit in (
        ("weight", layer.weight_bits, stage.weight_bits),
        ("accumulator", model.accumulator_bits(layer.name), stage.acc_bits),
    ):
        if bits > limit:
            raise PyadmmError(
                f"{stage.name}: {bits} {what} bits exceed the accelerator's {limit}; "
                "generate it with wider ones"
            )
    shift = layer.requant.shift
    if stage.shift_range is not None:
        low, high = stage.shift_range
        if not low <= shift <= high:
            raise PyadmmError(
                f"{stage.name}: requantises by a shift of {shift}, the accelerator takes {low} to "
                f"{high}; generate it for any shift"
            )


@dataclass(frozen=True)
class StageParameters:
    """A stage's parameters read back from a weight image, by output channel."""

    codes: NDArray[np.int64]
    bias: NDArray[np.int64]
    mult: NDArray[np.int64]
    shift: NDArray[np.int64]


def decode_image(image: Words, plan: AcceleratorPlan) -> dict[str, StageParameters]:
    """Content of a weight image, layer by layer: the inverse of :func:`weight_image`.

    :raises PyadmmError: where the image breaks the format.
    """
    if image.shape != (plan.weight_words,):
        raise PyadmmError(f"weight image: {image.shape} words, not {plan.weight_words}")
    parameters = {}
    start = 0
    for stage in plan.loadable:
        rows = image[start : start + stage.weight_words].reshape(stage.groups, stage.group_words)
        parameters[stage.name] = _decode_stage(rows, stage)
        start += stage.weight_words
    return parameters


def _decode_stage(rows: Words, stage: StagePlan) -> StageParameters:
    outputs = stage.spec.outputs
    window = np.zeros((outputs, *stage.spec.window_shape[1:]), np.int64)
    records = np.zeros((outputs, SLOT_WORDS), np.int64)
    seen = np.zeros(outputs, np.int64)
    for place, row in enumerate(rows):
        entries, slots = row[:HEADER_WORDS].tolist()
        if entries > stage.entry_capacity or slots > stage.slot_capacity:
            raise PyadmmError(f"{stage.name}: header {entries}, {slots} exceeds the capacities")
        body = row[HEADER_WORDS:]
        first = stage.entry_capacity
        table = body[first : first + SLOT_WORDS * slots].reshape(slots, SLOT_WORDS)
        channels = table[:, 0].astype(np.int64)
        if slots and channels.max() >= outputs:
            raise PyadmmError(f"{stage.name}: slot for channel {channels.max()} of {outputs}")
        program = rows[place - place % stage.lockstep]  # of the walker's first group
        steps = program[HEADER_WORDS : HEADER_WORDS + entries]
        window[channels] = _decode_group(body[:entries], channels, stage, steps)
        records[channels] = table
        seen += np.bincount(channels, minlength=outputs)
    if not np.all(seen == 1):
        raise PyadmmError(f"{stage.name}: channel {int(np.argmax(seen != 1))} has no single slot")
    bias = records[:, 1].astype(np.uint32).view(np.int32).astype(np.int64)
    codes = window.reshape(stage.spec.weight_shape)
    return StageParameters(codes, bias, records[:, 2] & 0xFFFF, records[:, 2] >> 16)


def _decode_group(
    words: Words, channels: NDArray[np.int64], stage: StagePlan, steps: Words
) -> NDArray[np.int64]:
    """Codes ``(slots, C // groups, KH, KW)`` of one group's memory.

    :param steps: words of the group with the program of a balanced kernel.
    """
    shape = stage.spec.window_shape[1:]
    if stage.config.family == "balanced":
        blocks = balanced.decode_group(words.astype(np.int64), steps.astype(np.int64), stage)
        if len(blocks) not in (len(channels), len(channels) + 1):
            raise PyadmmError(f"{stage.name}: {len(blocks)} slots for {len(channels)} channels")
        return blocks[: len(channels)]
    if stage.config.family == "dense":
        if len(words) != len(channels) * stage.window:
            raise PyadmmError(f"{stage.name}: {len(words)} weights for {len(channels)} slots")
        return words.view(np.int32).astype(np.int64).reshape(len(channels), *shape)
    blocks = decode_entries(words, stage.entry_format, stage.spec.input_shape[0])
    if len(blocks) != len(channels):
        raise PyadmmError(
            f"{stage.name}: entries of {len(blocks)} channels in {len(channels)} slots"
        )
    blocks = blocks[:, :, : shape[1], : shape[2]]
    first = _first_channel(stage.spec, channels)
    places = first[:, None] + np.arange(shape[0])
    return blocks[np.arange(len(channels))[:, None], places]
