"""Static timing: hand-computed paths, wire model against routed paths, bad netlists."""

from __future__ import annotations

from typing import Any

import pytest

from pyadmm.core.errors import PyadmmError
from pyadmm.eda.sta import SERIES7, estimate_clock, late_paths

OUTPUTS = {"O", "Q", "CO", "P", "DOADO"}

# Routed critical paths printed in public Vivado timing reports, speed grade -1, nets inside one
# slice left out: (fan-out, ns). Two SHA-256 cores on Zynq-7000 and a RISC-V on an Artix-7 200T.
ROUTED = {
    "sha256 a": [
        (4, 1.111), (4, 0.836), (62, 1.326), (1, 0.440), (2, 0.670), (2, 0.585), (3, 0.932),
        (2, 0.615), (1, 0.443),
    ],
    "sha256 b": [
        (7, 1.142), (2, 0.831), (2, 0.592), (1, 1.188), (3, 0.983), (2, 0.449), (4, 1.150),
        (2, 0.591), (1, 0.608),
    ],
    "risc-v": [
        (7, 0.715), (1, 0.575), (2, 0.489), (5, 0.602), (3, 0.570), (3, 0.303), (270, 0.497),
        (4, 0.553), (2, 0.517), (110, 0.434), (2, 0.642), (1, 0.263), (13, 1.283), (1, 0.295),
        (1, 0.764),
    ],
}  # fmt: skip


def cell(kind: str, parameters: dict[str, Any] | None = None, **pins: Any) -> dict[str, Any]:
    connections = {port: bits if isinstance(bits, list) else [bits] for port, bits in pins.items()}
    directions = {port: "output" if port in OUTPUTS else "input" for port in pins}
    return {
        "type": kind,
        "port_directions": directions,
        "connections": connections,
        "parameters": parameters or {},
    }


def module(**cells: dict[str, Any]) -> dict[str, Any]:
    return {"cells": cells, "ports": {}}


def test_register_to_register_through_one_lut() -> None:
    netlist = module(
        source=cell("FDRE", C=1, D="0", Q=2),
        lut=cell("LUT2", I0=2, I1="1", O=3),
        target=cell("FDRE", C=1, D=3, Q=4),
    )
    estimate = estimate_clock(netlist, SERIES7)
    # Clock to Q, one routed net, the LUT; LUT to D lies within the slice.
    expected = 0.456 + 0.55 + 0.15 + 0.05 + 0.2
    assert estimate.period_ns == pytest.approx(expected)
    assert estimate.wire_ns == pytest.approx(0.55)
    assert estimate.path == ("FDRE", "LUT2", "FDRE.D")
    (late,) = late_paths(netlist, SERIES7, 1.0)
    assert (late.start, late.end, late.levels) == ("FDRE", "FDRE.D", 1)
    assert (late.period_ns, late.longest_wire_ns) == pytest.approx((expected, 0.55))
    assert late_paths(netlist, SERIES7, expected) == []


def test_fan_out_makes_a_net_slower() -> None:
    def period(loads: int) -> float:
        luts = {f"l{i}": cell("LUT1", I0=2, O=10 + i) for i in range(loads)}
        ends = {f"f{i}": cell("FDRE", C=1, D=10 + i, Q=100 + i) for i in range(loads)}
        return estimate_clock(
            module(source=cell("FDRE", C=1, D="0", Q=2), **luts, **ends), SERIES7
        ).period_ns

    assert period(8) - period(1) == pytest.approx(3 * SERIES7.wire_per_octave)


def test_a_carry_chain_costs_little_per_stage() -> None:
    def chain(stages: int) -> dict[str, Any]:
        cells = {"source": cell("FDRE", C=1, D="0", Q=2)}
        carry: Any = "0"
        for i in range(stages):
            outputs = [1000 + 4 * i + j for j in range(4)]
            cells[f"c{i}"] = cell(
                "CARRY4",
                CI=carry,
                CYINIT="0",
                DI=["0"] * 4,
                S=[2, "0", "0", "0"] if i == 0 else ["0"] * 4,
                O=outputs,
                CO=["x", "x", "x", 5000 + i],
            )
            cells[f"f{i}"] = cell("FDRE", C=1, D=outputs[3], Q=9000 + i)
            carry = 5000 + i
        return module(**cells)

    two, six = (estimate_clock(chain(n), SERIES7).period_ns for n in (2, 6))
    assert six - two == pytest.approx(4 * 0.114)


def test_block_ram_and_dsp_registers() -> None:
    plain = cell("RAMB18E1", {"DOA_REG": "0"}, CLKARDCLK=1, ADDRARDADDR=[7], DOADO=[2])
    registered = cell("RAMB18E1", {"DOA_REG": "1"}, CLKARDCLK=1, ADDRARDADDR=[7], DOADO=[2])
    dsp = cell("DSP48E1", {"PREG": "1", "AREG": "0", "MREG": "0"}, CLK=1, A=[2], P=[3])
    slow = estimate_clock(module(ram=plain, mac=dsp), SERIES7)
    fast = estimate_clock(module(ram=registered, mac=dsp), SERIES7)
    assert slow.period_ns == pytest.approx(2.454 + 0.55 + 2.74 + 0.2)
    assert slow.period_ns - fast.period_ns == pytest.approx(2.454 - 0.882)
    assert slow.path == ("RAMB18E1", "DSP48E1.A")


def test_a_dsp_without_registers_is_combinational() -> None:
    netlist = module(
        source=cell("FDRE", C=1, D="0", Q=2),
        mul=cell("DSP48E1", {"PREG": 0, "AREG": 0, "MREG": 0}, A=[2], P=[3]),
        target=cell("FDRE", C=1, D=3, Q=4),
    )
    estimate = estimate_clock(netlist, SERIES7)
    assert estimate.path == ("FDRE", "DSP48E1", "FDRE.D")
    assert estimate.period_ns == pytest.approx(0.456 + 0.55 + 2.823 + 0.55 + 0.05 + 0.2)


def test_wire_model_against_routed_paths() -> None:
    """Each published path within 35 %, their sum within 10 %: the error that the docs state."""
    totals = [0.0, 0.0]
    for nets in ROUTED.values():
        model = sum(SERIES7.wire(fan_out) for fan_out, _ in nets)
        routed = sum(delay for _, delay in nets)
        assert abs(model / routed - 1) < 0.35
        totals[0] += model
        totals[1] += routed
    assert abs(totals[0] / totals[1] - 1) < 0.10


def test_a_combinational_loop_is_refused() -> None:
    netlist = module(
        a=cell("LUT2", I0=2, I1=3, O=2),
        b=cell("FDRE", C=1, D=2, Q=3),
    )
    with pytest.raises(PyadmmError, match="combinational loop"):
        estimate_clock(netlist, SERIES7)


def test_an_unknown_cell_is_refused() -> None:
    with pytest.raises(PyadmmError, match="no delays for cell type SB_LUT4"):
        estimate_clock(module(a=cell("SB_LUT4", I0=2, O=3)), SERIES7)


def test_a_module_without_registers_or_ports_has_only_its_margin() -> None:
    assert estimate_clock(module(), SERIES7).period_ns == SERIES7.margin
