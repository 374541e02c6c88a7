"""Geometry of the unrolled kernel: which blocks of output pixels it computes in which cycle.

A beat computes ``R`` output rows of ``P`` neighbouring pixels, all channels at once
(``docs/kernels.md``, "Unrolled"). Beats run along the columns of a block row, block rows follow
each other without a gap, and one idle cycle separates two images.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyadmm.hardware.plan import AcceleratorPlan, StagePlan

IMAGE_TURN = 1
"""Cycles between two images."""


@dataclass(frozen=True)
class Blocks:
    """Blocks of output pixels of an unrolled stage.

    A max-pool whose windows do not overlap is taken inside a block as far as the block has the
    rows or columns of a window; what is left of it is taken over beats (:attr:`later_rows`,
    :attr:`later_columns`).

    :param row_words: whether the next stage takes row words, one channel a cycle.
    """

    stage: StagePlan
    row_words: bool = True

    @property
    def rows(self) -> int:
        """``R``, output rows of a block."""
        return self.stage.tile_rows

    @property
    def pixels(self) -> int:
        """``P``, output columns of a block."""
        return self.stage.config.pixels

    @property
    def kernel_rows(self) -> int:
        """Input rows that a block needs."""
        spec = self.stage.spec
        return (self.rows - 1) * spec.square_stride + spec.kernel[0]

    @property
    def step(self) -> int:
        """Input columns that the window moves per beat."""
        return self.pixels * self.stage.spec.square_stride

    @property
    def zero_beats(self) -> int:
        """Beats of zeros before the first column of a row."""
        return -(-self.stage.spec.square_padding // self.step)

    @property
    def offset(self) -> int:
        """Column of the window that belongs to the first column of the first pixel's kernel."""
        return self.zero_beats * self.step - self.stage.spec.square_padding

    @property
    def columns(self) -> int:
        """Columns of the window: whole beats."""
        spec = self.stage.spec
        span = self.offset + (self.pixels - 1) * spec.square_stride + spec.kernel[1]
        return -(-span // self.step) * self.step

    @property
    def lag(self) -> int:
        """Beats of a row before its first block is there."""
        return self.columns // self.step - 1

    @property
    def pool(self) -> tuple[int, int]:
        """Kernel and stride of the max-pool; ones where there is none."""
        pool = self.stage.pool
        return (1, 1) if pool is None else (pool.kernel, pool.stride)

    @property
    def used(self) -> tuple[int, int]:
        """Output rows and columns that reach the next stage."""
        kernel, stride = self.pool
        _, height, width = self.stage.output_shape
        return (height - 1) * stride + kernel, (width - 1) * stride + kernel

    @property
    def groups(self) -> int:
        """Blocks of a block row."""
        return -(-self.used[1] // self.pixels)

    @property
    def beats(self) -> int:
        """Beats of a block row."""
        return self.lag + self.groups

    @property
    def block_rows(self) -> int:
        """Block rows of an image."""
        return -(-self.used[0] // self.rows)

    @property
    def later_rows(self) -> tuple[int, int]:
        """Kernel and stride of the pool over rows that is left for later."""
        return self.pool if self.rows == 1 else (1, 1)

    @property
    def later_columns(self) -> tuple[int, int]:
        """Kernel and stride of the pool over columns that is left for later."""
        return self.pool if self.pixels == 1 else (1, 1)

    @property
    def pooled_pixels(self) -> int:
        """Pooled columns of a block."""
        return self.pixels if self.pixels == 1 else self.pixels // self.pool[1]

    @property
    def pooled_groups(self) -> int:
        """Blocks of a pooled row."""
        return -(-self.stage.output_shape[2] // self.pooled_pixels)

    @property
    def claim_block(self) -> int:
        """Block rows with whose last beat, but one, nothing is written to the next frame.

        Blocks leave from the first block row on that ends a window of the pool, row words when it
        is complete.
        """
        return self.later_rows[0] - (not self.row_words)

    @property
    def row_cycles(self) -> int:
        """Cycles of a block row.

        Its beats, or what a row word of every channel needs.
        """
        if not self.row_words:
            return self.beats
        return max(self.beats, -(-self.stage.spec.outputs // self.later_rows[1]))

    @property
    def cycles(self) -> int:
        """Cycles of an image."""
        return self.block_rows * self.row_cycles + IMAGE_TURN

    @property
    def frame(self) -> tuple[int, int, int]:
        """``(1, words, integers of a word)`` of a frame of pooled blocks."""
        outputs, height, _ = self.stage.output_shape
        return 1, height * self.pooled_groups, outputs * self.pooled_pixels


def blocks_of(plan: AcceleratorPlan, stage: StagePlan) -> Blocks:
    """The blocks of ``stage`` in ``plan``, whose reader may take them as they come."""
    readers = [reader for reader, _ in plan.readers(stage.node)]
    taken = any(isinstance(r, StagePlan) and block_writer(plan, r) is stage for r in readers)
    return Blocks(stage, row_words=not taken)


def block_writer(plan: AcceleratorPlan, reader: StagePlan) -> StagePlan | None:
    """The unrolled stage whose blocks ``reader`` takes as they come; ``None``: it takes row words.

    Both stages are unrolled, no other stage reads the blocks, and a block is whole steps of the
    reader's window.
    """
    writer = next((s for s in plan.stages if s.node == reader.source), None)
    if writer is None or writer.constants is None or reader.constants is None:
        return None
    if len(plan.readers(reader.source)) > 1:
        return None
    return writer if Blocks(writer).pooled_pixels % Blocks(reader).step == 0 else None
