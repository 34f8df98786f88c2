"""One function's details as ``lspci -v``, ``-vv`` or ``-vvv`` prints them.

What a text does not print is unknown, with the reason; what its release prints whenever it is there, and did not
print, is not there.
"""

from __future__ import annotations

from dataclasses import dataclass

from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import UNTOLD_CLASS, Function
from atoll.host.records.lspci.block import Block
from atoll.host.records.lspci.block_text import Habits, groups_of, why_unread
from atoll.host.records.lspci.capabilities import CapabilityText
from atoll.host.records.lspci.header import HeaderText
from atoll.host.records.lspci.heading import parse_heading
from atoll.host.records.virtual import VirtualFunctions
from atoll.pci.address import Address

__all__ = ["Told", "read_block"]

_VIRTUAL = "virtual function"
"""pci.ids calls them so: ``Ethernet Virtual Function 700 Series``, ``… [ConnectX-5 Ex Virtual Function]``."""
_UNNAMED = "what it shows of the function has no first line, which tells its revision"


@dataclass(frozen=True, slots=True)
class Told:
    """A function as its text shows it. Its place (parent, root bus) is found from all of them."""

    function: Function
    groups: tuple[int, ...]
    """All that it names: one, or none."""
    ari_forwarding: Fact[bool]
    virtual: VirtualFunctions | None = None
    virtual_unread: bool = False
    """Whether it may have virtual functions and the text does not tell where."""
    named_virtual: bool = False
    """Whether its name says that it is a virtual function."""
    next_function: int = 0
    """Of a device with ARI: which of its functions comes next; 0: none, or it is not told."""


class _Text(HeaderText, CapabilityText):
    """All that a block shows."""


def read_block(block: Block, address: Address, *, name: str, custom: Habits) -> Told:
    """Return what a block tells of the function at an address; ``name`` is the text's."""
    source = f"{name} line {block.line}"
    heading = parse_heading(block.heading)
    pair = heading.possible_ids[0]
    told = len(heading.possible_ids) == 1 and None not in pair
    vendor, device = pair if told else (None, None)
    unread = why_unread(block)
    text = _Text(block, source, unread, vendor=vendor, device=device, custom=custom)
    header = text.header(heading.class_code)
    extended = text.extended()
    bridge = text.bridge(header)
    function = Function(
        address=address,
        vendor=0xFFFF if vendor is None else vendor,
        device=0xFFFF if device is None else device,
        class_code=UNTOLD_CLASS if heading.class_code is None else heading.class_code,
        parent=None,
        host_bridge="",
        possible_ids=() if told else heading.possible_ids,
        label=heading.name.removesuffix(f"[{vendor:04x}:{device:04x}]").rstrip() if told else heading.name,
        header=header,
        multifunction=Unknown("lspci prints no multifunction bit"),
        port_type=text.port_type(),
        command=text.command(),
        acs=text.acs(extended, _name(block)),
        ats=text.ats(extended),
        pasid=text.pasid(extended),
        cxl_cache=text.cxl_cache(extended),
        multicast=text.multicast(extended),
        sriov=text.sriov(extended),
        flr=text.flr(),
        pending=text.pending(),
        port_number=text.port_number(),
        link=text.link(),
        slot=text.slot(),
        power_state=text.power_state(),
        bridge=bridge,
        bars=text.bars(heading.class_code),
        rom=text.rom(),
        revision=Known(heading.revision, source) if block.heading.strip(":") else Unknown(f"{name}: {_UNNAMED}"),
        subsystem=text.subsystem(),
        group=text.group(),
        driver=text.driver(),
        numa_node=text.numa(),
        serial=text.serial(extended),
    )
    virtual = text.virtual()
    unread_place = virtual is None and text.may_have_virtual()
    named = _VIRTUAL in heading.name.lower()
    return Told(function, groups_of(block), text.ari_forwarding(), virtual, unread_place, named, text.next_function())


def _name(block: Block) -> str:
    return block.heading.partition(":")[2]
