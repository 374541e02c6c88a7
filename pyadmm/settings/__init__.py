"""Every setting of a compression: data classes, presets, YAML."""

from __future__ import annotations

from pyadmm.settings.phases import (
    AdmmSettings,
    ContinuousSettings,
    DistillSettings,
    LocalSearchSettings,
    QuantizeSettings,
    RegrowSettings,
    RoundingSettings,
    TrainSettings,
)
from pyadmm.settings.presets import PRESETS, preset
from pyadmm.settings.schema import from_dict, load_settings, override
from pyadmm.settings.settings import (
    CompressSettings,
    InputSettings,
    LayerTarget,
)

__all__ = [
    "PRESETS",
    "AdmmSettings",
    "CompressSettings",
    "ContinuousSettings",
    "DistillSettings",
    "InputSettings",
    "LayerTarget",
    "LocalSearchSettings",
    "QuantizeSettings",
    "RegrowSettings",
    "RoundingSettings",
    "TrainSettings",
    "from_dict",
    "load_settings",
    "override",
    "preset",
]
