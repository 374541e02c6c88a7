"""The errors that the driver raises: each message names subject, rule, value and remedy."""

from __future__ import annotations


class HostError(RuntimeError):
    """An error that the user of the board can correct."""


class ManifestError(HostError):
    """``manifest.json`` or a file that it names is missing, truncated or hostile."""


class InUseError(HostError):
    """Another process drives the accelerator."""


class IdentError(HostError):
    """The programmable logic holds a design other than the manifest's."""


class DmaError(HostError):
    """The AXI DMA reported an error; the message spells the status bits out."""


class HardwareTimeout(HostError):
    """A wait on the hardware exceeded its limit; the message spells the status read out."""


class WeightsError(HostError):
    """The weights on the chip are not those that were sent."""


class ProgramError(HostError):
    """A program is damaged, of another hardware, or the hardware refused it."""


class BusError(HostError):
    """The memory answered an access of the accelerator with an error."""


class InputError(HostError):
    """The images do not fit the model."""
