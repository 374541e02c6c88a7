"""How full a chip gets: 80 %, a share that is given, or with open tools what was routed on the board."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyadmm.cli import run as run_command
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.design_space import CHIP_SHARE, chip_limit

BOARD = load_board("pynq-z2")
CHIP = BOARD.resources


def test_every_resource_has_the_same_share() -> None:
    assert chip_limit(BOARD) == CHIP.scaled(CHIP_SHARE)
    assert chip_limit(BOARD, 0.3) == CHIP.scaled(0.3)


def test_open_tools_get_the_luts_that_they_route_and_the_dsp_blocks_that_they_place() -> None:
    assert BOARD.routed_share is not None
    expected = replace(CHIP.scaled(CHIP_SHARE), lut=CHIP.lut * BOARD.routed_share, dsp=110.0)
    assert chip_limit(BOARD, open_tools=True) == expected
    unknown = replace(BOARD, routed_share=None)
    assert chip_limit(unknown, open_tools=True).lut == CHIP.lut * CHIP_SHARE


def test_a_given_share_goes_before_what_was_routed() -> None:
    assert chip_limit(BOARD, 0.4, open_tools=True) == CHIP.scaled(0.4)
    assert chip_limit(BOARD, 0.7, open_tools=True) == replace(CHIP.scaled(0.7), dsp=110.0)


def test_a_run_with_open_tools_chooses_kernels_for_them() -> None:
    parser = run_command.COMMAND.parser()

    def chosen(*arguments: str) -> tuple[bool, float | None]:
        config = run_command.configuration(parser.parse_args(arguments))
        return config.open_tools, config.chip_share

    assert chosen() == (False, None)
    assert chosen("--bitstream", "vivado") == (False, None)
    assert chosen("--bitstream", "openxc7") == (True, None)
    assert chosen("--bitstream", "openxc7", "--chip-share", "0.6") == (True, 0.6)
    with pytest.raises(PyadmmError, match="chip_share must be above 0 and at most 1, not 1.5"):
        chosen("--chip-share", "1.5")
