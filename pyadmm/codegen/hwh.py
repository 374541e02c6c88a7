"""A ``.hwh``: the block design of a bitstream that no vendor tool made, or of the simulated board.

It names instances, types, addresses and DMA parameters in the XML that Vivado writes and pynq's own
parser reads, so the unmodified host code can use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

DMA_VLNV = "xilinx.com:ip:axi_dma:7.1"
DMA_BASE, CORE_BASE = 0x40400000, 0x43C00000
"""Addresses of the DMA and the accelerator, as Vivado places them and ``hls/system/gp_bridge.sv``."""
ADDRESS_RANGE = 0x10000
_AXI = "xilinx.com:interface:aximm:1.0"


@dataclass(frozen=True)
class Processor:
    """The processing system of a family, as a ``.hwh`` names it.

    :param master: its port to registers; ``memory`` a port of its memory, by number.
    """

    vlnv: str
    instance: str
    master: str
    memory: str
    enable: str
    divisors: tuple[str, str]
    select: str
    frequency: str
    sources: tuple[str, ...]


PROCESSORS = {
    "zynq7000": Processor(
        "xilinx.com:ip:processing_system7:5.5",
        "processing_system7_0",
        "M_AXI_GP0",
        "S_AXI_HP{}",
        "PCW_FPGA_FCLK{}_ENABLE",
        ("PCW_FCLK{}_PERIPHERAL_DIVISOR0", "PCW_FCLK{}_PERIPHERAL_DIVISOR1"),
        "PCW_FCLK{}_PERIPHERAL_CLKSRC",
        "PCW_ACT_FPGA{}_PERIPHERAL_FREQMHZ",
        ("IO PLL",),
    ),
    "zynqmp": Processor(
        "xilinx.com:ip:zynq_ultra_ps_e:3.5",
        "zynq_ultra_ps_e_0",
        "M_AXI_HPM0_FPD",
        "S_AXI_HP{}_FPD",
        "PSU__FPGA_PL{}_ENABLE",
        ("PSU__CRL_APB__PL{}_REF_CTRL__DIVISOR0", "PSU__CRL_APB__PL{}_REF_CTRL__DIVISOR1"),
        "PSU__CRL_APB__PL{}_REF_CTRL__SRCSEL",
        "PSU__CRL_APB__PL{}_REF_CTRL__ACT_FREQMHZ",
        ("IOPLL",),
    ),
}


@dataclass(frozen=True)
class BlockDesign:
    """The contents of a block design.

    :param family: ``zynq7000`` or ``zynqmp``.
    :param ip: instance of the accelerator, ``vlnv`` its type, ``ip_address`` where it lies.
    :param dma: instance of the DMA; None where the accelerator has ``masters``, ports of its own that
        belong at the ports to memory from number 0 on.
    :param length_bits: width of the DMA's length register; ``memory_bits`` that of its memory side.
    :param tool: what made the design.
    """

    family: str
    ip: str
    vlnv: str
    dma: str | None
    length_bits: int = 26
    clock_mhz: float = 100.0
    ip_address: int = CORE_BASE
    dma_address: int = DMA_BASE
    dma_vlnv: str = DMA_VLNV
    memory_bits: int = 32
    name: str = "pyadmm_simulated"
    tool: str = "simulated"
    masters: tuple[str, ...] = ()

    def to_hwh(self) -> str:
        """The XML text of the ``.hwh`` file."""
        root = Element("EDKSYSTEM", EDWVERSION="1.2", VIVADOVERSION=self.tool)
        SubElement(root, "SYSTEMINFO", ARCH="zynq", NAME=self.name)
        SubElement(root, "EXTERNALPORTS")
        SubElement(root, "EXTERNALINTERFACES")
        modules = SubElement(root, "MODULES")
        self._add_processor(modules)
        for instance, _, interface in self._slaves():
            core = instance == self.ip
            module = _add_module(
                modules,
                instance,
                self.vlnv if core else self.dma_vlnv,
                {} if core else self._dma_parameters(),
            )
            masters = self.masters if core else ()
            _add_interfaces(module, {interface: "SLAVE", **dict.fromkeys(masters, "MASTER")})
        indent(root)
        return tostring(root, encoding="unicode", xml_declaration=True)

    def _slaves(self) -> list[tuple[str, int, str]]:
        """Instance, address and interface of everything with registers."""
        slaves = [(self.ip, self.ip_address, "s_axi_control")]
        if self.dma is not None:
            slaves.insert(0, (self.dma, self.dma_address, "S_AXI_LITE"))
        return slaves

    def _dma_parameters(self) -> dict[str, str]:
        values = {
            "c_include_sg": 0,
            "c_include_mm2s": 1,
            "c_include_s2mm": 1,
            "c_include_mm2s_dre": 0,
            "c_include_s2mm_dre": 0,
            "c_sg_length_width": self.length_bits,
            "c_m_axi_mm2s_data_width": self.memory_bits,
            "c_m_axi_s2mm_data_width": self.memory_bits,
            "c_micro_dma": 0,
        }
        return {name: str(value) for name, value in values.items()}

    def _add_processor(self, modules: Element) -> None:
        facts = PROCESSORS[self.family]
        parameters: dict[str, str] = {}
        for clock in range(4):
            parameters[facts.enable.format(clock)] = str(int(clock == 0))
            parameters[facts.divisors[0].format(clock)] = "10"
            parameters[facts.divisors[1].format(clock)] = "1"
            parameters[facts.select.format(clock)] = facts.sources[0]
            parameters[facts.frequency.format(clock)] = f"{self.clock_mhz:.6f}"
        module = _add_module(modules, facts.instance, facts.vlnv, parameters)
        ports = {facts.memory.format(index): "SLAVE" for index in range(len(self.masters))}
        _add_interfaces(module, {facts.master: "MASTER", **ports})
        memory = SubElement(module, "MEMORYMAP")
        for instance, base, interface in self._slaves():
            SubElement(
                memory,
                "MEMRANGE",
                ADDRESSBLOCK="Reg",
                BASEVALUE=f"0x{base:08X}",
                HIGHVALUE=f"0x{base + ADDRESS_RANGE - 1:08X}",
                INSTANCE=instance,
                MASTERBUSINTERFACE=facts.master,
                MEMTYPE="REGISTER",
                SLAVEBUSINTERFACE=interface,
            )


def _add_module(
    modules: Element, instance: str, vlnv: str, parameters: Mapping[str, str]
) -> Element:
    kind = vlnv.split(":")[2]
    module = SubElement(
        modules, "MODULE", FULLNAME=f"/{instance}", INSTANCE=instance, MODTYPE=kind, VLNV=vlnv
    )
    table = SubElement(module, "PARAMETERS")
    for name, value in parameters.items():
        SubElement(table, "PARAMETER", NAME=name, VALUE=value)
    return module


def _add_interfaces(module: Element, kinds: Mapping[str, str]) -> None:
    interfaces = SubElement(module, "BUSINTERFACES")
    for name, kind in kinds.items():
        SubElement(interfaces, "BUSINTERFACE", NAME=name, TYPE=kind, VLNV=_AXI)
