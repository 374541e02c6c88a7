"""``pyadmm inspect NET.onnx``: the network of an ONNX file as pyadmm reads it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pyadmm.cli.command import DONE, SKIPPED
from pyadmm.core.errors import MissingToolError
from pyadmm.model import InputSpec
from pyadmm.model.types import QFormat
from pyadmm.network.facts import LayerFacts, PoolFacts
from pyadmm.network.graph import Network
from pyadmm.network.layers import WeightedStep
from pyadmm.network.onnx_import import Imported, check_import, import_onnx
from pyadmm.network.steps import (
    AddStep,
    AffineStep,
    ConcatStep,
    CurveStep,
    PoolStep,
    ProductStep,
    Step,
)
from pyadmm.network.trace import trace

_KINDS: dict[type, str] = {
    AddStep: "sum",
    ConcatStep: "concatenation",
    ProductStep: "product",
    AffineStep: "factors",
}

_WIDEST = 400
"""Letters in a line; the table takes what its words need."""


def inspect_onnx(path: Path, *, as_json: bool, only_check: bool) -> int:
    """Show the steps of the network in ``path``; gives the exit status.

    :raises PyadmmError: for a file that is damaged, or a network that pyadmm cannot express.
    """
    imported = import_onnx(path)
    spec = InputSpec(imported.input_shape, QFormat(8, False, 1 / 255))
    network = trace(imported.without_quantizers().module, spec)
    facts = _facts(path, imported, network)
    status = DONE
    try:
        facts["difference_from_onnxruntime"] = check_import(path, imported)
    except MissingToolError as error:
        print(f"NOT CHECKED against onnxruntime: {error}", file=sys.stderr)
        status = SKIPPED
    if as_json:
        print(json.dumps(facts, indent=1))
        return status
    if not only_check:
        _print(path, facts)
    equal = facts.get("difference_from_onnxruntime")
    checked = "" if equal is None else f", equals onnxruntime within {equal:.1g}"
    print(
        f"{path}: good, {len(facts['steps'])} steps, {facts['weights']:,} weights, "
        f"{facts['macs']:,} multiplications an image{checked}"
    )
    return status


def _facts(path: Path, imported: Imported, network: Network) -> dict[str, Any]:
    """The network as plain data."""
    bits = imported.bits()
    codes = torch.zeros(1, *imported.input_shape)
    with torch.no_grad():
        shapes = {step.name: list(values.shape[1:]) for step, values in network.walk(codes)}
    steps = []
    for step in network.chain:
        row: dict[str, Any] = {
            "name": step.name,
            "kind": _kind(step),
            "reads": list(network.sources[step.name]),
            "output_shape": shapes[step.name],
        }
        if isinstance(step, WeightedStep):
            layer = step.facts.spec
            weight_bits, activation_bits = bits.get(step.name, (None, None))
            row |= {
                "weight_shape": list(layer.weight_shape),
                "weights": layer.weights,
                "macs": layer.macs,
                "weight_bits": weight_bits,
                "activation_bits": activation_bits,
            }
        steps.append(row)
    layers = network.layers.values()
    return {
        "name": path.stem,
        "input_shape": list(imported.input_shape),
        "weights": network.weights,
        "macs": sum(layer.facts.spec.macs for layer in layers),
        "notes": [*imported.notes, *network.notes],
        "steps": steps,
    }


def _kind(step: Step) -> str:
    """What a step does, in a few words."""
    if isinstance(step, WeightedStep):
        return _weighted(step.facts)
    if isinstance(step, PoolStep):
        return _pool(step.facts)
    if isinstance(step, CurveStep):
        return step.facts.curve.name
    return _KINDS.get(type(step), "moved values")


def _weighted(facts: LayerFacts) -> str:
    spec = facts.spec
    kind = "depthwise conv" if spec.groups == spec.input_shape[0] > 1 else spec.kind
    words = [kind, *(["ReLU"] if facts.relu else [])]
    return ", ".join([*words, *([] if facts.pool is None else [_pool(facts.pool)])])


def _pool(facts: PoolFacts) -> str:
    return f"{facts.kind} pool {'x'.join(map(str, facts.kernel))}"


def _print(path: Path, facts: dict[str, Any]) -> None:
    console = Console(highlight=False, markup=False, width=_WIDEST)
    shape = "x".join(map(str, facts["input_shape"]))
    table = Table(title=Text(f"{path.name}: reads {shape}"), box=box.SIMPLE)
    for heading in ("step", "kind", "reads", "shape", "gives"):
        table.add_column(heading)
    for heading in ("weights", "multiplications", "bits"):
        table.add_column(heading, justify="right")
    for step in facts["steps"]:
        table.add_row(
            Text(step["name"]),
            step["kind"],
            Text(", ".join(step["reads"])),
            "x".join(map(str, step.get("weight_shape", []))),
            "x".join(map(str, step["output_shape"])) or "1",
            f"{step['weights']:,}" if "weights" in step else "",
            f"{step['macs']:,}" if "macs" in step else "",
            _bits(step),
        )
    console.print(table)
    for note in facts["notes"]:
        console.print(f"note: {note}")


def _bits(step: dict[str, Any]) -> str:
    given = step.get("weight_bits"), step.get("activation_bits")
    return (
        "" if given == (None, None) else "/".join("float" if b is None else str(b) for b in given)
    )
