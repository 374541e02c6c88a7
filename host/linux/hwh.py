"""The instances, types, parameters and addresses in a ``.hwh``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from ..errors import HostError

PROCESSORS = {"processing_system7": "zynq7000", "zynq_ultra_ps_e": "zynqmp"}
"""Type of the processor's module to the chip's family."""
_SIZE_LIMIT = 64 << 20


@dataclass(frozen=True)
class Instance:
    """A module of the block design.

    :param kind: its type, ``vendor:library:name:version``.
    :param address: physical address of its registers, None where the processor does not reach it;
        ``size`` their bytes.
    """

    kind: str
    parameters: dict[str, str]
    address: int | None
    size: int


@dataclass(frozen=True)
class BlockDesign:
    """The modules by instance name, and the family of the processor among them."""

    family: str
    instances: dict[str, Instance]


def read_hwh(path: Path) -> BlockDesign:
    """Read a ``.hwh`` as Vivado or pyadmm writes it.

    :raises HostError: if it is not one, or has no Zynq processor.
    """
    try:
        if path.stat().st_size > _SIZE_LIMIT:
            raise HostError(f"{path.name}: is larger than {_SIZE_LIMIT} bytes")
        root = ElementTree.parse(str(path)).getroot()
        modules = root.findall("./MODULES/MODULE")
        processors = [m for m in modules if m.attrib["MODTYPE"] in PROCESSORS]
        windows = _windows(processors)
        instances = {_name(m): _instance(m, windows) for m in modules}
    except (OSError, ElementTree.ParseError, KeyError, ValueError) as error:
        raise HostError(
            f"{path.name}: is no .hwh ({type(error).__name__}: {error}); use the one that belongs "
            "to the bitstream"
        ) from error
    if not processors:
        raise HostError(f"{path.name}: has no Zynq processor; use the .hwh of the whole design")
    return BlockDesign(PROCESSORS[processors[0].attrib["MODTYPE"]], instances)


def _name(module: ElementTree.Element) -> str:
    return module.attrib.get("FULLNAME", module.attrib["INSTANCE"]).lstrip("/")


def _windows(processors: list[ElementTree.Element]) -> dict[str, tuple[int, int]]:
    """Address and size of every instance that a processor reaches, the lowest first."""
    windows: dict[str, tuple[int, int]] = {}
    for processor in processors:
        for entry in processor.findall("./MEMORYMAP/MEMRANGE"):
            first, last = (int(entry.attrib[key], 16) for key in ("BASEVALUE", "HIGHVALUE"))
            windows.setdefault(entry.attrib["INSTANCE"], (first, last - first + 1))
    return windows


def _instance(module: ElementTree.Element, windows: dict[str, tuple[int, int]]) -> Instance:
    parameters = {
        entry.attrib["NAME"]: entry.attrib["VALUE"]
        for entry in module.findall("./PARAMETERS/PARAMETER")
    }
    address, size = windows.get(module.attrib["INSTANCE"], (None, 0))
    return Instance(module.attrib.get("VLNV", ""), parameters, address, size)
