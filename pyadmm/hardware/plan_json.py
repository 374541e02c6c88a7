"""The accelerator plan as a JSON file of the bundle, so that models can be added to it later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyadmm.core import schema
from pyadmm.core.errors import PyadmmError
from pyadmm.hardware.plan import AcceleratorPlan

ACCELERATOR = "accelerator.json"


def accelerator_facts(plan: AcceleratorPlan) -> dict[str, Any]:
    """The plan as JSON data."""
    facts: dict[str, Any] = schema.to_plain(plan)
    return facts


def read_accelerator(bundle: Path) -> AcceleratorPlan:
    """The accelerator plan that a bundle was made for.

    :raises PyadmmError: if its file is missing or broken.
    """
    subject = f"deploy: {ACCELERATOR} of {bundle} is not readable"
    try:
        text = (bundle / ACCELERATOR).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PyadmmError(f"{subject}: {error}") from error
    return schema.from_json(AcceleratorPlan, text, subject)
