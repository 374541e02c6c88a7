"""Measuring the accelerator: core, DMA and end to end apart, batch 1 and batch N.

* **core**: the design's own cycle counter, start to done, at the clock that the board makes;
* **DMA**: from arming the DMA to the last result in memory, the core included;
* **end to end**: from images in numpy to logits in numpy.

``python -m host.benchmark`` prints the figures; ``--json FILE`` keeps them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .accelerator import Accelerator, load_vectors
from .bundle import add_bundle_arguments, open_bundle
from .cpu import Network
from .errors import HostError
from .fast import FastPath
from .power import PowerReading, RailRecorder, read_meter
from .sequential import LayerCycles

if TYPE_CHECKING:
    from numpy.typing import NDArray

PERCENTILES = (5, 95, 99)
POWER_SECONDS = 1.0


@dataclass(frozen=True)
class Spread:
    """Distribution of repeated timings, seconds."""

    repeats: int
    median_s: float
    p5_s: float
    p95_s: float
    p99_s: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        """The distribution of ``seconds``.

        >>> Spread.of([1.0, 3.0, 2.0]).median_s
        2.0
        """
        p5, p95, p99 = (float(x) for x in np.percentile(seconds, PERCENTILES))
        return cls(len(seconds), float(np.median(seconds)), p5, p95, p99)


@dataclass(frozen=True)
class BatchTiming:
    """Timings of one batch size.

    :param path: ``python`` or ``c``: what drove the registers.
    :param core: None where the design has no cycle counter; ``core_cycles`` is its median.
    :param images_per_s: throughput by the median of ``core``, ``dma`` and ``end_to_end``.
    """

    path: str
    batch: int
    core: Spread | None
    core_cycles: int | None
    dma: Spread
    end_to_end: Spread
    images_per_s: dict[str, float | None]


@dataclass(frozen=True)
class Benchmark:
    """All figures of one board, design and model.

    :param basis: ``measured`` on a board, ``simulated`` on the simulated one, whose seconds of
        DMA and end to end are the simulator's and say nothing about a board.
    :param c_path_missing: why there is no timing of the C path; None where there is one.
    :param layers: cycles of every layer in a run of ``run_images``, by the counters of the
        layer-sequential array; nothing where the design has none.
    :param cpu: the processor of the board on the same images, one at a time and in a batch.
    """

    basis: str
    device: str
    board: str
    model: str
    design: str
    clock_mhz: float
    timings: tuple[BatchTiming, ...]
    layers: tuple[LayerCycles, ...]
    run_images: int
    c_path_missing: str | None
    cpu: dict[int, Spread]
    power: PowerReading | None

    def to_json(self) -> str:
        """The figures as JSON."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)


def measure(
    accelerator: Accelerator,
    images: NDArray[np.uint8],
    *,
    batches: Sequence[int] = (1, 100),
    repeats: int = 100,
    cpu_repeats: int = 5,
    meter: str | Path | None = None,
) -> Benchmark:
    """Measure ``accelerator`` on ``images``.

    :param batches: batch sizes; ``images`` are repeated where they are fewer.
    :param repeats: runs of each batch size, after one that warms up.
    :param meter: CSV of an external power meter that logs during this call.
    :raises HostError: for no images, or a batch size or count below 1.
    """
    images = accelerator.check_images(images)
    if not len(images) or min(batches) < 1 or min(repeats, cpu_repeats) < 1:
        raise HostError("benchmark: needs at least one image, and batches and repeats from 1 on")
    model = accelerator.loaded()
    timings = [_time_batch(accelerator, _batch(images, n), repeats) for n in batches]
    layers = _layers(accelerator)
    fast, missing = _time_fast(accelerator, images, repeats)
    power = _power(accelerator, _batch(images, max(batches)), meter)
    network = Network(model)
    cpu = {n: _time_cpu(network, _batch(images, n), cpu_repeats) for n in batches}
    return Benchmark(
        basis="simulated" if getattr(accelerator.device, "simulated", False) else "measured",
        device=str(getattr(accelerator.device, "name", accelerator.device.tag)),
        board=accelerator.manifest.board,
        model=model.name,
        design=accelerator.manifest.design.digest,
        clock_mhz=accelerator.clock_mhz,
        timings=tuple(timings + fast),
        layers=layers,
        run_images=accelerator.images_per_run(),
        c_path_missing=missing,
        cpu=cpu,
        power=power,
    )


def _batch(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return images[np.arange(size) % len(images)]


def _time_batch(accelerator: Accelerator, images: NDArray[np.uint8], repeats: int) -> BatchTiming:
    accelerator.logits(images)
    runs = []
    for _ in range(repeats):
        accelerator.logits(images)
        assert accelerator.last is not None
        runs.append(accelerator.last)
    cycles = [run.cycles for run in runs if run.cycles is not None]
    core = [run.core_s for run in runs if run.core_s is not None]
    return _timing(
        "python",
        len(images),
        (core, cycles),
        [run.dma_s for run in runs],
        [run.end_to_end_s for run in runs],
    )


def _layers(accelerator: Accelerator) -> tuple[LayerCycles, ...]:
    """What the hardware counted by layer in the last run."""
    try:
        return accelerator.layer_cycles()
    except HostError:  # this design has no such counters
        return ()


def _time_fast(
    accelerator: Accelerator, images: NDArray[np.uint8], repeats: int
) -> tuple[list[BatchTiming], str | None]:
    try:
        fast = FastPath(accelerator)
    except HostError as error:
        return [], str(error)
    results = [fast.infer(image) for image in _batch(images, repeats)]
    dma = [result.dma_ns * 1e-9 for result in results]
    end_to_end = [result.end_to_end_ns * 1e-9 for result in results]
    return [_timing("c", 1, ([], []), dma, end_to_end)], None


def _timing(
    path: str,
    batch: int,
    core: tuple[list[float], list[int]],
    dma: list[float],
    end_to_end: list[float],
) -> BatchTiming:
    seconds, cycles = core
    spreads = {
        "core": Spread.of(seconds) if seconds else None,
        "dma": Spread.of(dma),
        "end_to_end": Spread.of(end_to_end),
    }
    return BatchTiming(
        path=path,
        batch=batch,
        core=spreads["core"],
        core_cycles=int(np.median(cycles)) if cycles else None,
        dma=Spread.of(dma),
        end_to_end=Spread.of(end_to_end),
        images_per_s={k: None if s is None else batch / s.median_s for k, s in spreads.items()},
    )


def _power(
    accelerator: Accelerator, images: NDArray[np.uint8], meter: str | Path | None
) -> PowerReading | None:
    """Power under load, in a pass of its own: sampling would disturb the timings."""
    recorder = RailRecorder()
    if not recorder.available and meter is None:
        return None
    begin_s = time.time()
    with recorder:
        while time.time() < begin_s + POWER_SECONDS:
            accelerator.logits(images)
    if recorder.available or meter is None:
        return recorder.reading
    return read_meter(meter, begin_s, time.time())


def _time_cpu(network: Network, images: NDArray[np.uint8], repeats: int) -> Spread:
    def run() -> float:
        begin = time.perf_counter()
        network.logits(images)
        return time.perf_counter() - begin

    run()
    return Spread.of([run() for _ in range(repeats)])


def format_table(result: Benchmark) -> str:
    """The figures as text."""
    lines = [
        f"{result.board}: {result.model}, {result.clock_mhz:g} MHz, {result.basis} "
        f"({result.device})",
        f"{'path':8}{'batch':>6}  {'what':12}"
        f"{'median':>12}{'95 %':>12}{'99 %':>12}{'images/s':>14}",
    ]
    for timing in result.timings:
        for what in ("core", "dma", "end_to_end"):
            lines.append(_row(timing.path, timing.batch, what, getattr(timing, what)))
    for batch, spread in result.cpu.items():
        lines.append(_row("cpu", batch, "end_to_end", spread))
    for layer in result.layers:
        lines.append(
            f"layer {layer.name}: {layer.cycles} cycles for {result.run_images} images, "
            f"{layer.waiting} of them waiting for memory"
        )
    if result.c_path_missing:
        lines.append(result.c_path_missing)
    if result.power is None:
        lines.append("power: not measured (no sensors on this board, no meter given)")
    else:
        rails = ", ".join(f"{name} {watts:.3f} W" for name, watts in result.power.rails.items())
        lines.append(f"power ({result.power.source}, {result.power.samples} samples): {rails}")
    return "\n".join(lines)


def _row(path: str, batch: int, what: str, spread: Spread | None) -> str:
    head = f"{path:8}{batch:>6}  {what:12}"
    if spread is None:
        return f"{head}{'not counted':>12}"
    times = (spread.median_s, spread.p95_s, spread.p99_s)
    columns = "".join(f"{1e6 * seconds:>9.1f} µs" for seconds in times)
    return f"{head}{columns}{batch / spread.median_s:>14.0f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m host.benchmark", description="measure")
    add_bundle_arguments(parser)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 100])
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--meter", type=Path, help="CSV of a power meter: time_s, watts")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args(arguments)

    def run() -> None:
        with open_bundle(options) as accelerator:
            images = load_vectors(accelerator.loaded())["images"]
            result = measure(
                accelerator,
                images,
                batches=options.batch,
                repeats=options.repeats,
                meter=options.meter,
            )
        print(format_table(result))
        if options.json:
            options.json.write_text(result.to_json(), encoding="utf-8")

    return report_errors(run)


def report_errors(run: Callable[[], Any]) -> int:
    """0 where ``run`` succeeds, 2 with its message where it raises a :class:`HostError`."""
    try:
        run()
    except HostError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
