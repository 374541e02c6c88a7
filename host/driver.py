"""The pynq driver of the accelerator: ``overlay.<instance>`` is an :class:`AcceleratorIP`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pynq import DefaultIP

from .control import BINDTO, AcceleratorControl
from .manifest import MANIFEST_NAME, Manifest, read_manifest


class AcceleratorIP(DefaultIP, AcceleratorControl):
    """Control registers of the accelerator, bound to its types by pynq."""

    bindto = BINDTO

    def __init__(self, description: dict[str, Any]) -> None:
        super().__init__(description=description)
        self.name: str = description["fullpath"]
        self._manifest: Manifest | None = None

    @property
    def manifest(self) -> Manifest:
        """The manifest in force: the one assigned, else the one in the bitstream's folder."""
        if self._manifest is None:
            bitfile = Path(self.device.bitfile_name)
            self._manifest = read_manifest(bitfile.with_name(MANIFEST_NAME))
        return self._manifest

    @manifest.setter
    def manifest(self, manifest: Manifest) -> None:
        self._manifest = manifest
