"""The real pynq reads the ``.hwh`` of a chip that no vendor tool made, and drives it."""

from __future__ import annotations

from pathlib import Path

import pytest

from host.linux.hwh import read_hwh
from pyadmm.codegen.system import chip_hwh
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import load_board

from .conftest import run_json, stage_of
from .models import small_design, small_model

pytestmark = pytest.mark.slow

DESIGN = small_design(small_model(1, "first"))
VLNV = "pyadmm:rtl:pyadmm_top:1.0"


def test_pynqs_parser_and_ours_agree_and_the_self_test_passes(deploy: Path, tmp_path: Path) -> None:
    stage = stage_of(deploy, tmp_path)
    hwh = stage.bitfile.with_suffix(".hwh")
    hwh.write_text(chip_hwh(load_board("pynq-z2"), DESIGN.ip, VLNV, DESIGN.dma))
    read = run_json(stage, "scenarios", "what_the_hwh_says")["what_the_hwh_says"]
    ours = read_hwh(hwh).instances
    assert read["entries"] == {
        name: [instance.kind, instance.address, instance.size]
        for name, instance in ours.items()
        if instance.address is not None
    }
    assert set(read["entries"]) == {DESIGN.ip, DESIGN.dma}
    assert read["max_bytes"] == (1 << 26) - 8  # whole beats of 64 bits
    done = stage.run("host.selftest")
    assert done.returncode == 0, done.stderr
    assert "pass second" in done.stdout


def test_a_board_without_such_a_system_is_refused() -> None:
    with pytest.raises(PyadmmError, match="kv260 is a zynqmp, but only Zynq-7000"):
        chip_hwh(load_board("kv260"), DESIGN.ip, VLNV, DESIGN.dma)
