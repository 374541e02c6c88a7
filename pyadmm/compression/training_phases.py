"""The phases that train a pruned network: in floats, at levels, and quantised."""

from __future__ import annotations

from pyadmm.compression.phase import PhaseContext, PhaseResult, train_masked
from pyadmm.network.activation_scales import calibrate
from pyadmm.network.execution import Numerics
from pyadmm.network.graph import Network
from pyadmm.network.to_integer import snap_scales
from pyadmm.settings import CompressSettings


class MaskedRetraining:
    """Training of the remaining weights, in floats."""

    name = "retrain"

    def wanted(self, network: Network, settings: CompressSettings) -> bool:
        """True for every network; the phase may have no epochs."""
        return True

    def run(self, network: Network, context: PhaseContext) -> PhaseResult:
        """The same network, trained."""
        records = train_masked(network, context.settings.retrain, context)
        return PhaseResult(network, records)


class WeightScales:
    """The least-squares scale of every layer's weights."""

    name = "weight-scales"

    def wanted(self, network: Network, settings: CompressSettings) -> bool:
        """True for every network and all settings."""
        return True

    def run(self, network: Network, context: PhaseContext) -> PhaseResult:
        """The same network with scales."""
        for layer in network.layers.values():
            layer.fit_weight_scale()
        return PhaseResult(network)


class LevelTraining:
    """Training with the weights at their levels while batch norms still learn."""

    name = "quantize-norms"

    def wanted(self, network: Network, settings: CompressSettings) -> bool:
        """Whether there are batch norms and no rounding replaces the phase."""
        return bool(network.norms) and settings.rounding.candidates == 0

    def run(self, network: Network, context: PhaseContext) -> PhaseResult:
        """The same network, trained."""
        network = network.at(Numerics.LEVELS)
        records = train_masked(network, context.settings.quantize_norms, context)
        return PhaseResult(network, records)


class FoldedNorms:
    """Folds batch norms into their layers."""

    name = "fold-norms"

    def wanted(self, network: Network, settings: CompressSettings) -> bool:
        """Whether there are batch norms."""
        return bool(network.norms)

    def run(self, network: Network, context: PhaseContext) -> PhaseResult:
        """An equal network without batch norms."""
        return PhaseResult(network.fold_norms())


class QuantizedTraining:
    """Training with quantised weights and activations, in which the network computes with integers."""

    name = "quantize"

    def wanted(self, network: Network, settings: CompressSettings) -> bool:
        """Whether no rounding replaces the phase."""
        return settings.rounding.candidates == 0

    def run(self, network: Network, context: PhaseContext) -> PhaseResult:
        """The same network, quantised and trained."""
        settings = context.settings
        calibrate(network, context.data.train)
        network = network.at(Numerics.INTEGER)
        records = train_masked(network, settings.quantize, context)
        snap_scales(network, settings.mult_bits)
        return PhaseResult(network, records)
