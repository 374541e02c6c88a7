"""``python -m experiments.unrolled_lenet5``: LeNet-5 on unrolled kernels, at the pace of its input.

Simulates the accelerator on MNIST test images and compares every logit with the integer model; runs it
once more behind the system's DMA and memory port; synthesises it module by module. A row per model.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyadmm import container
from pyadmm.codegen.hls import generate
from pyadmm.codegen.rtl import generate_rtl
from pyadmm.codegen.system import CORE_BASE, DMA_BASE
from pyadmm.core.errors import CheckError, PyadmmError
from pyadmm.core.files import cache_dir, write_atomic
from pyadmm.datasets import mnist
from pyadmm.eda import gxx
from pyadmm.eda.hierarchical_synthesis import synthesise_build
from pyadmm.eda.rtl_simulation import cosim
from pyadmm.eda.system_simulation import LiveSystem, build_system
from pyadmm.eda.verilator import build_simulator
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.design_space import SearchResult, search
from pyadmm.hardware.input_stream import stream_words
from pyadmm.hardware.lowering import hardware_form
from pyadmm.hardware.mapping import plan_accelerator
from pyadmm.hardware.plan import AcceleratorPlan, BuildPlan, InputStream
from pyadmm.hardware.registers import AP_CTRL, COUNT, INFER, LOAD, MODE, START
from pyadmm.hardware.weight_image import weight_image
from pyadmm.model import CompressedModel
from pyadmm.model.types import Resources

FIELDS = (
    "model", "board", "weights", "stream_bits", "pixel_bits", "kernels", "images", "wrong_images",
    "test_accuracy", "interval_cycles", "interval_least", "interval_most", "latency_cycles",
    "csim_images", "csim_wrong_images",
    "system_images", "system_interval_cycles", "memory_latency_cycles", "clock_mhz",
    "core_images_per_s", "system_images_per_s", "luts", "flip_flops", "dsps", "bram18",
    "clock_estimate_ns", "slowest_module",
)  # fmt: skip
MEMORY_LATENCY = 20
"""Cycles that the simulated memory takes to answer."""
_LUT_STEP, _MOST_FAILED = 100, 8
_SEND, _RECEIVE = 0x1000_0000, 0x1800_0000
_CONTROL, _STATUS, _ADDRESS, _LENGTH, _IDLE = 0x00, 0x04, 0x18, 0x28, 2
_S2MM = 0x30


def plan_of(
    model: CompressedModel, board: str, stream: InputStream, luts: float
) -> AcceleratorPlan:
    """The fastest accelerator of ``model`` within ``luts``, its frames in block RAM.

    Of equally fast ones, that of the least area (modelled): within its budget the search spends LUTs
    on latency, so smaller budgets are tried until the interval grows.
    """
    facts = load_board(board)

    def within(limit: float) -> SearchResult:
        budget = replace(facts.resources, lut=limit)
        return search(model, facts, unrolled=True, stream=stream, budget=budget, luts_alone=True)

    found, failed, limit = within(luts), 0, luts
    interval = found.best.interval
    while failed < _MOST_FAILED:
        limit = min(limit, found.best.resources.lut) - _LUT_STEP
        try:
            smaller = within(limit)
        except PyadmmError:  # not even the smallest one fits
            break
        failed = failed + 1 if smaller.best.interval > interval else 0
        found = found if failed else smaller
    configs = {
        name: replace(config, block_frame=config.family == "unrolled")
        for name, config in found.configs.items()
    }
    return plan_accelerator(model, facts, configs, stream=stream)


def core_facts(
    plan: AcceleratorPlan,
    build: BuildPlan,
    model: CompressedModel,
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
) -> dict[str, Any]:
    """What the simulated core gives on ``images``."""  # fmt: skip
    simulator = build_simulator(build, plan, cache_dir() / "verilator")
    result = cosim(simulator, weight_image(model, plan), images)
    least, most = result.interval_range or (None, None)
    return {
        "images": len(images),
        "wrong_images": int((result.logits != model.run(images)).any(1).sum()),
        "test_accuracy": round(float((result.logits.argmax(1) == labels).mean()), 4),
        "interval_cycles": result.interval_cycles,
        "interval_least": least,
        "interval_most": most,
        "latency_cycles": result.latency_cycles,
    }


def _move(live: LiveSystem, channel: int, address: int, nbytes: int) -> None:
    """Start a transfer of the DMA."""
    live.write(DMA_BASE + channel + _CONTROL, 1)
    live.write(DMA_BASE + channel + _ADDRESS, address)
    live.write(DMA_BASE + channel + _LENGTH, nbytes)


def _wait(live: LiveSystem, channel: int) -> None:
    while not live.read(DMA_BASE + channel + _STATUS) & _IDLE:
        live.advance(1)


def system_facts(
    plan: AcceleratorPlan, build: BuildPlan, model: CompressedModel, images: NDArray[np.uint8]
) -> dict[str, Any]:
    """Cycles an image from memory to memory, register accesses of the run included."""
    program = build_system(build, cache_dir() / "verilator")
    words, image = stream_words(images, plan), weight_image(model, plan)
    with LiveSystem(program) as live:
        live.reset()
        live.put(_SEND, image.astype("<u4").tobytes())
        live.stall(1, 0.0, MEMORY_LATENCY)
        live.write(CORE_BASE + MODE, LOAD)
        live.write(CORE_BASE + AP_CTRL, START)
        _move(live, 0, _SEND, 4 * len(image))
        _wait(live, 0)
        live.put(_SEND, words.astype("<u4").tobytes())
        nbytes = 4 * len(images) * plan.logits
        live.put(_RECEIVE, bytes(nbytes))
        live.write(CORE_BASE + MODE, INFER)
        live.write(CORE_BASE + COUNT, len(images))
        begin = live.advance(0)
        _move(live, _S2MM, _RECEIVE, nbytes)
        live.write(CORE_BASE + AP_CTRL, START)
        _move(live, 0, _SEND, 4 * len(words))
        _wait(live, _S2MM)
        cycles = live.advance(0) - begin
        logits = np.frombuffer(live.get(_RECEIVE, nbytes), "<i4").reshape(len(images), -1)
    if not np.array_equal(logits, model.run(images)):
        raise CheckError(f"{plan.name}: logits through the memory port differ")
    return {
        "system_images": len(images),
        "system_interval_cycles": round(cycles / len(images), 2),
        "memory_latency_cycles": MEMORY_LATENCY,
    }


def csim_facts(
    plan: AcceleratorPlan, model: CompressedModel, images: NDArray[np.uint8]
) -> dict[str, Any]:
    """Whether the C++, compiled with g++, gives the same logits."""
    with tempfile.TemporaryDirectory(prefix="pyadmm-") as folder:
        generate(model, plan, images[:1]).write(Path(folder))
        logits = gxx.csim(Path(folder), plan, images)
    wrong = int((logits != model.run(images)).any(1).sum())
    return {"csim_images": len(images), "csim_wrong_images": wrong}


def area_facts(build: BuildPlan, plan: AcceleratorPlan) -> dict[str, Any]:
    """What Yosys gives, the sum of modules."""
    report = synthesise_build(build, plan.board)
    for part in report.modules:
        print(
            f"  {part.name} ({part.kind}): {part.resources.lut} LUTs, {part.clock_estimate_ns} ns"
        )
    total = Resources(**report.resources.known())
    slowest = max(report.modules, key=lambda part: part.clock_estimate_ns or 0.0)
    return {
        "luts": round(total.lut),
        "flip_flops": round(total.ff),
        "dsps": round(total.dsp),
        "bram18": round(total.bram18),
        "clock_estimate_ns": report.clock_estimate_ns,
        "slowest_module": slowest.kind,
    }


def row_of(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One model's row."""
    model = hardware_form(container.load(path))
    plan = plan_of(model, options.board, InputStream(True, options.stream_bits), options.luts)
    build = generate_rtl(plan, model=model)
    data = mnist.load(options.data_dir)
    images = data.test_images[: max(options.images, options.system_images, options.csim_images)]
    row: dict[str, Any] = {
        "model": path.name,
        "board": plan.board.name,
        "weights": model.nnz,
        "stream_bits": plan.stream.word_bits,
        "pixel_bits": plan.pixel_bits,
        "kernels": "; ".join(
            f"{s.name} {s.config.family} {s.tile_rows}x{s.groups}x{s.config.pixels}"
            for s in plan.stages
        ),
        "clock_mhz": plan.board.clock_mhz,
    }
    if options.images:
        labels = data.test_labels[: options.images]
        row |= core_facts(plan, build, model, images[: options.images], labels)
        row["core_images_per_s"] = round(row["clock_mhz"] * 1e6 / row["interval_cycles"])
    if options.system_images:
        row |= system_facts(plan, build, model, images[: options.system_images])
        row["system_images_per_s"] = round(row["clock_mhz"] * 1e6 / row["system_interval_cycles"])
    if options.csim_images:
        row |= csim_facts(plan, model, images[: options.csim_images])
    if options.synthesis:
        row |= area_facts(build, plan)
    return row


def append(path: Path, row: dict[str, Any]) -> None:
    """Bring ``row`` into the table at ``path``; what it does not know stays as it was."""
    rows: list[dict[str, Any]] = []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    key = ("model", "board", "stream_bits", "kernels")
    same = [old for old in rows if all(str(old[name]) == str(row[name]) for name in key)]
    merged = {**(same[0] if same else {}), **row}
    rows = [old for old in rows if old not in same]
    lines = [",".join(FIELDS)]
    lines.extend(",".join(str(r.get(name, "")) for name in FIELDS) for r in [*rows, merged])
    write_atomic(path, ("\n".join(lines) + "\n").encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0, 1 for a wrong logit, or 2 and one line for what cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.unrolled_lenet5", description=__doc__
    )
    parser.add_argument("models", type=Path, nargs="+", metavar="FILE", help=".admm files")
    parser.add_argument("--board", default="pynq-z2")
    parser.add_argument("--stream-bits", type=int, choices=(32, 64), default=32)
    parser.add_argument("--luts", type=float, default=24_000, help="limit of the search (modelled)")
    parser.add_argument("--images", type=int, default=10_000, help="0: no simulation of the core")
    parser.add_argument("--system-images", type=int, default=500, help="0: none of the system")
    parser.add_argument("--csim-images", type=int, default=0, help="0: the C++ is not run")
    parser.add_argument("--synthesis", action="store_true")
    parser.add_argument("--data-dir", type=Path, help="folder with the MNIST files")
    parser.add_argument("--out", type=Path, default=Path("experiments/results/unrolled.csv"))
    options = parser.parse_args(arguments)
    wrong = 0
    try:
        for path in options.models:
            row = row_of(path, options)
            print(row, flush=True)
            append(options.out, row)
            wrong += row.get("wrong_images", 0) + row.get("csim_wrong_images", 0)
    except PyadmmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
