"""The C path against registers in plain memory, with a thread as the hardware behind them."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from host.bundle import bundle_folder
from host.errors import HostError
from host.fast import FastPath, compile_library
from host.manifest import read_manifest
from pyadmm.deploy.simulated_board.golden import golden_core

RUN, HALTED, IDLE, COMPLETE = 1, 1, 2, 0x1000
SEND_ADDRESS, RECEIVE_ADDRESS = 0x1234_5678_0000, 0x1000
LATE_S, PATIENT_S = 0.2, 20.0
DEVICE = types.SimpleNamespace(has_capability=lambda name: name == "MEMORY_MAPPED")


class Buffer(np.ndarray):
    physical_address = 0


def buffer(words: int, address: int) -> Buffer:
    array = np.zeros(words, np.uint32).view(Buffer)
    array.physical_address = address
    return array


class Hardware(threading.Thread):
    """Answers register writes like DMA and core; ``fail`` sets those status bits instead."""

    def __init__(self, board: types.SimpleNamespace, logits: np.ndarray) -> None:
        super().__init__(daemon=True)
        self.core, self.dma = board.ip.mmio.array, board.engine.dma.registers.array
        self.board, self.logits, self.fail, self.stopped = board, logits, {}, False
        self.sent: list[tuple[int, int]] = []
        self.dma[[0x04 // 4, 0x34 // 4]] = HALTED
        self.core[0] = 4

    def run(self) -> None:
        while not self.stopped:
            for base in (0x00, 0x30):
                if self.dma[base // 4] & RUN and self.dma[(base + 4) // 4] == HALTED:
                    self.dma[(base + 4) // 4] = 0
            if self.core[0] & 1:
                self.core[0] = 0
            if self.dma[0x28 // 4]:
                self.send()

    def send(self) -> None:
        length = int(self.dma[0x28 // 4])
        address = int(self.dma[0x18 // 4]) | int(self.dma[0x1C // 4]) << 32
        self.sent.append((address, length))
        self.dma[0x28 // 4] = 0
        total = sum(length for _, length in self.sent)
        if total == 4 * self.board.manifest.input_words:
            self.finish()
        self.dma[0x04 // 4] = self.fail.get("send", IDLE | COMPLETE)

    def finish(self) -> None:
        room = int(self.dma[0x58 // 4])
        assert room == 4 * len(self.logits)
        self.board.buffers["receive"][: len(self.logits)] = self.logits.view(np.uint32)
        self.dma[0x58 // 4] = room - self.fail.get("short", 0)
        if "silent" not in self.fail:
            self.dma[0x34 // 4] = self.fail.get("receive", IDLE | COMPLETE)
        if "busy" not in self.fail:
            self.core[0] = 4


def make_board(max_bytes: int, timeout_s: float) -> types.SimpleNamespace:
    manifest = read_manifest(bundle_folder())
    buffers = {
        "send": buffer(manifest.input_words, SEND_ADDRESS),
        "receive": buffer(manifest.output_words, RECEIVE_ADDRESS),
    }

    @contextlib.contextmanager
    def claimed() -> Iterator[None]:
        yield

    registers = types.SimpleNamespace(array=np.zeros(32, np.uint32))
    dma = types.SimpleNamespace(max_bytes=max_bytes, registers=registers)
    return types.SimpleNamespace(
        loaded=lambda: manifest.models[0],
        manifest=manifest,
        buffers=buffers,
        buffer=lambda name, words: buffers[name],
        device=DEVICE,
        timeout_s=timeout_s,
        claimed=claimed,
        check_images=lambda image: image[np.newaxis],
        ip=types.SimpleNamespace(mmio=types.SimpleNamespace(array=np.zeros(32, np.uint32))),
        engine=types.SimpleNamespace(dma=dma),
    )


def infer(max_bytes: int, fail: dict[str, int]) -> dict[str, Any]:
    board = make_board(max_bytes, LATE_S if {"silent", "busy"} & set(fail) else PATIENT_S)
    shape = board.manifest.models[0].input.shape
    image = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    logits = next(iter(golden_core(bundle_folder()).models.values())).run(image[np.newaxis])[0]
    hardware = Hardware(board, logits.astype(np.int32))
    hardware.fail = fail
    hardware.start()
    try:
        result = FastPath(board).infer(image)
    except HostError as error:
        return {"error": type(error).__name__, "message": str(error)}
    finally:
        hardware.stopped = True
        hardware.join()
    pixels = board.buffers["send"].view(np.uint8)[: image.size]
    return {
        "equal": bool(np.array_equal(result.logits, logits)),
        "image_arrived": bool(np.array_equal(pixels, image.ravel())),
        "sent": hardware.sent,
        "mode_count": [int(board.ip.mmio.array[i // 4]) for i in (0x10, 0x18)],
        "ns": [result.dma_ns, result.end_to_end_ns],
    }


def no_compiler() -> dict[str, Any]:
    path, os.environ["PATH"] = os.environ["PATH"], ""
    try:
        compile_library()
    except HostError as error:
        return {"error": type(error).__name__, "message": str(error)}
    finally:
        os.environ["PATH"] = path
    return {}


if __name__ == "__main__":
    results = {
        "whole": infer(1 << 20, {}),
        "chunks": infer(24, {}),
        "send_error": infer(1 << 20, {"send": 0x5021}),
        "receive_error": infer(1 << 20, {"receive": 0x4041}),
        "receive_silent": infer(1 << 20, {"silent": 1}),
        "short": infer(1 << 20, {"short": 4}),
        "core_busy": infer(1 << 20, {"busy": 1}),
        "no_compiler": no_compiler(),
    }
    json.dump(results, sys.stdout)
