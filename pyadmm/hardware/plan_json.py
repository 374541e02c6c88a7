"""The accelerator plan as a JSON file of the bundle, so that models can be added to it later."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.boards import load_board
from pyadmm.hardware.elementwise_stage import RowStagePlan
from pyadmm.hardware.plan import AcceleratorPlan, Constants, KernelConfig, Pool, StagePlan
from pyadmm.model import InputSpec
from pyadmm.model.types import LayerSpec, QFormat

ACCELERATOR = "accelerator.json"


def accelerator_facts(plan: AcceleratorPlan) -> dict[str, Any]:
    """The plan as JSON data."""
    facts = asdict(plan)
    return {**facts, "board": plan.board.name}


def read_accelerator(bundle: Path) -> AcceleratorPlan:
    """The accelerator plan that a bundle was made for.

    :raises PyadmmError: if its file is missing or broken.
    """
    try:
        facts = json.loads((bundle / ACCELERATOR).read_text(encoding="utf-8"))
        entry = facts["input"]
        shape = tuple(entry["shape"])
        form, offset = QFormat(**entry["format"]), tuple(entry["offset"])
        return AcceleratorPlan(
            name=facts["name"],
            board=load_board(facts["board"]),
            input=InputSpec(shape, form, offset, entry["shift"], entry["signed"]),
            stages=tuple(_stage(stage) for stage in facts["stages"]),
            rows=tuple(_row(row) for row in facts["rows"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, PyadmmError):
            raise
        raise PyadmmError(f"deploy: {ACCELERATOR} of {bundle} is not readable: {error}") from error


def _stage(facts: dict[str, Any]) -> StagePlan:
    spec = facts["spec"]
    shapes = {key: tuple(spec[key]) for key in ("weight_shape", "input_shape")}
    shifts = facts["shift_range"]
    return StagePlan(
        **{
            **facts,
            "spec": LayerSpec(**{**spec, **shapes}),
            "config": KernelConfig(**facts["config"]),
            "input": QFormat(**facts["input"]),
            "output": QFormat(**facts["output"]),
            "pool": None if facts["pool"] is None else Pool(**facts["pool"]),
            "shift_range": None if shifts is None else (int(shifts[0]), int(shifts[1])),
            "constants": _constants(facts["constants"]),
        }
    )


def _constants(facts: dict[str, Any] | None) -> Constants | None:
    return None if facts is None else Constants(**facts)


def _row(facts: dict[str, Any]) -> RowStagePlan:
    lists = {key: tuple(facts[key]) for key in ("sources", "shape", "frames")}
    inputs = tuple(QFormat(**form) for form in facts["inputs"])
    return RowStagePlan(
        **{**facts, **lists, "inputs": inputs, "output": QFormat(**facts["output"])}
    )
