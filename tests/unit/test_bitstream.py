"""From a run to a bundle with its bitstream, with stand-ins on the PATH; and reading ``.bit`` files."""

from __future__ import annotations

import json
import re
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from host.linux.bitstream import bit_to_bin
from host.linux.hwh import read_hwh
from host.manifest import read_manifest
from pyadmm.cli import bitstream
from pyadmm.cli import run as run_command
from pyadmm.codegen.rtl import generate_rtl
from pyadmm.codegen.system import SEQUENTIAL_CHIP_TOP
from pyadmm.core.errors import MissingToolError, ToolError
from pyadmm.deploy.bundle import Design, plan_deploy
from pyadmm.eda.bitstream import (
    FRAME_WORDS,
    BitFacts,
    bit_bin,
    find_tools,
    read_bit,
    write_bitstream,
)
from pyadmm.eda.bitstream_check import check_bitstream, set_bits
from pyadmm.flow.vendor_reports import nearest_report
from tests.host.models import small_model, small_pack, small_plan
from tests.sequential.bundles import small_bundle

from .test_openxc7 import PART, REPLAY, standin, without_yosys

IDCODE = 0x03727093


def packets(idcode: int = IDCODE, words: int = 3 * FRAME_WORDS) -> bytes:
    """Configuration data: bus width, sync, IDCODE, frame data as a packet of type 2."""
    body = [0xFFFFFFFF, 0xBB, 0x11220044, 0xFFFFFFFF, 0xAA995566, 0x20000000]
    body += [0x30018001, idcode] if idcode else []
    body += [0x30004000, 0x50000000 | words, *range(words), 0x30008001, 0x0D]
    return struct.pack(f">{len(body)}I", *body)


def make_bit(data: bytes) -> bytes:
    head = struct.pack(">H", 9) + bytes.fromhex("0ff00ff00ff00ff000") + struct.pack(">H", 1)
    for tag, text in (("a", b"x;Generator=xc7frames2bit\0"), ("b", PART.encode() + b"\0")):
        head += tag.encode() + struct.pack(">H", len(text)) + text
    return head + b"e" + struct.pack(">I", len(data)) + data


BIT = make_bit(packets())


def test_a_bit_tells_its_chip_and_frames() -> None:
    assert read_bit(BIT) == BitFacts(PART, len(BIT), IDCODE, 3)
    assert bit_bin(BIT)[16:20] == b"\x66\x55\x99\xaa"
    assert bit_bin(BIT) == bit_to_bin(BIT)


def test_set_bits_leave_the_check_sums_of_frames_out() -> None:
    """Words 0 to 302 of the frames hold their number; word 50 of each has 13 bits of its own."""
    ones = sum(word.bit_count() for word in range(3 * FRAME_WORDS))
    sums = sum((word & 0x1FFF).bit_count() for word in (50, 151, 252))
    assert set_bits(BIT) == ones - sums


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no header of a .bit"),
        (make_bit(bytes(64)), "no synchronisation word"),
        (make_bit(packets(words=FRAME_WORDS + 1)), "102 words of frames, which must be whole"),
        (make_bit(packets(idcode=0)), "IDCODE 0x00000000"),
        (BIT[: 2 * FRAME_WORDS * 4], "which must be whole frames"),
    ],
)
def test_what_is_no_whole_bit_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        read_bit(content)


# The tools


def program(folder: Path, name: str, body: str) -> None:
    """A program of project X-Ray that runs ``body``."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(f"#!{sys.executable}\nimport pathlib, sys\n{body}\n", encoding="utf-8")
    file.chmod(0o755)


def xray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes = BIT) -> None:
    """Both programs and a database; the second writes ``content``."""
    tools = tmp_path / "openxc7" / "bin"
    program(tools, "fasm2frames", "pathlib.Path(sys.argv[-1]).write_text('|'.join(sys.argv[1:]))")
    program(
        tools,
        "xc7frames2bit",
        "given = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
        "frames = pathlib.Path(given['--frm_file']).read_text()\n"
        f"assert '--part|{PART}|--db-root' in frames, frames\n"
        f"assert given['--part_name'] == {PART!r} and pathlib.Path(given['--part_file']).is_file()\n"
        f"pathlib.Path(given['--output_file']).write_bytes({content!r})",
    )
    part = tmp_path / "db" / "zynq7" / PART
    part.mkdir(parents=True)
    (part / "part.yaml").write_text("part\n")
    monkeypatch.setenv("OPENXC7", str(tmp_path / "openxc7"))
    monkeypatch.setenv("PRJXRAY_DB_DIR", str(tmp_path / "db"))


def test_fasm_becomes_a_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    xray(tmp_path, monkeypatch)
    fasm = tmp_path / "design.fasm"
    fasm.write_text("CLBLL_L_X2Y50.SLICEL_X0.AFF.ZRST\n")
    assert write_bitstream(fasm, PART, tmp_path / "design.bit").frames == 3
    assert (tmp_path / "design.bit").read_bytes() == BIT


def test_a_damaged_bit_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    xray(tmp_path, monkeypatch, BIT[:100])
    (tmp_path / "design.fasm").write_text("")
    with pytest.raises(ToolError, match="must be whole frames"):
        write_bitstream(tmp_path / "design.fasm", PART, tmp_path / "design.bit")
    assert not (tmp_path / "design.bit").exists()


def test_a_missing_tool_or_database_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    xray(tmp_path, monkeypatch)
    assert find_tools(PART).database == tmp_path / "db" / "zynq7"
    with pytest.raises(MissingToolError, match=r"no xc7z010clg400-1/part\.yaml.*PRJXRAY_DB_DIR"):
        find_tools("xc7z010clg400-1")
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "openxc7" / "bin" / "xc7frames2bit").unlink()
    with pytest.raises(MissingToolError, match="xc7frames2bit is not on the PATH"):
        find_tools(PART)


# Decoding

FASM = """\
CLBLL_L_X2Y50.SLICEL_X0.ALUT.INIT[3:0] = 4'b0101
CLBLL_L_X2Y50.SLICEL_X0.AFF.ZRST
CLBLL_L_X2Y50.SLICEL_X0.PRECYINIT.C0
INT_L_X2Y50.BYP_ALT0.VCC_WIRE
"""
DECODED = """\
CLBLL_L_X2Y50.SLICEL_X0.ALUT.INIT[0]
CLBLL_L_X2Y50.SLICEL_X0.ALUT.INIT[2]
CLBLL_L_X2Y50.SLICEL_X0.AFF.ZRST
CLBLL_L_X2Y50.SLICEL_X0.DFFMUX.ZERO
CFG_X1Y1.ALWAYS_ON
"""
UNKNOWN = '{ unknown_bit = "00400b00_1_2", unknown_segment = "0x00400b00" }'


def decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """``bit2fasm`` that writes ``text``, and what X-Ray's database says of the tiles in it."""
    xray(tmp_path, monkeypatch)
    program(tmp_path / "openxc7" / "bin", "bitread", "")
    program(
        tmp_path / "openxc7" / "bin",
        "bit2fasm",
        f"assert pathlib.Path(sys.argv[-1]).read_bytes() == {BIT!r}\nprint({text!r}, end='')",
    )
    database = tmp_path / "db" / "zynq7"
    tiles = {"CLBLL_L_X2Y50": "CLBLL_L", "INT_L_X2Y50": "INT_L", "CFG_X1Y1": "CFG"}
    (database / "xc7z020").mkdir()
    (database / "xc7z020" / "tilegrid.json").write_text(
        json.dumps({tile: {"type": kind} for tile, kind in tiles.items()})
    )
    (database / PART / "required_features.fasm").write_text("CFG_X1Y1.ALWAYS_ON\n")
    (database / "ppips_int_l.db").write_text("INT_L.BYP_ALT0.VCC_WIRE default\n")
    (database / "segbits_clbll_l.db").write_text(
        "CLBLL_L.SLICEL_X0.AFF.ZRST 01_07\nCLBLL_L.SLICEL_X0.PRECYINIT.C0 !01_11 !31_12\n"
        "CLBLL_L.SLICEL_X0.DFFMUX.ZERO !02_07\nCLBLL_L.SLICEL_X0.BFF.ZINI 31_03 !31_04\n"
    )


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    """FASM and the ``.bit`` of it."""
    fasm, bit = tmp_path / "made.fasm", tmp_path / "made.bit"
    fasm.write_text(FASM)
    bit.write_bytes(BIT)
    return fasm, bit


def test_a_bit_decodes_to_its_fasm(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fixed wires, zeros and what every bitstream of the part has are no difference."""
    decoder(tmp_path, monkeypatch, DECODED)
    decoded = check_bitstream(*made, PART)
    assert decoded.same
    assert (decoded.features, decoded.wires, decoded.bits) == (3, 2, set_bits(BIT))
    assert "0 of them unknown; 3 of 3 features of the FASM come back" in decoded.summary


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (DECODED.replace("CLBLL_L_X2Y50.SLICEL_X0.AFF.ZRST\n", ""), "1 lost: CLBLL_L_X2Y50.S"),
        (DECODED.replace("INIT[2]", "INIT[3]"), r"INIT\[2\]; 1 not in the FASM: .*INIT\[3\]"),
        (DECODED + "CLBLL_L_X2Y50.SLICEL_X0.BFF.ZINI\n", "not in the FASM: .*BFF.ZINI"),
        (DECODED + UNKNOWN, "1 of them unknown"),
    ],
)
def test_every_difference_is_seen(
    made: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    message: str,
) -> None:
    decoder(tmp_path, monkeypatch, text)
    decoded = check_bitstream(*made, PART)
    assert not decoded.same
    assert re.search(message, decoded.summary)


# The command


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folders of a run that the command reads."""
    model = small_model(1, "first")
    plan = small_plan(model)
    build = generate_rtl(plan)
    build.write(tmp_path / "run" / "build" / "rtl")
    deploy = plan_deploy(Design.of(plan, build), [small_pack(model)])
    deploy.write(tmp_path / "run" / "deploy" / "rtl")
    return tmp_path / "run"


def test_the_command_adds_the_bitstream_with_its_routed_clock(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    standin(tmp_path, monkeypatch, REPLAY.format(count=str(tmp_path / "count")))
    xray(tmp_path, monkeypatch)
    without_yosys(monkeypatch)
    assert bitstream.main([str(run), "--seeds", "2"]) == 0
    shown = capsys.readouterr().out
    assert "routed 6.68 ns (seeds: 6.68, 6.68); the board's 100 MHz met, runs at 100" in shown
    assert "3 frames, IDCODE 0x03727093; never loaded into a board" in shown
    manifest = read_manifest(run / "deploy" / "rtl" / "bundle")
    assert manifest.design.bitfile is not None
    assert manifest.design.bitfile.read_bytes() == BIT
    assert manifest.design.bitfile.with_name("design.bit.bin").read_bytes() == bit_to_bin(BIT)
    assert manifest.clock_mhz == 100
    report = nearest_report([run / "build" / "rtl"])
    assert report is not None
    assert (report.stage, report.clock_estimate_ns) == ("post-route", 6.681)
    instances = read_hwh(manifest.design.bitfile.with_suffix(".hwh")).instances
    assert instances["axi_dma_0"].kind == "pyadmm:rtl:axi_dma:7.1"
    assert (tmp_path / "count").read_text() == "run\nrun\n"


def test_a_slower_clock_goes_into_the_manifest(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin(tmp_path, monkeypatch, REPLAY.format(count=str(tmp_path / "count")))
    xray(tmp_path, monkeypatch)
    without_yosys(monkeypatch)
    monkeypatch.setattr("pyadmm.eda.chip_flow.Chip.period_ns", 12.34)
    assert bitstream.main([str(run)]) == 1
    assert read_manifest(run / "deploy" / "rtl" / "bundle").clock_mhz == 81


def test_the_command_refuses_another_run_and_skips_without_tools(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for variable in ("OPENXC7", "OPENXC7_CHIPDB", "CHIPDB", "PRJXRAY_DB_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bitstream.main([str(run)]) == 3
    assert bitstream.main([str(tmp_path)]) == 2
    ident = run / "build" / "rtl" / "rtl" / "pyadmm_top_ident.v"
    text = ident.read_text()
    first = text.index("32'h") + 4
    ident.write_text(text[:first] + "00000000" + text[first + 8 :])
    assert bitstream.main([str(run)]) == 2
    ident.unlink()
    assert bitstream.main([str(run)]) == 2
    shown = capsys.readouterr().err
    assert "install openXC7" in shown
    assert "holds no readable bundle" in shown
    assert "the RTL says it is 0x00000000" in shown
    assert "holds no RTL" in shown


def test_the_array_of_a_bundle_gets_its_bitstream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    standin(tmp_path, monkeypatch, REPLAY.format(count=str(tmp_path / "count")))
    xray(tmp_path, monkeypatch)
    mapped = without_yosys(monkeypatch)
    folder = small_bundle(tmp_path / "many", "wide", "bytes")
    assert bitstream.main([str(folder)]) == 0
    assert mapped == [SEQUENTIAL_CHIP_TOP]
    assert "routed 6.68 ns (seeds: 6.68)" in capsys.readouterr().out
    manifest = read_manifest(folder / "bundle")
    assert manifest.design.bitfile is not None
    assert manifest.design.bitfile.read_bytes() == BIT
    assert manifest.design.bitfile.with_name("design.bit.bin").read_bytes() == bit_to_bin(BIT)
    instances = read_hwh(manifest.design.bitfile.with_suffix(".hwh")).instances
    assert "axi_dma_0" not in instances
    assert instances["seq_top_0"].kind == "pyadmm:rtl:seq_top:1.0"


def test_a_bundle_of_another_array_gets_no_bitstream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    standin(tmp_path, monkeypatch, REPLAY.format(count=str(tmp_path / "count")))
    xray(tmp_path, monkeypatch)
    folder = small_bundle(tmp_path / "many", "bytes")
    monkeypatch.setattr("pyadmm.deploy.sequential.array_digest", lambda _: 8 * "0")
    assert bitstream.main([str(folder)]) == 2
    assert "the RTL of this version is 0x00000000; make the bundle anew" in capsys.readouterr().err


# ``pyadmm run --bitstream``


@pytest.fixture
def finished(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A flow that leaves ``run`` behind at once."""
    monkeypatch.setattr(
        run_command, "run", lambda *_: SimpleNamespace(skipped={}, absent={}), raising=True
    )
    return run


def test_a_run_ends_with_the_bitstream_of_open_tools(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    standin(tmp_path, monkeypatch, REPLAY.format(count=str(tmp_path / "count")))
    xray(tmp_path, monkeypatch)
    without_yosys(monkeypatch)
    assert run_command.main(["--out", str(finished), "--bitstream", "openxc7"]) == 0
    bit = read_manifest(finished / "deploy" / "rtl" / "bundle").design.bitfile
    assert bit is not None
    assert bit.read_bytes() == BIT


def test_a_run_ends_with_the_bitstream_of_vivado(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def vivado(folder: Path, timeout_s: float) -> None:
        assert timeout_s > 3600
        assert folder == finished / "build" / "rtl"
        (folder / "lenet.bit").write_bytes(BIT)
        (folder / "lenet.hwh").write_text("<EDKSYSTEM/>\n")

    monkeypatch.setattr("pyadmm.deploy.bitstream.build_bitstream", vivado)
    arguments = ["--out", str(finished), "--bitstream", "vivado"]
    assert run_command.main(arguments) == 0
    assert "lenet.bit added" in capsys.readouterr().out
    bit = read_manifest(finished / "deploy" / "rtl" / "bundle").design.bitfile
    assert bit is not None
    assert bit.read_bytes() == BIT
    (finished / "build" / "rtl" / "old.bit").write_bytes(BIT)
    assert run_command.main(arguments) == 2
    assert "holds 2 bitstreams, not one" in capsys.readouterr().err


def test_missing_tools_end_a_run_with_their_status(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("OPENXC7", "OPENXC7_CHIPDB", "CHIPDB", "PRJXRAY_DB_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    for tools in ("openxc7", "vivado"):
        assert run_command.main(["--out", str(finished), "--bitstream", tools]) == 3


def test_a_run_without_bundle_takes_no_bitstream(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command.main(["--until", "csim", "--bitstream", "openxc7", "--dry-run"]) == 2
    assert "the run stops after csim; leave --until out" in capsys.readouterr().err
