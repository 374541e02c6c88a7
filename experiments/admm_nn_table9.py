"""``python -m experiments.admm_nn_table9 --board pynq-z2``: ADMM-NN's table 9 with our break-evens.

What the hardware-aware algorithm (ADMM-NN figure 5) does for AlexNet's convolutions: every layer at
the published pruning ratio; then layers under their break-even restored to dense; then the others
pruned further, so that as many weights are left as before. Speedups are those of the break-even
calculator, against the best dense kernel on the same area, on random patterns of these densities.
With ``--records`` nothing is measured: every layer takes the kernel family that is fastest in a
table of ``python -m experiments.breakeven_families``. No network is trained here: the published
ratios are the paper's at no loss of accuracy, and whether accuracy bears the further pruning is not
checked.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyadmm.breakeven import BreakEven, LayerCase, Measure, OpenFlow, Settings, break_even
from pyadmm.breakeven import model_cases as cases_of
from pyadmm.compression.schedule import plan_ratios
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import Board, board_names, load_board
from pyadmm.report.reference import literature_ratios

MODEL = "alexnet"
PAPER_BREAK_EVEN = 2.22
PAPER_SPEEDUPS: Mapping[str, tuple[float, ...]] = {
    "ADMM-NN, no loss": (1, 7, 7.5, 7.2, 7.1, 3.6),
    "ADMM-NN, small loss": (1, 8.6, 9.0, 8.8, 8.6, 3.9),
    "Han et al., by ADMM-NN": (0.16, 1.4, 1.6, 1.5, 1.5, 0.64),
}
"""Of :data:`LAYERS` and all of them, synthesised for a 40 nm ASIC (ADMM-NN table 9)."""
LAYERS = ("conv1", "conv2", "conv3", "conv4", "conv5")
_DIGITS = 4
_LEAST_PRUNED = 2.0
"""Layers with a lower published ratio are not pruned further: conv1."""


@dataclass(frozen=True)
class Variant:
    """One way to choose the layers' ratios.

    :param ratios: pruning ratio by layer; 1: dense.
    :param speedups: over the best dense kernel on the same area, by layer.
    :param families: of each layer's kernels, where there is a choice.
    """

    name: str
    ratios: Mapping[str, float]
    speedups: Mapping[str, float]
    families: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Effect:
    """The hardware-aware algorithm's effect on one board.

    :param macs: multiplications by layer.
    :param break_evens: ``None`` where sparse never wins.
    """

    board: str
    source: str
    macs: Mapping[str, int]
    break_evens: Mapping[str, float | None]
    variants: tuple[Variant, ...]

    def overall(self, variant: Variant) -> float:
        """All layers one after the other: harmonic mean, weighted by operations as in the paper."""
        time = sum(self.macs[name] / speedup for name, speedup in variant.speedups.items())
        return sum(self.macs.values()) / time

    def table(self) -> str:
        """A Markdown table, the paper's rows last."""
        names = list(self.macs)
        lines = [
            f"| {self.board}, {self.source} | {' | '.join(names)} | all |",
            "|---" * (len(names) + 2) + "|",
        ]
        floors = (self.break_evens[name] for name in names)
        shown = " | ".join("none" if floor is None else f"{floor:.2f}×" for floor in floors)
        lines.append(f"| break-even (ADMM-NN: {PAPER_BREAK_EVEN}×, of conv4) | {shown} | |")
        for variant in self.variants:
            ratios = (variant.ratios[name] for name in names)
            shown = " | ".join("dense" if ratio == 1 else f"{ratio:.2f}×" for ratio in ratios)
            lines.append(f"| {variant.name}: pruning ratio | {shown} | |")
            speedups = [*(variant.speedups[name] for name in names), self.overall(variant)]
            shown = " | ".join(f"{speedup:.2f}" for speedup in speedups)
            lines.append(f"| {variant.name}: speedup | {shown} |")
            if variant.families:
                shown = " | ".join(variant.families[name] for name in names)
                lines.append(f"| {variant.name}: kernels | {shown} | |")
        places = [*(LAYERS.index(name) for name in names), len(LAYERS)]
        for name, figures in PAPER_SPEEDUPS.items():
            published = [figures[place] for place in places]
            lines.append(f"| {name}: speedup | {' | '.join(f'{x:g}' for x in published)} |")
        return "\n".join(lines)


def hardware_effect(
    board: Board, measure: Measure | None = None, layers: Sequence[LayerCase] | None = None
) -> Effect:
    """Measure AlexNet's convolutions at the published ratios and at what is made of them.

    :param layers: others of the same names.
    :raises PyadmmError: where a layer has no dense kernel on ``board``, or no sparse kernel fits
        at a portion that is asked for.
    """
    layers = [c for c in cases_of(MODEL) if c.spec.kind == "conv"] if layers is None else layers
    cases = {case.spec.name: case for case in layers}
    first = {name: break_even(case, board, measure) for name, case in cases.items()}
    floors = {name: record.ratio for name, record in first.items()}
    published = {name: literature_ratios(MODEL)[name] for name in cases}
    planned = _planned(cases, published, floors)
    records = {
        name: break_even(
            case, board, measure, Settings(further=tuple(sorted(_portions(name, planned))))
        )
        for name, case in cases.items()
    }
    record = next(iter(records.values()))
    return Effect(
        board=board.name,
        source=f"{record.basis}, {record.version}",
        macs={name: case.spec.macs for name, case in cases.items()},
        break_evens=floors,
        variants=tuple(
            Variant(title, ratios, {name: _speedup(records[name], ratios[name]) for name in cases})
            for title, ratios in planned.items()
        ),
    )


def recorded_effect(path: Path, board: Board) -> Effect:
    """The table with the fastest kernel family of every layer, from measured records.

    :param path: a table that ``python -m experiments.breakeven_families`` wrote.
    :raises PyadmmError: where a layer has no record at a portion that is asked for.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["board"] == board.name]
    cases = {case.spec.name: case for case in cases_of(MODEL) if case.spec.kind == "conv"}
    found = {name: [r for r in rows if r["layer"] == cases[name].label] for name in cases}
    floors = {name: [float(r["ratio"]) for r in of if r["ratio"]] for name, of in found.items()}
    published = {name: literature_ratios(MODEL)[name] for name in cases}
    further = {name: ratio if ratio < _LEAST_PRUNED else 10.0 for name, ratio in published.items()}
    planned = {
        "published ratios": published,
        "conv2 to conv5 at 90 % pruned": further,
    }
    sources = sorted({f"{r['basis']}, {r['version']}" for r in rows if r["basis"]})
    return Effect(
        board=board.name,
        source="; ".join(sources),
        macs={name: case.spec.macs for name, case in cases.items()},
        break_evens={name: min(of, default=None) for name, of in floors.items()},
        variants=tuple(
            _fastest(title, ratios, found, board.name) for title, ratios in planned.items()
        ),
    )


def _fastest(
    title: str,
    ratios: Mapping[str, float],
    rows: Mapping[str, Sequence[Mapping[str, str]]],
    board: str,
) -> Variant:
    """A variant with every layer on its fastest family."""
    speedups, families = {}, {}
    for name, ratio in ratios.items():
        options = {}
        for row in rows[name]:
            points = (point.split(":") for point in row["curve"].split())
            curve = {float(pruned): float(speedup) for pruned, speedup in points}
            if _pruned(ratio) in curve:
                options[row["family"]] = curve[_pruned(ratio)]
        if not options:
            raise PyadmmError(
                f"table 9 on {board}: no kernel of {name} is recorded at {ratio:.2f}x; measure it "
                "with python -m experiments.breakeven_families"
            )
        families[name] = max(options, key=lambda family: options[family])
        speedups[name] = options[families[name]]
    return Variant(title, ratios, speedups, families)


def _planned(
    cases: Mapping[str, LayerCase],
    published: Mapping[str, float],
    floors: Mapping[str, float | None],
) -> dict[str, dict[str, float]]:
    """Pruning ratios of every variant."""
    weights = {name: case.spec.weights for name, case in cases.items()}
    # Where sparse never wins, no ratio is high enough.
    known = {
        name: weights[name] + 1.0 if floor is None else floor for name, floor in floors.items()
    }
    left = sum(weights[name] / published[name] for name in cases)
    total = sum(weights.values()) / left
    restored = {d.layer: d.ratio for d in plan_ratios(weights, published, known)}
    pushed = {d.layer: d.ratio for d in plan_ratios(weights, published, known, total)}
    return {
        "as published, all sparse": dict(published),
        "under break-even: dense": restored,
        "the others further, same weights left": pushed,
    }


def _pruned(ratio: float) -> float:
    return round(1 - 1 / ratio, _DIGITS)


def _portions(name: str, planned: Mapping[str, Mapping[str, float]]) -> set[float]:
    """Pruned portions at which layer ``name`` has to be measured."""
    return {_pruned(ratios[name]) for ratios in planned.values() if ratios[name] != 1}


def _speedup(record: BreakEven, ratio: float) -> float:
    if ratio == 1:
        return 1.0
    speedup = record.speedup_at(_pruned(ratio))
    if speedup is None:
        raise PyadmmError(
            f"hardware effect on {record.board}: no sparse kernel of {record.layer} fits the dense "
            f"one's area at {ratio:.2f}x"
        )
    return speedup


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0; 2 with one line for bad input or what does not fit."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.admm_nn_table9",
        description="ADMM-NN's table 9 with break-evens measured on one board.",
    )
    parser.add_argument("--board", default="pynq-z2", help=", ".join(board_names()))
    parser.add_argument("--jobs", type=int, help="synthesis runs at once (default: cores)")
    parser.add_argument("--records", type=Path, help="a table of measured kernel families")
    options = parser.parse_args(argv)
    try:
        board = load_board(options.board)
        if options.records:
            print(recorded_effect(options.records, board).table())
        else:
            print(hardware_effect(board, OpenFlow(options.jobs)).table())
    except PyadmmError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
