"""``pyadmm inspect``: what an ``.admm`` or ``.onnx`` file holds."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pyadmm.cli.command import DONE, Command, json_option
from pyadmm.container.codec import PARTS, breakdown, decode, read_bytes
from pyadmm.core.errors import PyadmmError
from pyadmm.core.schema import to_json
from pyadmm.model import CompressedModel

_EXAMPLES = """\
  pyadmm inspect models/lenet5-quick-seed0.admm   shows layers and bytes
  pyadmm inspect --check my.admm            only checks the file
  pyadmm inspect my.admm --json             prints the same figures as JSON
  pyadmm inspect net.onnx                   shows the steps of an ONNX network
"""


def _add_options(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="an .admm or .onnx file")
    parser.add_argument("--check", action="store_true", help="only check the file; print no tables")
    json_option(parser)


def _execute(options: Namespace) -> int:
    if options.file.suffix.lower() == ".onnx":
        from pyadmm.cli.inspect_onnx import inspect_onnx  # noqa: PLC0415  (it loads torch)

        return inspect_onnx(options.file, as_json=options.json, only_check=options.check)
    try:
        data = read_bytes(options.file)
        model = decode(data)
    except PyadmmError as error:
        raise PyadmmError(f"{options.file}: {error}") from error
    if options.json:
        print(to_json(_facts(model, data)))
        return DONE
    if not options.check:
        _inspect(model, data)
    print(
        f"{options.file}: good, {len(data)} bytes, {len(model.nodes)} nodes, "
        f"{model.nnz} of {model.weights} weights ({model.pruning_ratio:.1f}x)"
    )
    return DONE


def _facts(model: CompressedModel, data: bytes) -> dict[str, Any]:
    """The file as plain data; sizes in bytes."""
    parts = dict(breakdown(data))
    layers = [
        {
            "name": layer.name,
            "shape": list(layer.spec.weight_shape),
            "weight_bits": layer.weight_bits,
            "nnz": layer.nnz,
            "bytes": sum(parts.get(f"{layer.name}.{part}", 0.0) for part in PARTS) / 8,
        }
        for layer in model.layers
    ]
    return {
        "name": model.name,
        "bytes": len(data),
        "input_shape": list(model.input.shape),
        "weights": model.weights,
        "nnz": model.nnz,
        "pruning_ratio": model.pruning_ratio,
        "layers": layers,
    }


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


COMMAND = Command(
    "inspect",
    "show the content of an .admm or .onnx file, or check it",
    _add_options,
    _execute,
    "Show the layers of a compressed network and what each part of its file takes in bytes, or the\n"
    "steps of an ONNX network as pyadmm reads it.",
    _EXAMPLES,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """``pyadmm inspect``; gives the exit status."""
    return COMMAND.run(arguments)
