"""Faults on the simulated board, one function each; runs in the Python with pynq.

Every scenario gives ``{"error": class, "message": text, "works_after": bool, …}``; the test process
judges them. ``works_after`` says that the same driver gives golden logits after the fault.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pynq
import pynqmetadata
from pynq.metadata import RuntimeMetadataParser
from pynqmetadata.frontends import Metadata

from host import Accelerator
from host.accelerator import load_vectors
from host.benchmark import measure
from host.bundle import bundle_folder
from host.dma import AxiDma
from host.errors import HostError
from host.fast import FastPath
from host.manifest import read_manifest
from host.power import RailRecorder, board_rails, read_meter
from pyadmm.deploy.simulated_board.child import install
from pyadmm.deploy.simulated_board.dma import DECODE_ERROR, S2MM, SLAVE_ERROR

BITFILE = os.environ["PYADMM_BITFILE"]
TIMEOUT_S = 0.2
Result = dict[str, Any]


def open_board(**options: Any) -> Accelerator:
    return Accelerator(BITFILE, bundle_folder(), timeout_s=TIMEOUT_S, **options)


def is_golden(board: Accelerator) -> bool:
    assert board.model is not None
    vectors = load_vectors(board.model)
    return bool(np.array_equal(board.logits(vectors["images"]), vectors["logits"]))


def caught(action: Callable[[], Any]) -> Result:
    try:
        action()
    except HostError as error:
        return {"error": type(error).__name__, "message": str(error)}
    return {"error": None, "message": ""}


def fault(inject: Callable[[Any], None]) -> Result:
    """Inject into a working board, run, and see what comes and whether it works again."""
    device = pynq.Device.active_device
    with open_board() as board:
        assert is_golden(board)
        downloads = device.downloads
        inject(device)
        result = caught(lambda: is_golden(board))
        result["works_after"] = is_golden(board)
        result["downloads"] = device.downloads - downloads
        return result


def send_slave_error() -> Result:
    return fault(lambda device: device.dma.inject(0, SLAVE_ERROR))


def receive_decode_error() -> Result:
    return fault(lambda device: device.dma.inject(S2MM, DECODE_ERROR))


def receive_never_ends() -> Result:
    return fault(lambda device: setattr(device.core, "swallow_tail", 1))


def _weights_fault(first: int) -> Result:
    device = pynq.Device.active_device
    device.core.flip_word = first
    result = caught(open_board)
    with open_board() as board:
        result["works_after"] = is_golden(board)
    return result


def weights_corrupted() -> Result:
    return _weights_fault(3)


def weights_corrupted_last_layer() -> Result:
    return _weights_fault(read_manifest(bundle_folder()).models[0].words - 1)


def weights_corrupted_on_reload() -> Result:
    device = pynq.Device.active_device
    with open_board() as board:
        device.core.flip_word = 0
        result = caught(lambda: board.load_model("second"))
        blank = np.zeros(board.manifest.models[0].input.shape, np.uint8)
        result["refuses"] = caught(lambda: board.logits(blank))["message"]
        board.load_model("second")
        result["works_after"] = is_golden(board)
        return result


def other_bitstream() -> Result:
    device = pynq.Device.active_device
    device.core.ident = 0xDEADBEEF
    result = caught(open_board)
    device.core.ident = None
    with open_board() as board:
        result["works_after"] = is_golden(board)
    return result


def in_use() -> Result:
    command = [sys.executable, "-m", "scenarios", "hold"]
    with open_board() as board:
        result = caught(open_board)
        other = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        result["other_process"] = other.stdout.strip()
        result["works_after"] = is_golden(board)
        result["pid"] = os.getpid()
    return result


def closed_then_opened() -> Result:
    with open_board() as board:
        assert is_golden(board)
    with open_board() as board:
        return {"works_after": is_golden(board)}


def wrong_images() -> Result:
    with open_board() as board:
        shape = board.manifest.models[0].input.shape
        bad = {
            "floats": np.zeros((2, *shape), np.float32),
            "shape": np.zeros((2, 3, 3), np.uint8),
            "list": [[0]],
        }
        result: Result = {name: caught(lambda x=x: board.logits(x)) for name, x in bad.items()}
        result["empty"] = list(board.logits(np.zeros((0, *shape), np.uint8)).shape)
        result["single"] = list(board.logits(np.zeros(shape, np.uint8)).shape)
        result["works_after"] = is_golden(board)
        return result


def wrong_digest() -> Result:
    manifest = read_manifest(bundle_folder())
    path = manifest.models[0].weights.path
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    result = caught(open_board)
    path.write_bytes(sound)
    with open_board() as board:
        result["works_after"] = is_golden(board)
    return result


def reload() -> Result:
    device = pynq.Device.active_device
    with open_board() as board:
        downloads = device.downloads
        first = is_golden(board)
        board.load_model("second")
        return {
            "works_after": first and is_golden(board),
            "model": board.model and board.model.name,
            "downloads": device.downloads - downloads,
            "unknown": caught(lambda: board.load_model("third"))["message"],
        }


def buffers_are_freed() -> Result:
    device = pynq.Device.active_device
    before = len(device.memory.blocks)
    with open_board() as board:
        is_golden(board)
        held = len(device.memory.blocks) - before
    return {"held": held, "left": len(device.memory.blocks) - before}


def overlay_ip_just_works() -> Result:
    """As a pynq user does it: no Accelerator, the driver is bound by the IP's type."""
    overlay = pynq.Overlay(BITFILE, download=False)
    manifest = read_manifest(bundle_folder())
    for clock in overlay.clock_dict.values():
        clock["frequency"] = manifest.clock_mhz
    overlay.download()
    ip = overlay.pyadmm_top_0
    ip.manifest = manifest
    return {"driver": type(ip).__name__, "ident": ip.ident, "idle": ip.idle, "cycles": ip.cycles}


def vivados_own_hwh() -> Result:
    """The .hwh that Vivado 2019.2 wrote for another design, as pynq's packages carry it."""
    folder = Path(pynqmetadata.__file__).parent / "tests" / "hwhs"
    parser = RuntimeMetadataParser(Metadata(input=str(folder / "resizer.hwh")))
    dma = AxiDma(None, parser.ip_dict["axi_dma_0"]["parameters"], "axi_dma_0")
    return {"length_bits": dma.length_bits, "max_bytes": dma.max_bytes}


def what_the_hwh_says() -> Result:
    """What pynq's parser finds in the .hwh beside the bitstream."""
    hwh = Path(BITFILE).with_suffix(".hwh")
    entries = RuntimeMetadataParser(Metadata(input=str(hwh))).ip_dict
    dma = AxiDma(None, entries["axi_dma_0"]["parameters"], "axi_dma_0")
    facts = {
        name: [entry["type"], entry["phys_addr"], entry["addr_range"]]
        for name, entry in entries.items()
        if "phys_addr" in entry
    }
    return {"entries": facts, "max_bytes": dma.max_bytes}


def clock_is_set() -> Result:
    with open_board() as board:
        return {"wanted": board.manifest.clock_mhz, "board": board.clock_mhz}


def no_c_path() -> Result:
    with open_board() as board:
        return caught(lambda: FastPath(board))


def chunks() -> Result:
    """A DMA with a narrow length register: sends in pieces, several runs, same logits."""
    device = pynq.Device.active_device
    with open_board(verify=False) as board:
        vectors = load_vectors(board.manifest.models[0])
        many = np.concatenate([vectors["images"]] * 10)
        logits = board.logits(many)
        return {
            "works_after": bool(np.array_equal(logits, np.concatenate([vectors["logits"]] * 10))),
            "max_bytes": board.engine.dma.max_bytes,
            "images_per_run": board.images_per_run(),
            "device": device.name,
        }


class Sensor:
    def __init__(self, value: float) -> None:
        self.value = value


class Rail:
    def __init__(self, volts: float | None, amperes: float | None, watts: float | None) -> None:
        self.voltage, self.current, self.power = (
            None if value is None else Sensor(value) for value in (volts, amperes, watts)
        )


def power() -> Result:
    """Rails with a power sensor, with voltage and current, and with too little; meters' logs."""
    rails = {
        "12V": Rail(12.0, 0.5, 6.5),
        "INT": Rail(0.85, 2.0, None),
        "AUX": Rail(1.8, None, None),
    }
    with RailRecorder(rails) as recorder:
        time.sleep(0.2)
    with RailRecorder({}) as nothing:
        time.sleep(0.05)
    assert recorder.reading is not None
    log = Path("meter.csv")
    results: Result = {
        "rails": recorder.reading.rails,
        "samples": recorder.reading.samples,
        "none": nothing.reading,
        "board": len(board_rails()),
    }
    texts = {
        "good": "time_s,watts\n1,9\n2,2.0\n3,3.0\n4,9\n",
        "no_column": "time,watts\n1,2\n",
        "no_number": "time_s,watts\n2,2\n3,nan\n",
        "no_overlap": "time_s,watts\n100,2\n",
        "short_row": "time_s,watts\n2\n",
    }
    for name, text in texts.items():
        log.write_text(text)
        readings: list[Any] = []
        results[name] = caught(lambda kept=readings: kept.append(read_meter(log, 1.5, 3.5)))
        results[name]["rails"] = [reading.rails for reading in readings]
    return results


def benchmark() -> Result:
    with open_board() as board:
        images = load_vectors(board.manifest.models[0])["images"]
        wanted = caught(lambda: measure(board, images[:0]))
        result = measure(board, images, batches=(1, 7), repeats=4, cpu_repeats=2)
        return {"json": json.loads(result.to_json()), "empty": wanted}


def narrow_read_back() -> Result:
    return caught(open_board)


def hold() -> Result:
    return caught(open_board)


def main() -> None:
    warnings.simplefilter("ignore")
    names = sys.argv[1:]
    results = {name: globals()[name]() for name in names}
    print(json.dumps(results))


if __name__ == "__main__":
    if sys.argv[1:] == ["hold"]:
        install()
    main()
