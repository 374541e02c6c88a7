"""``python -m experiments.dma_throughput``: clock cycles a word of the system's DMA, by memory latency.

Simulates ``hls/system/axi_dma.sv`` in Verilator and counts from the write of the length register to
the idle bit, register accesses included, for one transfer each way.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np

from pyadmm.codegen.system import DMA_BASE
from pyadmm.core.files import cache_dir
from pyadmm.eda.system_simulation import LiveSystem, build_dma_bench

LATENCIES = (0, 10, 20, 40, 80)
WORDS = 16_384
_MEMORY, _SEND, _RECEIVE = 0x1000_0000, 0x00, 0x30
_CONTROL, _STATUS, _ADDRESS, _LENGTH, _IDLE = 0x00, 0x04, 0x18, 0x28, 2


def cycles(live: LiveSystem, channel: int, latency: int) -> int:
    """Clock cycles of one transfer of :data:`WORDS` words."""
    live.reset()
    live.put(_MEMORY, bytes(4 * WORDS))
    live.stall(1, 0.0, latency)
    base = DMA_BASE + channel
    if channel == _RECEIVE:
        live.send(np.zeros(WORDS, np.uint32))
    live.write(base + _CONTROL, 1)
    live.write(base + _ADDRESS, _MEMORY)
    begin = live.advance(0)
    live.write(base + _LENGTH, 4 * WORDS)
    while not live.read(base + _STATUS) & _IDLE:
        live.advance(1)
    return live.advance(0) - begin


def main() -> int:
    """Write the table; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m experiments.dma_throughput")
    default = Path(__file__).parent / "results" / "dma_throughput.csv"
    parser.add_argument("--out", type=Path, default=default)
    options = parser.parse_args()
    program = build_dma_bench(cache_dir() / "verilator")
    with LiveSystem(program) as live, options.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(
            ("latency_cycles", "words", "send_cycles_per_word", "receive_cycles_per_word")
        )
        for latency in LATENCIES:
            shares = [cycles(live, channel, latency) / WORDS for channel in (_SEND, _RECEIVE)]
            writer.writerow((latency, WORDS, *(f"{share:.3f}" for share in shares)))
    print(options.out.read_text(encoding="utf-8"), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
