"""The widths of the inputs of activation tables in a quantised network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pyadmm.core.errors import PyadmmError
from pyadmm.model import INPUT
from pyadmm.model.pointwise import LOOKUP_BITS
from pyadmm.network.graph import Network
from pyadmm.network.steps import CurveStep


def widen_into_tables(network: Network) -> None:
    """Give the inputs of activation tables the widest format that a table takes, in place.

    ``activation_bits`` applies to the results of the tables, which other layers read.

    :raises PyadmmError: where a table would read an input of more bits.
    """
    steps = {step.name: step for step in network.chain}
    for step in network.chain:
        if not isinstance(step, CurveStep):
            continue
        name = network.sources[step.name][0]
        while name != INPUT and steps[name].output is None:
            name = network.sources[name][0]
        if name == INPUT and network.input.format.bits > LOOKUP_BITS:
            raise PyadmmError(
                f"layer {step.name}: reads the input of {network.input.format.bits} bits, but its "
                f"table takes at most {LOOKUP_BITS}; set input: bits to fewer"
            )
        if name != INPUT:
            facts: Any = steps[name].facts
            steps[name].facts = replace(facts, activation_bits=LOOKUP_BITS)
