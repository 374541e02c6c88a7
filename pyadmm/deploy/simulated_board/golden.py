"""The golden models of a bundle, built back from its CPU description for the stand-in core."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyadmm.core.errors import PyadmmError
from pyadmm.deploy.simulated_board.core import GoldenCore
from pyadmm.model import (
    INPUT,
    Add,
    AvgPool,
    CompressedLayer,
    CompressedModel,
    InputSpec,
    MaxPool,
    Node,
    Requant,
)
from pyadmm.model.types import LayerSpec, QFormat

Facts = Mapping[str, Any]


def golden_core(bundle: Path) -> GoldenCore:
    """A stand-in core that runs every model of ``bundle``.

    :raises PyadmmError: if the bundle cannot be read.
    """
    try:
        manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
        models = {
            entry["weights"]["sha256"]: _model(manifest, entry, bundle)
            for entry in manifest["models"]
        }
        core = GoldenCore(
            models,
            weight_words=manifest["models"][0]["words"],
            image_words=manifest["streams"]["input_words"],
            ident=manifest["design"]["ident"],
            pixel_bits=manifest["streams"].get("pixel_bits", 8),
            signed=_packed(manifest) and manifest["input"]["lo"] < 0,
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PyadmmError(f"simulated board: bundle {bundle} is not readable: {error}") from error
    core.reset()
    return core


def _model(manifest: Facts, entry: Facts, bundle: Path) -> CompressedModel:
    content = (bundle / entry["cpu_arrays"]["file"]).read_bytes()
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        held = dict(arrays)
    facts = manifest["input"]
    offset, shift = tuple(facts["offset"]), facts["shift"]
    if _packed(manifest):  # The driver has converted the pixels.
        offset, shift = (128 if facts["lo"] < 0 else 0,), 0
    spec = InputSpec(tuple(facts["shape"]), _format(facts), offset, shift=shift)
    shapes = {INPUT: spec.shape}
    nodes: list[Node] = []
    for node_facts in entry["cpu_nodes"]:
        node = _node(node_facts, held, shapes)
        shapes[node.name] = node.output_shape([shapes[name] for name in node.sources])
        nodes.append(node)
    return CompressedModel(entry["name"], spec, tuple(nodes))


def _packed(manifest: Facts) -> bool:
    """Whether the input stream takes integers."""
    return "pixel_bits" in manifest["streams"]


def _format(facts: Facts) -> QFormat:
    signed = facts["lo"] < 0
    return QFormat(int(facts["hi"]).bit_length() + signed, signed)


def _node(
    facts: Facts, arrays: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, int, int]]
) -> Node:
    kind, name = facts["op"], facts["name"]
    if kind == "maxpool":
        return MaxPool(name, facts["source"], facts["kernel"], facts["stride"])
    output = _format(facts)
    if kind == "add":
        first, second = facts["sources"]
        return Add(name, (first, second), tuple(facts["mult"]), facts["shift"], output)
    requant = Requant(tuple(facts["mult"]), facts["shift"])
    if kind == "avgpool":
        window = facts["kernel"], facts["stride"]
        return AvgPool(name, facts["source"], *window, requant, output)
    codes = arrays[f"{name}.codes"].astype(np.int16)
    source = facts["source"]
    spec = LayerSpec(
        name,
        "conv",
        codes.shape,
        shapes[source],
        stride=facts["stride"],
        padding=facts["padding"],
        groups=facts["groups"],
    )
    bits = max(int(np.abs(codes).max(initial=1)) - 1, 0).bit_length() + 1
    bias = arrays[f"{name}.bias"].astype(np.int64)
    return CompressedLayer(spec, source, codes, bits, bias, requant, output)
