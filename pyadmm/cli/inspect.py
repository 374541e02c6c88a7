"""``pyadmm inspect``: what an ``.admm`` file holds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pyadmm.container.codec import PARTS, breakdown, decode, read_bytes
from pyadmm.core.errors import PyadmmError
from pyadmm.model import (
    CompressedModel,
)


def main(argv: Sequence[str] | None = None) -> int:
    """``python -m pyadmm.container.codec inspect|verify FILE``; the exit status, 0 for a good file."""
    parser = argparse.ArgumentParser(
        prog="python -m pyadmm.container.codec", description="Look into an .admm file."
    )
    actions = parser.add_subparsers(dest="action", required=True)
    for action, text in (
        ("inspect", "show the network and what each part of the file takes"),
        ("verify", "check that the file is whole and decodes; exit status 1 if not"),
    ):
        actions.add_parser(action, help=text).add_argument("file", type=Path)
    options = parser.parse_args(argv)
    try:
        data = read_bytes(options.file)
        model = decode(data)
    except PyadmmError as error:
        print(f"{options.file}: {error}", file=sys.stderr)
        return 1
    if options.action == "inspect":
        _inspect(model, data)
    print(
        f"{options.file}: good, {len(data)} bytes, {len(model.nodes)} nodes, "
        f"{model.nnz} of {model.weights} weights ({model.pruning_ratio:.1f}x)"
    )
    return 0


def _inspect(model: CompressedModel, data: bytes) -> None:
    """Print the layers and the parts of the file as tables."""
    console = Console(highlight=False, markup=False)
    parts = dict(breakdown(data))
    table = Table(title=Text(f"{model.name}: bytes of each part"), box=box.SIMPLE)
    for heading in ("layer", "shape", "n", "left", "ratio", "head", "pos", "lev", "bias", "bit/w"):
        table.add_column(heading, justify="left" if heading in ("layer", "shape") else "right")
    for layer in model.layers:
        sizes = [parts.get(f"{layer.name}.{part}", 0.0) for part in PARTS]
        table.add_row(
            Text(layer.name),
            "x".join(map(str, layer.spec.weight_shape)),
            str(layer.weight_bits),
            str(layer.nnz),
            f"{layer.spec.weights / max(layer.nnz, 1):.1f}x",
            *(f"{size / 8:.0f}" for size in sizes),
            f"{sum(sizes) / max(layer.nnz, 1):.2f}",
        )
    totals = [
        sum(parts.get(f"{layer.name}.{part}", 0.0) for layer in model.layers) / 8 for part in PARTS
    ]
    table.add_section()
    table.add_row(
        "all", "", "", str(model.nnz), f"{model.pruning_ratio:.1f}x",
        *(f"{total:.0f}" for total in totals), f"{8 * len(data) / max(model.nnz, 1):.2f}",
    )  # fmt: skip
    console.print(table)
    rest = {part: bits for part, bits in parts.items() if "." not in part}
    console.print(", ".join(f"{part} {bits / 8:.1f} bytes" for part, bits in rest.items()))
