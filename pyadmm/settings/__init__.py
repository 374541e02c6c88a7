"""Every setting of a compression: data classes, presets, YAML."""

from __future__ import annotations

from pyadmm.settings.presets import PRESETS, preset
from pyadmm.settings.schema import from_dict, load_settings, override
from pyadmm.settings.settings import (
    AdmmSettings,
    CompressSettings,
    ContinuousSettings,
    DistillSettings,
    ExchangeSettings,
    InputSettings,
    LayerTarget,
    PolishSettings,
    QuantizeSettings,
    RoundingSettings,
    TrainSettings,
)

__all__ = [
    "PRESETS",
    "AdmmSettings",
    "CompressSettings",
    "ContinuousSettings",
    "DistillSettings",
    "ExchangeSettings",
    "InputSettings",
    "LayerTarget",
    "PolishSettings",
    "QuantizeSettings",
    "RoundingSettings",
    "TrainSettings",
    "from_dict",
    "load_settings",
    "override",
    "preset",
]
