"""Comparison of a traced network with its module, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from pyadmm.core.errors import PyadmmError
from pyadmm.model.types import QFormat
from pyadmm.network.exported import Listing
from pyadmm.network.graph import Network

_TOLERANCE = 1e-3
"""Of the largest value of a step, in float32."""


@torch.no_grad()
def compare(
    network: Network, listed: Listing, nodes: Mapping[str, fx.Node], logits: fx.Node
) -> None:
    """Compare ``network`` with its module on random inputs.

    :param nodes: the operation that gives a step's very output, by the step's name.
    :param logits: the operation that gives the logits.
    :raises PyadmmError: naming the first layer that differs. Nothing is compared on the meta
        device, which has no values.
    """
    if listed.example.is_meta:
        return
    codes = _random_codes(network.input.format, network.input.shape, len(listed.example))
    codes = codes.to(listed.example.device)
    expected = _results(listed, codes * network.input.format.scale, {*nodes.values(), logits})
    for step, found in network.walk(codes):
        node = nodes.get(step.name)
        if node is not None:
            _require_alike(step.name, found, expected[node])
    _require_alike(network.chain[-1].name, network(codes), expected[logits])


def _random_codes(form: QFormat, shape: tuple[int, int, int], count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(form.lo, form.hi + 1, (count, *shape), generator=generator)
    return codes.float()


def _results(listed: Listing, images: Tensor, wanted: set[fx.Node]) -> dict[fx.Node, Tensor]:
    """Results of some of the module's operations; values without further readers are freed."""
    dtype = listed.example.dtype
    last_use = {read: node for node in listed.graph.nodes for read in node.all_input_nodes}
    values: dict[fx.Node, Any] = {}
    found: dict[fx.Node, Tensor] = {}
    for node in listed.graph.nodes:
        if node.op == "output":
            break
        if node.op == "placeholder":
            given = listed.constants.get(node.name)
            shaped = images.reshape(listed.example.shape).to(dtype)
            values[node] = shaped if given is None else given
            continue
        arguments = fx.map_arg((node.args, node.kwargs), lambda read: values[read])
        values[node] = node.target(*arguments[0], **arguments[1])
        if node in wanted:
            found[node] = values[node].clone()
        for read in node.all_input_nodes:
            if last_use[read] is node:
                values.pop(read, None)
    return found


def _require_alike(name: str, found: Tensor, expected: Tensor) -> None:
    found, expected = (t.reshape(len(t), -1).float() for t in (found, expected))
    scale = float(expected.abs().max()) or 1.0
    worst = float((found - expected).abs().max()) if found.shape == expected.shape else scale
    if not worst <= _TOLERANCE * scale:
        raise PyadmmError(
            f"layer {name}: the traced network differs from the module by {worst:.3g} on random "
            f"inputs whose results reach {scale:.3g}; this is a defect of pyadmm, please report it "
            "with the module"
        )
