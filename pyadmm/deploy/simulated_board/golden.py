"""The golden models of a bundle, built back from its CPU description for the stand-in core."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from host.manifest import DataflowManifest, WeightsModel, read_manifest
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
    """A stand-in core that runs every model of ``bundle``, a dataflow design's.

    :raises ManifestError: if the manifest cannot be read; it names the file and the field.
    :raises PyadmmError: if a network is not described, or the design is another one.
    """
    manifest = read_manifest(bundle)
    if not isinstance(manifest, DataflowManifest):
        raise PyadmmError(
            f"simulated board: {bundle} is of the layer-sequential array, which has no stand-in; "
            "simulate its RTL"
        )
    weighted = [model for model in manifest.models if isinstance(model, WeightsModel)]
    core = GoldenCore(
        {model.weights.sha256: _network(manifest, model) for model in weighted},
        weight_words=weighted[0].words,
        image_words=manifest.input_words,
        ident=manifest.design.ident,
        pixel_bits=manifest.pixel_bits,
        signed=manifest.packed and weighted[0].input.lo < 0,
    )
    core.reset()
    return core


def _network(manifest: DataflowManifest, model: WeightsModel) -> CompressedModel:
    entry = model.input
    offset, shift = entry.offset, entry.shift
    if manifest.packed:  # The driver has converted the pixels.
        offset, shift = (128 if entry.lo < 0 else 0,), 0
    spec = InputSpec(entry.shape, _format(entry.lo, entry.hi), offset, shift=shift)
    shapes = {INPUT: spec.shape}
    nodes: list[Node] = []
    file = model.network
    try:
        with np.load(io.BytesIO(file.read()), allow_pickle=False) as arrays:
            held = dict(arrays)
        for facts in model.nodes:
            node = _node(facts, held, shapes)
            shapes[node.name] = node.output_shape([shapes[name] for name in node.sources])
            nodes.append(node)
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise PyadmmError(
            f"simulated board: {file.path.name} or the manifest's cpu_nodes of {model.name} do not "
            f"describe a network ({error!r}); deploy the network anew"
        ) from error
    return CompressedModel(model.name, spec, tuple(nodes))


def _format(lo: int, hi: int) -> QFormat:
    return QFormat(hi.bit_length() + (lo < 0), lo < 0)


def _node(
    facts: Facts, arrays: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, int, int]]
) -> Node:
    kind, name = facts["op"], facts["name"]
    if kind == "maxpool":
        return MaxPool(name, facts["source"], facts["kernel"], facts["stride"])
    output = _format(facts["lo"], facts["hi"])
    if kind == "add":
        first, second = facts["sources"]
        return Add(name, (first, second), tuple(facts["mult"]), facts["shift"], output)
    requant = Requant(tuple(facts["mult"]), facts["shift"])
    if kind == "avgpool":
        window = facts["kernel"], facts["stride"]
        return AvgPool(name, facts["source"], *window, requant, output)
    if kind != "conv":
        raise ValueError(f"{name}: unknown operation {kind!r}")
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
