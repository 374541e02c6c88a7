"""The kernels that a break-even compares, simulated: the integer model's outputs, the schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pyadmm.breakeven import BreakEven, LayerCase, Measured, break_even, to_json
from pyadmm.breakeven.cosim import FILL_CYCLES, simulate_pair
from pyadmm.cli.breakeven_cosim import main
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import Board, load_board
from pyadmm.hardware.plan import KernelConfig, StagePlan
from pyadmm.model.types import LayerSpec, Resources

pytestmark = pytest.mark.slow

SPEC = LayerSpec("c", "conv", (12, 6, 3, 3), (6, 7, 5), padding=1)
CASE = LayerCase("", SPEC, 3, 4, resident=True)
CONFIGS = (KernelConfig("dense", 2, 2), KernelConfig("sparse", 4, 1, 1))


def same_area(stages: Sequence[StagePlan], _: Board) -> list[Measured]:
    return [Measured(Resources(lut=1), 8.0, "post-synthesis", "test", "1") for _ in stages]


def record() -> BreakEven:
    return break_even(CASE, load_board("pynq-z2"), same_area, configs=CONFIGS)


@pytest.mark.parametrize(("pruned", "pauses"), [(0.5, 0), (0.2, 5)])
def test_both_kernels_keep_their_schedule(
    pruned: float, pauses: int, simulators: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few weights a channel: columns are selected before the multipliers, and no cycle passes."""
    monkeypatch.setenv("PYADMM_CACHE", str(simulators))
    pair = simulate_pair(CASE, record(), pruned=pruned, outputs=5, images=3)
    # 3 slots of 6*3*3 weights and 4 tiles; 5 channels of the weights that are left, 2 tiles.
    assert pair.dense.scheduled_cycles == 3 * 54 * 4
    left = round(5 * 54 * (1 - pruned))
    assert (left + pauses) * 2 <= pair.sparse.scheduled_cycles <= (left + pauses + 5) * 2
    for kernel in (pair.dense, pair.sparse):
        assert kernel.as_scheduled
        assert kernel.busy_cycles <= kernel.interval_cycles
        assert kernel.interval_cycles - kernel.busy_cycles <= FILL_CYCLES
    assert "5 of 12 output channels" in pair.text()


def test_what_cannot_be_simulated_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = record()
    with pytest.raises(PyadmmError, match="outputs must be 1 to 12, not 13"):
        simulate_pair(CASE, known, 0.5, outputs=13)
    with pytest.raises(PyadmmError, match="at least 2, not 1"):
        simulate_pair(CASE, known, 0.5, outputs=5, images=1)
    with pytest.raises(PyadmmError, match="no sparse kernel at 55% pruned"):
        simulate_pair(CASE, known, 0.55, outputs=5)
    assert main([str(tmp_path / "none.json")]) == 2
    assert "none.json: cannot be read" in capsys.readouterr().err
    records = tmp_path / "breakeven.json"
    records.write_text(to_json((replace(known, layer="alexnet.conv4"),)), encoding="utf-8")
    assert main([str(records), "--layer", "alexnet.conv5"]) == 2
    assert "it has: alexnet.conv4" in capsys.readouterr().err
