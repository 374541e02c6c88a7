"""Entries and programs of the balanced kernel (``docs/kernels.md``, "Balanced").

The groups of a walker run in lock step: in each step, every group takes one place of the same
window. A slot's program names the windows; the entries of the walker's first group carry it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.group_balance import assign_groups
from pyadmm.hardware.plan import BalancedFormat, StagePlan
from pyadmm.model import CompressedLayer
from pyadmm.model.types import IntArray
from pyadmm.model.windows import similar_rows

Ints = NDArray[np.int64]


def windows_of(codes: IntArray, stage: StagePlan) -> Ints:
    """``(O, C, KH, KW)`` as ``(O, C' * KH * sub-windows, M)``, zeros in places beyond a row."""
    outputs, window = len(codes), stage.config.window
    row = -1 if stage.fold > 1 else codes.shape[3]
    lines = codes.reshape(outputs, -1 if row > 0 else 1, row)
    padded = np.pad(lines, ((0, 0), (0, 0), (0, -lines.shape[2] % window)))
    return padded.reshape(outputs, -1, window).astype(np.int64)


def program_of(most: IntArray, stage: StagePlan) -> tuple[Ints, Ints]:
    """A slot's program and the window that each of its steps is for (-1: none).

    :param most: steps in every window.
    :returns: ``(fields, windows)``: the fields above an entry, in place, with ``last`` in the last
        step. Gaps wider than the index field are bridged by steps without a window.
    """
    form = stage.balanced_format
    windows = np.repeat(np.arange(len(most)), most)
    line, sub = np.divmod(windows, stage.sub_windows)
    channel, row = np.divmod(line, stage.spec.kernel[0])
    gap = np.diff(channel, prepend=0)
    fillers = bridging_steps(gap, form.index_bits)
    ends = np.cumsum(1 + fillers) - 1
    steps = max(int(ends[-1]) + 1 if len(ends) else 0, 1)
    fields = np.full(steps, form.max_advance << form.dc_lsb, np.int64)
    step_windows = np.full(steps, -1, np.int64)
    step_windows[ends] = windows
    fields[ends] = (
        sub << form.entry_bits
        | row << form.kh_lsb
        | (gap - fillers * form.max_advance) << form.dc_lsb
    )
    if not len(ends):
        fields[0] = 0
    fields[-1] |= 1 << form.last_bit
    return fields, step_windows


def bridging_steps(gap: IntArray, index_bits: int) -> Ints:
    """Number of steps without a window before each step, for an index field of ``index_bits`` bits."""
    if index_bits == 0:
        return np.zeros(len(gap), np.int64)
    return np.asarray(np.maximum(gap - 1, 0) // ((1 << index_bits) - 1), np.int64)


def steps_of_slots(counts: IntArray, slots: Sequence[Sequence[int]], stage: StagePlan) -> Ints:
    """Steps of every slot, those that bridge gaps included."""
    return np.array(
        [len(program_of(counts[list(members)].max(0), stage)[0]) for members in slots], np.int64
    )


def walker_slots(counts: IntArray, stage: StagePlan) -> list[list[list[int]]]:
    """The slots of every walker, each the output channels of its groups, by balanced steps.

    A slot with fewer channels than groups is its walker's last one.

    :param counts: weights of every channel in every window.
    """
    slots = similar_rows(counts, stage.lockstep)
    shares = assign_groups(steps_of_slots(counts, slots, stage), stage.config.walkers)
    return [
        sorted((slots[slot] for slot in share), key=len, reverse=True)
        if stage.config.walkers > 1
        else slots
        for share in shares
    ]


def needed_steps(codes: IntArray, stage: StagePlan) -> tuple[int, int]:
    """Steps of the busiest walker, and slots of the one that has most.

    :param codes: ``(O, C, KH, KW)``.
    """
    counts = np.count_nonzero(windows_of(codes, stage), axis=2)
    walkers = walker_slots(counts, stage)
    steps = max(int(steps_of_slots(counts, slots, stage).sum()) for slots in walkers)
    return steps, max(map(len, walkers))


def entries_of(windows: Ints, step_windows: Ints, form: BalancedFormat) -> Ints:
    """A channel's entry in every step: the next weight of the step's window, or none.

    :param windows: the channel's codes, ``(windows, M)``.
    """
    places = windows.shape[1]
    # The j-th step of a window takes its j-th weight; places without weights are behind them.
    order = np.argsort(windows == 0, axis=1, kind="stable")
    first = np.concatenate([[True], step_windows[1:] != step_windows[:-1]])
    start = np.maximum.accumulate(np.where(first, np.arange(len(step_windows)), 0))
    rank = np.minimum(np.arange(len(step_windows)) - start, places - 1)
    choice = order[step_windows, rank]
    code = windows[step_windows, choice]
    none = (code == 0) | (step_windows < 0)
    field = (code < 0).astype(np.int64) << (form.code_bits - 1) | np.maximum(np.abs(code) - 1, 0)
    entries = np.where(none, places << form.code_bits, field | choice << form.code_bits)
    return np.asarray(entries, np.int64)


def group_words(layer: CompressedLayer, stage: StagePlan) -> list[tuple[Ints, list[int]]]:
    """Memory words and output channels of every group.

    Groups of a walker are neighbours; the words of its first one carry the program.
    """
    windows = windows_of(layer.window_codes, stage)
    counts = np.count_nonzero(windows, axis=2)
    return [
        content
        for slots in walker_slots(counts, stage)
        for content in _walker_words(windows, counts, slots, stage)
    ]


def _walker_words(
    windows: Ints, counts: IntArray, slots: Sequence[list[int]], stage: StagePlan
) -> list[tuple[Ints, list[int]]]:
    """Memory words and output channels of the groups of a walker."""
    form = stage.balanced_format
    words: list[list[Ints]] = [[] for _ in range(stage.lockstep)]
    channels: list[list[int]] = [[] for _ in range(stage.lockstep)]
    empty = np.zeros(windows.shape[1:], np.int64)
    for members in slots:
        fields, step_windows = program_of(counts[members].max(0), stage)
        for group in range(stage.lockstep):
            here = group < len(members)
            part = entries_of(windows[members[group]] if here else empty, step_windows, form)
            words[group].append(part | fields if group == 0 else part)
            channels[group] += members[group : group + 1]
    return [(np.concatenate(w), c) for w, c in zip(words, channels, strict=True)]


def decode_group(words: Ints, program: Ints, stage: StagePlan) -> Ints:
    """Codes ``(slots, C, KH, KW)`` of one group's words; walks them as the hardware does.

    :param program: the words of its walker's first group.
    :raises PyadmmError: where the words break the format.
    """
    form, window = stage.balanced_format, stage.config.window
    channels, rows, subs = stage.window_channels, stage.spec.kernel[0], stage.sub_windows
    block = np.zeros((channels, rows, subs, window), np.int64)
    blocks, c, is_open = [], 0, False
    for word, step in zip(words.tolist(), program.tolist(), strict=True):
        is_open = True
        c += step >> form.dc_lsb & form.max_advance
        choice = word >> form.code_bits & ((1 << form.choice_bits) - 1)
        if choice < window:
            kh = step >> form.kh_lsb & ((1 << form.kh_bits) - 1)
            sub = step >> form.entry_bits & ((1 << form.sub_bits) - 1)
            if c >= channels or kh >= rows or sub >= subs:
                raise PyadmmError(f"{stage.name}: a step reads window {c}, {kh}, {sub}")
            magnitude = (word & ((1 << (form.code_bits - 1)) - 1)) + 1
            negative = word >> (form.code_bits - 1) & 1
            block[c, kh, sub, choice] = -magnitude if negative else magnitude
        if step >> form.last_bit & 1:
            blocks.append(block.copy())
            block[:] = 0
            c, is_open = 0, False
    if is_open:
        raise PyadmmError(f"{stage.name}: the program's last step does not end its slot")
    codes = np.array(blocks, np.int64).reshape(len(blocks), channels, rows, subs * window)
    if stage.fold > 1:
        return codes.reshape(len(blocks), -1, 1, 1)[:, : stage.spec.input_shape[0]]
    return codes[:, :, :, : stage.spec.kernel[1]]
