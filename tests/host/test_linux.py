"""The driver without pynq: on files in a folder that stand for a Zynq's kernel."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from host import Accelerator, HostError, report, selftest
from host.accelerator import load_vectors
from host.benchmark import measure
from host.board import find_board
from host.errors import DmaError, HardwareTimeout, IdentError, InUseError, WeightsError
from host.linux.bitstream import bit_to_bin
from host.linux.board import LinuxBoard
from host.linux.buffers import find_region
from host.linux.clock import KernelClock
from host.linux.hwh import read_hwh
from host.linux.registers import map_registers
from pyadmm.deploy.simulated_board.dma import SLAVE_ERROR

from .linux_machine import (
    BIT,
    CLOCK,
    FCLK_DRIVER,
    FPGA,
    REGION,
    REGION_BYTES,
    UDMABUF,
    Machine,
    make_bit,
    make_bitfile,
    make_root,
    put,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path / "root")


@pytest.fixture
def machine(root: Path, deploy: Path) -> Machine:
    return Machine(root, deploy / "bundle")


@pytest.fixture
def bitfile(deploy: Path, tmp_path: Path) -> Path:
    return make_bitfile(deploy / "bundle", tmp_path)


@pytest.fixture
def start(machine: Machine, deploy: Path, bitfile: Path, tmp_path: Path) -> Callable[..., Any]:
    """Opens the accelerator of the machine."""

    def open_accelerator(device: LinuxBoard = machine) -> Accelerator:
        bundle = deploy / "bundle"
        return Accelerator(bitfile, bundle, device=device, timeout_s=0.2, lock_folder=tmp_path)

    return open_accelerator


def is_golden(board: Accelerator) -> bool:
    assert board.model is not None
    vectors = load_vectors(board.model)
    return bool(np.array_equal(board.logits(vectors["images"]), vectors["logits"]))


# The whole driver


def test_the_self_test_passes_on_both_models(start: Callable[..., Any], machine: Machine) -> None:
    with start() as board:
        assert board.device.name == "Simulated PYNQ-Z2"
        assert board.clock_mhz == pytest.approx(100, rel=1e-5)
        for name in ("first", "second"):
            board.load_model(name)
            result = selftest.check(board)
            assert result.passed
            assert result.images == 12
    assert machine.loads == 1


def test_the_self_tests_command_runs_without_pynq(
    machine: Machine,
    deploy: Path,
    bitfile: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PYADMM_BACKEND", "linux")
    monkeypatch.setattr("host.linux.board.LinuxBoard", lambda: machine)
    arguments = ["--bundle", str(deploy / "bundle"), "--bitfile", str(bitfile)]
    assert selftest.main(arguments) == 0
    assert "pass second: 12 golden images, 0 differ on the board" in capsys.readouterr().out
    machine.model.ident = 0xDEADBEEF
    assert selftest.main(arguments) == 2
    assert "the design says it is 0xdeadbeef" in capsys.readouterr().err


def test_a_report_holds_all_that_is_asked_for(
    machine: Machine, deploy: Path, bitfile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYADMM_BACKEND", "linux")
    monkeypatch.setattr("host.linux.board.LinuxBoard", lambda: machine)
    put(
        machine.root,
        {"sys/kernel/debug/clk/clk_summary": "   fclk0  1  1  99999999\n   uart  0  0  5"},
    )
    arguments = [str(tmp_path / "report.txt"), "--repeats", "1", "--batch", "3"]
    arguments += ["--bundle", str(deploy / "bundle"), "--bitfile", str(bitfile)]
    assert report.main(arguments, machine.root) == 0
    text = (tmp_path / "report.txt").read_text()
    assert text.count("pass second: 12 golden images, 0 differ on the board") == 3
    assert "/sys/class/fpga_manager/fpga0/state: operating" in text
    assert "fclk0  1  1  99999999" in text
    assert "uart" not in text
    assert "PYADMM_BACKEND=linux" in text
    assert f"made.bit: {len(BIT)} bytes, sha256 " in text
    assert '"digest": "' in text
    assert "== benchmark: exit status 0" in text
    assert "== kernel log: exit status 0" in text


def test_a_report_of_a_failure_goes_on_to_its_end(
    machine: Machine, deploy: Path, bitfile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYADMM_BACKEND", "linux")
    monkeypatch.setattr("host.linux.board.LinuxBoard", lambda: machine)
    machine.model.ident = 0xDEADBEEF
    arguments = [str(tmp_path / "report.txt"), "--bitfile", str(bitfile)]
    arguments += ["--bundle", str(deploy / "bundle")]
    assert report.main(arguments, tmp_path / "nothing") == 2
    text = (tmp_path / "report.txt").read_text()
    assert text.count("the design says it is 0xdeadbeef") == 4
    assert "/proc/device-tree/model: not readable" in text
    assert text.rstrip().splitlines()[-1] != ""
    assert report.captured(lambda: 1 // 0)[0] == 2


def test_the_benchmark_runs(start: Callable[..., Any]) -> None:
    with start() as board:
        images = load_vectors(board.manifest.models[0])["images"]
        figures = measure(board, images, batches=(3,), repeats=2, cpu_repeats=1)
    assert (figures.basis, figures.device) == ("simulated", "Simulated PYNQ-Z2")
    assert figures.power is None


@pytest.mark.parametrize(
    ("inject", "kind", "loads"),
    [
        (lambda m: m.dma_model.inject(0, SLAVE_ERROR), DmaError, 2),
        (lambda m: setattr(m.model, "swallow_tail", 1), HardwareTimeout, 1),
    ],
)
def test_the_driver_recovers_from_a_fault(
    start: Callable[..., Any],
    machine: Machine,
    inject: Callable[[Machine], None],
    kind: type[HostError],
    loads: int,
) -> None:
    with start() as board:
        assert is_golden(board)
        inject(machine)
        with pytest.raises(kind):
            is_golden(board)
        assert is_golden(board)
    assert machine.loads == loads


def test_damaged_weights_and_a_second_user_are_refused(
    start: Callable[..., Any], machine: Machine
) -> None:
    machine.model.flip_word = 3
    with pytest.raises(WeightsError, match="layer conv1, word 3"):
        start()
    with start(), pytest.raises(InUseError, match="in use by process"):
        start()


def test_buffers_are_synchronised_and_freed(start: Callable[..., Any], root: Path) -> None:
    with start() as board:
        assert is_golden(board)
        assert (root / UDMABUF / "sync_for_device").read_text() == "1"
        assert (root / UDMABUF / "sync_for_cpu").read_text() == "1"
        assert (root / UDMABUF / "sync_direction").read_text() == "2"
        sent, received = board.buffer("send", 1), board.buffer("receive", 1)
        assert (root / UDMABUF / "sync_offset").read_text() == str(
            received.physical_address - REGION
        )
        assert sent.physical_address != received.physical_address
        region = board.board._region
    assert region.allocate(REGION_BYTES // 4).physical_address == REGION


def test_a_loaded_design_is_used_as_it_is(
    root: Path, deploy: Path, bitfile: Path, start: Callable[..., Any]
) -> None:
    bitfile.unlink()
    machine = Machine(root, deploy / "bundle", loaded=True)
    with start(machine) as board:
        assert is_golden(board)
        machine.dma_model.inject(0, SLAVE_ERROR)
        with pytest.raises(DmaError):
            is_golden(board)
        with pytest.raises(HostError, match="loaded by another program"):
            is_golden(board)
    assert machine.loads == 0
    assert (root / FPGA / "firmware").read_text().strip() == ""
    put(root, {f"{FPGA}/state": "unknown"})
    with pytest.raises(HostError, match="state is 'unknown'"):
        start(machine)


def test_the_backend_is_chosen(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = LinuxBoard(root)
    assert find_board(board) is board
    monkeypatch.setenv("PYADMM_BACKEND", "windows")
    with pytest.raises(HostError, match="must be pynq or linux, not 'windows'"):
        find_board()
    monkeypatch.setenv("PYADMM_LOADED", "1")
    assert LinuxBoard(root).files == (".hwh",)


# Bitstream


def test_a_bit_becomes_what_fpga_manager_takes(
    start: Callable[..., Any], root: Path, bitfile: Path
) -> None:
    start().close()
    loaded = (root / "lib/firmware/pyadmm.bit.bin").read_bytes()
    assert loaded[64:72] == b"\x66\x55\x99\xaa\x03\x02\x01\x00"
    assert len(loaded) == 100
    assert (root / FPGA / "firmware").read_text() == "pyadmm.bit.bin"
    assert (root / FPGA / "flags").read_text() == "0"
    assert bit_to_bin(loaded) == loaded


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no .bit header"),
        (b"no bitstream at all", "has no .bit header"),
        (BIT[:-1], "holds 99 of 100 bytes"),
        (make_bit(b"\xaa\x99\x55"), "holds 3 of 3 bytes, which must be whole words"),
        (make_bit(bytes(2) + b"\xaa\x99\x55\x66" + bytes(2)), "no synchronisation word"),
    ],
)
def test_what_is_no_bitstream_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(HostError, match=message):
        bit_to_bin(content)


def test_a_kernel_that_cannot_load_says_what_to_do(
    start: Callable[..., Any], root: Path, tmp_path: Path
) -> None:
    put(root, {f"{FPGA}/state": "write error"})
    with pytest.raises(HostError, match="state is 'write error'"):
        start()
    (root / FPGA / "firmware").unlink()
    with pytest.raises(HostError, match=r"device tree overlays.*PYADMM_LOADED=1"):
        start()
    with pytest.raises(HostError, match="CONFIG_FPGA_MGR_ZYNQ_FPGA"):
        LinuxBoard(tmp_path / "nothing")


# Addresses


def test_addresses_come_from_the_hwh(bitfile: Path) -> None:
    design = read_hwh(bitfile.with_suffix(".hwh"))
    assert design.family == "zynq7000"
    assert design.instances["axi_dma_0"].address == 0x40400000
    assert design.instances["axi_dma_0"].parameters["c_sg_length_width"] == "26"
    assert design.instances["pyadmm_top_0"].kind == "pyadmm:rtl:pyadmm_top:1.0"


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (("</EDKSYSTEM>", ""), HostError, "is no .hwh"),
        (("processing_system7", "microblaze"), HostError, "no Zynq processor"),
        (('INSTANCE="axi_dma_0"', 'INSTANCE="dma"'), IdentError, "reaches no registers of"),
        (("axi_dma_0", "dma"), IdentError, "has no axi_dma_0, only dma, "),
        (("rtl:pyadmm_top", "rtl:other"), IdentError, "is a pyadmm:rtl:other:1.0, but"),
    ],
)
def test_a_foreign_hwh_is_refused(
    start: Callable[..., Any],
    bitfile: Path,
    change: tuple[str, str],
    kind: type[HostError],
    message: str,
) -> None:
    hwh = bitfile.with_suffix(".hwh")
    text = hwh.read_text()
    if kind is IdentError and "reaches" in message:
        first, rest = text.split("<MEMORYMAP>")
        text = first + "<MEMORYMAP>" + rest.replace(*change, 1)
    else:
        text = text.replace(*change)
    hwh.write_text(text)
    with pytest.raises(kind, match=message):
        start()


# Registers


def test_registers_are_mapped_through_uio(root: Path) -> None:
    maps = "sys/class/uio/uio3/maps/map1"
    put(root, {f"{maps}/addr": "0x43c00000", f"{maps}/size": "0x10000"})
    (root / "dev/uio3").write_bytes(bytes(mmap.PAGESIZE + 0x10000))
    registers = map_registers(root, 0x43C00000, 0x10000, "core")
    registers.write(0x18, 0xFFFFFFFE)
    assert registers.read(0x18) == 0xFFFFFFFE
    content = (root / "dev/uio3").read_bytes()
    assert content[mmap.PAGESIZE + 0x18 :][:4] == b"\xfe\xff\xff\xff"


def test_registers_are_mapped_through_dev_mem(root: Path) -> None:
    with pytest.raises(HostError, match="no UIO device at 0x43c00000 and no /dev/mem"):
        map_registers(root, 0x43C00000, 0x10000, "core")
    address = 4 * mmap.PAGESIZE
    (root / "dev/mem").write_bytes(bytes(address + 0x10000))
    map_registers(root, address, 0x10000, "core").write(4, 7)
    assert (root / "dev/mem").read_bytes()[address + 4] == 7
    with pytest.raises(HostError, match="cannot be mapped at 0x43c00000.*generic-uio"):
        map_registers(root, 0x43C00000, 0x10000, "core")


# Buffers


def test_a_full_region_is_refused(root: Path) -> None:
    region = find_region(root)
    first = region.allocate(1000)
    second = region.allocate(REGION_BYTES // 4 - mmap.PAGESIZE // 4)
    assert second.physical_address == REGION + mmap.PAGESIZE
    with pytest.raises(HostError, match="4096 bytes do not fit in udmabuf0"):
        region.allocate(1)
    first.freebuffer()
    assert region.allocate(1).physical_address == REGION


def test_one_of_several_devices_must_be_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / UDMABUF).with_name("udmabuf1").mkdir()
    with pytest.raises(HostError, match="several u-dma-buf devices, udmabuf0, udmabuf1"):
        find_region(root)
    monkeypatch.setenv("PYADMM_UDMABUF", "udmabuf0")
    assert find_region(root).address == REGION
    monkeypatch.setenv("PYADMM_UDMABUF", "udmabuf7")
    with pytest.raises(HostError, match="there is no 'udmabuf7', but udmabuf0, udmabuf1"):
        find_region(root)


def test_a_reserved_region_serves_too(root: Path) -> None:
    for file in (root / UDMABUF).iterdir():
        file.unlink()
    (root / UDMABUF).rmdir()
    with pytest.raises(HostError, match=r"no u-dma-buf device and no reserved memory.*insmod"):
        find_region(root)
    parent, node = "proc/device-tree/reserved-memory", "pyadmm@10000"
    address, size = 0x10000, 0x4000
    (root / parent / node).mkdir(parents=True)
    for name in ("#address-cells", "#size-cells"):
        (root / parent / name).write_bytes(bytes([0, 0, 0, 1]))
    reg = address.to_bytes(4, "big") + size.to_bytes(4, "big")
    (root / parent / node / "reg").write_bytes(reg)
    (root / "dev/mem").write_bytes(bytes(address + size))
    with pytest.raises(HostError, match=r"pyadmm@10000 has no 'no-map'"):
        find_region(root)
    (root / parent / node / "no-map").touch()
    buffer = find_region(root).allocate(8)
    buffer[:] = 9
    buffer.flush()
    assert buffer.physical_address == address
    assert (root / "dev/mem").read_bytes()[address : address + 4] == b"\x09\0\0\0"


# Clock


def test_a_clock_as_booted_is_checked(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = KernelClock(root, "zynq7000", 0)
    assert clock.run(100) == pytest.approx(100, rel=1e-5)
    put(root, {f"{CLOCK}/clk_rate": "125000000"})
    with pytest.raises(HostError, match="fclk0: runs at 125 MHz, but the design is timed for 100"):
        clock.run(100)
    put(root, {f"{CLOCK}/clk_rate": "50000000", f"{CLOCK}/clk_enable_count": "0"})
    with pytest.raises(HostError, match="switched off.*fclk-enable"):
        clock.run(100)
    (root / CLOCK / "clk_rate").unlink()
    with pytest.raises(HostError, match="mount -t debugfs"):
        clock.run(100)
    monkeypatch.setenv("PYADMM_CLOCK_MHZ", "50")
    assert clock.run(100) == 50
    monkeypatch.setenv("PYADMM_CLOCK_MHZ", "fast")
    with pytest.raises(HostError, match="must be a rate up to 100.1 MHz"):
        clock.run(100)


@pytest.mark.parametrize("setter", [f"{FCLK_DRIVER}/set_rate", "sys/class/fclkcfg/fclk0/rate"])
def test_a_clock_that_can_be_set_is_set(root: Path, setter: str) -> None:
    put(root, {setter: "250000000"})
    assert KernelClock(root, "zynq7000", 0).run(100) == 100
    assert (root / setter).read_text() == "100000000"


class CoarseClock(KernelClock):
    """Makes the rate that is nearest to the one asked for: 1,500 MHz over a whole number."""

    @property
    def rate_mhz(self) -> float | None:
        asked = super().rate_mhz
        return None if asked is None else 1500 / round(1500 / asked)


def test_a_rate_above_the_designs_is_not_accepted(root: Path) -> None:
    put(root, {"sys/class/fclkcfg/fclk0/rate": "0"})
    assert CoarseClock(root, "zynqmp", 0).run(200) == 187.5  # 214.3 would be nearer


def test_a_file_that_cannot_be_written_is_named(root: Path) -> None:
    (root / FCLK_DRIVER / "set_rate").mkdir(parents=True)
    with pytest.raises(HostError, match=r"set_rate does not take '100000000'.*run as root"):
        KernelClock(root, "zynq7000", 0).run(100)
