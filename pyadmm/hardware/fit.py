"""Fitting a model to an accelerator that is at least as wide."""

from __future__ import annotations

from pyadmm.hardware.lowering import hardware_form, lowered
from pyadmm.hardware.plan import AcceleratorPlan
from pyadmm.model import CompressedModel
from pyadmm.model.compact import widen


def fitted(model: CompressedModel, plan: AcceleratorPlan) -> CompressedModel:
    """``model`` in the shapes of ``plan``: unchanged, or compact and widened to them.

    :raises PyadmmError: where it has more live channels than the accelerator.
    """
    model = lowered(model)
    specs = {stage.name: stage.spec for stage in plan.stages}
    if all(specs.get(layer.name) == layer.spec for layer in model.layers):
        return model
    return widen(hardware_form(model), {name: spec.outputs for name, spec in specs.items()})
