"""The steps of the flow for the layer-sequential array: compile the program, simulate it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import cast, get_args

from pyadmm.codegen.sequential import generate_sequential, sequential_context
from pyadmm.codegen.sequential_rtl import generate_array
from pyadmm.codegen.vendor_params import vendor_files, vendor_params
from pyadmm.core.errors import CheckError, MissingToolError, ToolError
from pyadmm.core.files import cache_dir, write_atomic
from pyadmm.deploy.bundle import ModelPack, write_deploy
from pyadmm.deploy.sequential import (
    Kernel,
    NetworkPack,
    SequentialDesign,
    plan_networks,
    write_program,
)
from pyadmm.deploy.simulated_board import LIMIT_S
from pyadmm.eda.sequential_cosim import run_csim, simulate, whole_starts
from pyadmm.eda.sequential_simulation import MemoryModel, build_sequential, pass_cycles
from pyadmm.eda.sequential_synthesis import require_fit
from pyadmm.eda.verilator import verilator_version
from pyadmm.flow.facts import (
    ArrayFacts,
    CodegenFacts,
    CosimFacts,
    CsimFacts,
    MemoryFacts,
    PassFacts,
)
from pyadmm.flow.outcome import Outcome, require_equal, synthesis_facts
from pyadmm.flow.session import Session
from pyadmm.hardware.sequential.compiler import Compiled
from pyadmm.hardware.sequential.roofline import (
    bounds,
    cycles_per_image,
    table,
)
from pyadmm.report.record import Bound

MOST_CYCLES = 300_000
"""Modelled cycles that are simulated, at most, where one start of the program does not take more."""
MOST_IMAGES = 100
"""Test images that are simulated, at most."""
MOST_CSIM_CYCLES = 50_000_000
"""Modelled cycles of the array that the C++ runs, at most, where one start of the program does not take more."""
_EXACT_SLOWDOWN = 100
"""So many times fewer cycles are run at hardware widths."""
_LEAST_CYCLES_PER_S = 2_000
"""How fast the array is simulated on a slow machine."""
_STALLS = 0.3
"""Share of transfers that the memory delays in the second simulation."""

ABSENT = {
    "compare": "dense baselines of the layer-sequential array are not part of the flow "
    "(python -m experiments.sequential --dense counts some)",
}
"""Steps that only the dataflow architecture has -> the reason."""
NO_BITSTREAM = (
    "the layer-sequential array is the same for every network, and the flow builds no bitstream of "
    "it; 'pyadmm bitstream' builds that of a bundle of 'pyadmm deploy --array', and 'pyadmm deploy "
    "--bitstream' adds yours"
)
NEEDS_VENDOR_TOOLS = (
    "Block design, placement, routing and the bitstream of the layer-sequential array, from its "
    "sources and parameters in accelerator/sequential.",
    "Measured inference: the board, with that bitstream and the bundle in deploy/sequential-rtl or -hls.",
)
"""What is left after a run for the layer-sequential array."""


def codegen(session: Session) -> Outcome:
    """Write program, facts for the driver, sources and parameters of the array."""
    compiled, rate = session.sequential, session.memory_rate
    folder = session.sequential_dir
    image, about = write_program(compiled, folder, session.target.name)
    passes = folder / "passes.txt"
    write_atomic(passes, table(compiled, rate) + "\n")
    files = [image, about, passes, *_write_design(compiled, folder), *_write_hls(session, folder)]
    array = compiled.program.array
    facts = ArrayFacts(
        images_per_start=compiled.images,
        array=array,
        bytes_per_cycle=rate,
        program_bytes=len(compiled.program.image),
        passes=tuple(
            PassFacts(one.name, one.runs, one.cycles, cast(Bound, one.bound))
            for one in bounds(compiled, rate)
        ),
        modelled_cycles=cycles_per_image(compiled, rate),
    )
    text = (
        f"layer-sequential array, {array.groups}x{array.lanes}: program of "
        f"{len(compiled.program.image):,} bytes, {compiled.images} images per start, in {folder}; "
        f"at least {facts.modelled_cycles:,.0f} cycles an image (modelled)"
    )
    return Outcome(text + _why(session), CodegenFacts(array=facts), tuple(files))


def _why(session: Session) -> str:
    if session.config.architecture != "auto":
        return ""
    return f"; no dataflow design fits: {session.dataflow_refusal}"


def _write_design(compiled: Compiled, folder: Path) -> list[Path]:
    """Sources and parameters of the array."""
    build = generate_array(compiled.program.array)
    build.write(folder)
    return [folder / name for name in build.files]


def _write_hls(session: Session, folder: Path) -> list[Path]:
    """The same array in C++ with a test bench on the first images, and what the vendor's tools need."""
    compiled = session.sequential
    order = whole_starts(compiled, 1, len(session.test_images))
    array = compiled.program.array
    build = generate_sequential(array, compiled, session.test_images[order])
    params = vendor_params(session.board, **sequential_context(compiled, session.target.name))
    whole = replace(build, data={**build.data, **vendor_files(params)})
    whole.write(folder / "hls")
    return [folder / "hls" / name for name in (*whole.files, *whole.data)]


def synth(session: Session) -> Outcome:
    """Synthesise the array; one that does not fit is still simulated and reported before the flow fails."""
    try:
        report = session.array_synthesis
    except MissingToolError:
        raise
    except ToolError as error:
        return Outcome("no result", failure=str(error))
    write_atomic(session.synthesis_file, report.to_json() + "\n")
    text, facts = synthesis_facts(report, session.board)
    try:
        require_fit(report, session.array, session.board)
    except CheckError as error:
        return Outcome(text, facts, failure=str(error))
    return Outcome(text, facts, (session.synthesis_file,))


def simulated_starts(
    compiled: Compiled,
    cycles_per_start: float,
    images: int,
    *,
    most_cycles: int = MOST_CYCLES,
    most_images: int = MOST_IMAGES,
) -> int:
    """Starts of the program to simulate: all of ``images`` if they stay within the limits.

    :param cycles_per_start: modelled.
    """
    wanted = math.ceil(min(images, most_images) / compiled.images)
    return max(min(wanted, int(most_cycles / cycles_per_start)), 1)


def csim(session: Session) -> Outcome:
    """Run the C++ twin with g++ on test images, a part of them with all numbers at their hardware widths."""
    compiled, available = session.sequential, len(session.test_images)
    modelled = cycles_per_image(compiled, session.memory_rate) * compiled.images
    most = {"most_cycles": MOST_CSIM_CYCLES, "most_images": available}
    starts = simulated_starts(compiled, modelled, available, **most)
    order = whole_starts(compiled, starts, available)
    count = min(len(order), available)
    golden = session.model.run(session.test_images[:count])[order % count]
    require_equal("csim", "logits", run_csim(compiled, session.test_images[order]), golden)
    most["most_cycles"] = MOST_CSIM_CYCLES // _EXACT_SLOWDOWN
    order = order[: compiled.images * simulated_starts(compiled, modelled, available, **most)]
    exact = run_csim(compiled, session.test_images[order], exact_widths=True)
    require_equal("csim at hardware widths", "logits", exact, golden[: len(order)])
    text = (
        f"g++ of the array's C++ equals the integer model on {count:,} of {available:,} test images, "
        f"{min(len(order), count):,} of them at hardware widths"
    )
    return Outcome(text, CsimFacts(images=count, exact_images=min(len(order), count)))


def cosim(session: Session) -> Outcome:
    """Simulate the array on test images; once more with a memory that stalls, for one start."""
    compiled, available = session.sequential, len(session.test_images)
    rate = session.memory_rate
    modelled = cycles_per_image(compiled, rate) * compiled.images
    starts = simulated_starts(compiled, modelled, available)
    order = whole_starts(compiled, starts, available)
    count = min(len(order), available)
    data, memory = session.test_images[order], MemoryModel(bytes_per_cycle=rate)
    logits, results = simulate(compiled, data, memory)
    golden = session.model.run(session.test_images[:count])[order % count]
    require_equal("cosim", "logits", logits, golden)
    stalled = min(compiled.images, count)
    bumpy = replace(memory, stall=_STALLS, seed=session.config.seed + 1)
    logits, _ = simulate(compiled, data[: compiled.images], bumpy)
    require_equal("cosim with stalls", "logits", logits, golden[: compiled.images])
    cycles = sum(result.cycles for result in results) / len(order)
    facts = CosimFacts(
        images=count,
        stalled_images=stalled,
        latency_cycles=max(result.cycles for result in results),
        interval_cycles=cycles,
        busy_cycles={
            name: one / compiled.images for name, one in pass_cycles(compiled, results[-1]).items()
        },
        version=verilator_version(),
        memory=MemoryFacts(memory.latency, rate),
    )
    clock = session.board.clock_mhz
    text = (
        f"RTL of the array equals the integer model on {count:,} of {available:,} test images, "
        f"{stalled} more times with a stalling memory; {cycles:,.0f} cycles an image (simulated, "
        f"{rate:g} bytes of memory a cycle), {clock * 1e6 / cycles:,.0f} images/s at the target "
        f"clock of {clock:g} MHz"
    )
    return Outcome(text, facts)


def deploy(session: Session, pack: ModelPack) -> Outcome:
    """Write a bundle per kernel flavour with the network's program; its bitstream runs all networks."""
    compiled = session.sequential
    files = []
    for kernel in get_args(Kernel):
        folder = session.deploy_dir / f"sequential-{kernel}"
        design = SequentialDesign(compiled.program.array, session.board, kernel)
        bundle = plan_networks(design, [NetworkPack(pack, compiled)])
        write_deploy(folder, bundle)
        files += [folder / name for name in bundle.files]
    text = "wheels for the board in deploy/sequential-hls and deploy/sequential-rtl"
    return Outcome(f"{text}; 'pyadmm deploy' adds networks", files=tuple(files))


def simulator(session: Session) -> Path:
    """The compiled simulation of the array."""
    return build_sequential(session.sequential.program.array, cache_dir() / "simulators")


def board_run(session: Session) -> tuple[int, float]:
    """How many test images go through the board's driver, and how many seconds they may take."""
    compiled = session.sequential
    modelled = cycles_per_image(compiled, session.memory_rate) * compiled.images
    starts = simulated_starts(compiled, modelled, len(session.test_images))
    # One start more is for the latency; the model is a lower bound.
    seconds = 2 * (starts + 1) * modelled / _LEAST_CYCLES_PER_S
    return starts * compiled.images, max(LIMIT_S, seconds)
