"""The functions of a pasted text: blocks of lspci, dumps, a tree's drawing and a boot log, each with what it tells."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.model import Function
from atoll.host.records.bare import placed_function
from atoll.host.records.configured import from_dump
from atoll.host.records.lspci.block import Block
from atoll.host.records.lspci.block_text import Habits
from atoll.host.records.lspci.capabilities import MISREAD
from atoll.host.records.lspci.details import read_block
from atoll.host.records.lspci.drawn import drawn_function
from atoll.host.records.lspci.heading import ids_in_brackets
from atoll.host.records.lspci.tree import LspciTree
from atoll.host.records.merge.disagreement import DISAGREE
from atoll.host.records.merge.function import merge_function
from atoll.host.records.pasted.boot_log import BootLog
from atoll.host.records.pasted.device_paths import DevicePaths
from atoll.host.records.pasted.several_machines import contradicts, two_host_bridges
from atoll.host.records.virtual import VirtualFunctions
from atoll.pci.acs import Acs
from atoll.pci.address import Address
from atoll.pci.header import HeaderType

__all__ = ["TextFunctions"]

_FACTS = (
    *("header", "multifunction", "port_type", "command", "acs", "ats", "pasid"),
    *("cxl_cache", "multicast", "sriov", "flr", "pending"),
    *("port_number", "link", "slot", "power_state", "bridge", "bars", "rom", "revision", "subsystem"),
    *("group", "driver", "numa_node", "serial"),
)

_LOGGED = "only the boot log shows it"


@dataclass(slots=True)
class TextFunctions:
    """What was found so far about functions."""

    name: str
    """Of the text."""
    functions: dict[Address, Function] = field(default_factory=dict)
    above: dict[Address, Address] = field(default_factory=dict)
    """The bridge above a function, where the text tells it by itself."""
    forwarding: dict[Address, Fact[bool]] = field(default_factory=dict)
    """ARI forwarding of ports."""
    virtual: dict[Address, VirtualFunctions] = field(default_factory=dict)
    """What physical functions tell of their virtual ones."""
    virtual_unread: set[Address] = field(default_factory=set)
    seeming_virtual: set[Address] = field(default_factory=set)
    """Functions whose names or ids say that they are virtual ones."""
    cut: set[Address] = field(default_factory=set)
    """Functions in the middle of which the text ends, or an output in it."""
    succeeded: dict[Address, int] = field(default_factory=dict)
    """Functions that name the next one of their device."""
    nameless: bool = False
    """Whether it holds lines of a function without the first one, which names it: a bridge may be lacking."""
    group: dict[Address, int] = field(default_factory=dict)
    regrouped: dict[Address, tuple[int, int]] = field(default_factory=dict)
    """Functions that it shows twice, in two groups."""
    paths: dict[tuple[int, tuple[str, ...]], Address] = field(default_factory=dict)
    several: str = ""
    """What shows that the text is of several machines."""
    lost: int = 0
    """Functions of which the text does not tell the bus."""
    undrawn: int = 0
    """Functions that a drawing does not show below anything."""

    def add(self, block: Block, custom: Habits) -> None:
        """Take what a block of lspci's lines tells of one function."""
        address = self._place(block)
        if address is None:
            self.lost += 1
            return
        text = read_block(block, address, name=self.name, custom=custom)
        function, forwarding, virtual = text.function, text.ari_forwarding, text.virtual
        for group in text.groups:
            first = self.group.setdefault(address, group)
            if first != group:
                self.regrouped[address] = first, group
        source = f"{self.name} line {block.line}: dump"
        dump = from_dump(address, bytes(block.dump), source=source) if block.dump else None
        if dump is not None:
            function = _filled(dump.function, function)
            forwarding = dump.ari_forwarding if isinstance(dump.ari_forwarding, Known) else forwarding
            virtual = dump.virtual or virtual
        known = self.functions.get(address)
        if known is not None:
            self.several = self.several or two_host_bridges(known, function)
            function = _shown_twice(known, function)
            forwarding = self.forwarding[address] if isinstance(forwarding, Unknown) else forwarding
        self.functions[address] = function
        self.forwarding[address] = forwarding
        if virtual is not None:
            self.virtual[address] = virtual
        if text.virtual_unread:
            self.virtual_unread.add(address)
        if text.named_virtual or (dump is not None and not dump.function.ids_told):
            self.seeming_virtual.add(address)
        if block.cut:
            self.cut.add(address)
        if text.next_function:
            self.succeeded[address] = text.next_function
        controls = sum(detail.text.startswith("Control:") for detail in (*block.details, *block.after))
        self.nameless |= block.nameless or controls > 1

    def _place(self, block: Block) -> Address | None:
        """Return the address of a block's function, and note what stands above it; None where the text tells no bus."""
        slot = block.slot
        address, above = slot.address, slot.above
        if address is None:
            # -P numbers no buses: the bridge above, printed before, says which one is below it.
            above = self.paths.get((slot.domain, slot.path[:-1]))
            bridge = self.functions[above].bridge if above in self.functions else None
            if above is None or not isinstance(bridge, Known) or bridge.value is None or not bridge.value.secondary:
                return None
            address = Address(slot.domain, bridge.value.secondary, *slot.place)
            address = self._virtual_beyond(address, bridge.value.subordinate, block) or address
        if above is not None:
            self.above[address] = above
        self.paths[slot.domain, slot.path] = address
        return address

    def _virtual_beyond(self, here: Address, last_bus: int, block: Block) -> Address | None:
        """Return the address of a virtual function that is below the same bridge on a bus past its physical one's.

        No bridge leads to such a bus (``virtfn_add_bus``), and lspci lists it after the bus that the bridge leads to.
        ``here`` is the same place on that one. A virtual function has no SR-IOV capability.
        """
        owners = [(o, virtual) for o, virtual in self.virtual.items() if (o.domain, o.bus) == (here.domain, here.bus)]
        if not owners or any("(SR-IOV)" in capability.name for capability in block.capabilities):
            return None
        shown, bare = self.functions.get(here), not (block.details or block.capabilities)
        if shown is not None and bare and ids_in_brackets(block.heading) in shown.all_ids:
            # The physical function once more, of a list below.
            return None
        if shown is None and any(virtual.number_of(o, here) is not None for o, virtual in owners):
            return None
        for bus in range(here.bus + 1, last_bus + 1):
            there = here._replace(bus=bus)
            for owner, virtual in owners:
                number = virtual.number_of(owner, there)
                before = there.requester_id - virtual.stride
                first = not number or before >> 8 != bus
                seen = Address(bus=bus, domain=here.domain, device=before >> 3 & 0x1F, function=before & 7)
                if number is not None and there not in self.functions and (first or seen in self.functions):
                    return there
        return None

    def add_drawn(self, tree: LspciTree) -> None:
        """Take what ``lspci -t`` draws: bridges, what they stand above, and names."""
        self.undrawn = tree.lost
        for address, drawn in tree.functions.items():
            source = f"{self.name} line {drawn.line}: lspci -t"
            function = drawn_function(drawn, source=source)
            known = self.functions.get(address)
            self.functions[address] = function if known is None else merge_function(known, function)
            self.forwarding.setdefault(address, Unknown("not shown"))
            if drawn.above is not None:
                self.above.setdefault(address, drawn.above)

    def add_placed(self, paths: DevicePaths, log: BootLog, members: Iterable[Address]) -> None:
        """Take members of groups of which nothing but their place is shown: by the path of a link to them, or by a boot
        log that tells of a bridge to a bus.
        """
        bridges, leading = set(paths.above.values()), set(log.bridges.values())
        for address in members:
            if address in self.functions:
                continue
            if address in paths.above or address in bridges:
                source = f"{self.name}: a link's path"
                self.functions[address] = placed_function(address, bridge=address in bridges, source=source)
                self.forwarding.setdefault(address, Unknown("not shown"))
            elif address in leading or (address.domain, address.bus) in log.bridges:
                self._add_of_log(address, bridge=address in leading)

    def _add_of_log(self, address: Address, *, bridge: bool) -> None:
        function = placed_function(address, bridge=bridge, source=f"{self.name}: boot log", why=_LOGGED)
        self.functions[address] = function
        self.forwarding.setdefault(address, Unknown("not shown"))

    def add_above(self, paths: DevicePaths, log: BootLog) -> None:
        """Take the bridges above functions that are shown, of which nothing but their place is: links name them on
        their way to what is below, and a boot log where it tells what bus a bridge leads to. What lspci shows to lead
        to the same bus comes first: a log may be of another boot.
        """
        shown = {
            (address.domain, bridge.secondary)
            for address, function in self.functions.items()
            if (bridge := value_of(function.bridge, None)) is not None
        }
        waiting = [address for address in self.functions if address[:2] not in shown]
        while waiting:
            here = waiting.pop()
            linked, logged = paths.above.get(here), log.bridges.get((here.domain, here.bus))
            above = linked or logged
            if above is None or above in self.functions or above.bus >= here.bus:
                continue
            if linked is None:
                self._add_of_log(above, bridge=True)
            else:
                self.functions[above] = placed_function(above, bridge=True, source=f"{self.name}: a link's path")
                self.forwarding.setdefault(above, Unknown("not shown"))
            waiting.append(above)
        for address in self.functions:
            leading = log.bridges.get((address.domain, address.bus))
            if leading is None or address[:2] in shown or address in paths.above:
                continue
            port = self.functions.get(leading)
            bridge = value_of(port.bridge, None) if port is not None else None
            if port is not None and port.is_port and (bridge is None or bridge.secondary == address.bus):
                self.above.setdefault(address, leading)

    def add_logged(self, log: BootLog) -> None:
        """Take ids, class and header type from the boot log, where the text has none."""
        for address, (vendor, device, class_code, layout) in log.found.items():
            header: Fact[HeaderType] = Unknown("the boot log shows another header type")
            if layout in tuple(HeaderType):
                header = Known(HeaderType(layout), f"{self.name}: boot log")
            unread = Unknown(_LOGGED)
            logged = Function(
                address,
                vendor,
                device,
                class_code,
                None,
                "",
                header=header,
                port_type=unread,
                acs=unread,
                bridge=unread,
            )
            function = self.functions.get(address)
            if function is None:
                self.functions[address] = logged
                continue
            possible = not function.ids_told and any(
                pair[0] in (None, vendor) and pair[1] in (None, device) for pair in function.possible_ids
            )
            if possible or not function.class_told:
                self.functions[address] = _filled(function, logged)
        for address, kind in log.types.items():
            function = self.functions.get(address)
            if function is not None and isinstance(function.port_type, Unknown):
                self.functions[address] = replace(function, port_type=Known(kind, f"{self.name}: boot log"))
        for address, done in log.chipset_acs.items():
            if address in self.functions:
                told = Known(done, f"{self.name}: boot log")
                self.functions[address] = replace(self.functions[address], chipset_acs=told)


def _bare(function: Function) -> bool:
    """Whether nothing but its first line was read: a pattern may have picked its ACS bits alone."""
    acs = function.acs
    bits = isinstance(acs, Known) or acs.reason.startswith(DISAGREE) or acs.reason.endswith(MISREAD)
    return isinstance(function.header, Unknown) and isinstance(function.port_type, Unknown) and not bits


def _shown_twice(first: Function, second: Function) -> Function:
    """Return what one text tells of a function twice: in a short listing and a long one, or before and after."""
    if _is_turned(first.acs, second.acs):
        doubt = Unknown(f"{DISAGREE}lspci shows its ACS on, and off")
        first, second = (replace(one, acs=doubt) for one in (first, second))
    if _bare(first) == _bare(second) or contradicts(first, second):
        return merge_function(first, second)
    return _filled(first, second) if _bare(second) else _filled(second, first)


def _is_turned(*shown: Fact[Acs | None]) -> bool:
    """Whether lspci shows ACS on and off: off alone it may misread, of a port of which it shows no other state."""
    told = [acs for acs in shown if isinstance(acs, Known) and not acs.source.endswith(": dump")]
    on = any(acs.value is not None and acs.value.control for acs in told)
    return on and any(isinstance(acs, Unknown) and acs.reason.endswith(MISREAD) for acs in shown)


def _filled(one: Function, other: Function) -> Function:
    """Return the first with what it lacks taken from the second: a dump and its text are one reading."""
    changes: dict[str, Any] = {
        name: getattr(other, name)
        for name in _FACTS
        if isinstance(getattr(one, name), Unknown) and isinstance(getattr(other, name), Known)
    }
    if isinstance(one.bars, Known) and isinstance(other.bars, Known):
        sizes = {(bar.index, bar.start): bar.size for bar in other.bars.value}
        bars = [replace(bar, size=bar.size or sizes.get((bar.index, bar.start), 0)) for bar in one.bars.value]
        # What the kernel has a place for and the register does not hold yet ("[virtual]") will answer there.
        shown = {bar.index for bar in bars}
        bars += [bar for bar in other.bars.value if bar.index not in shown]
        changes["bars"] = Known(tuple(sorted(bars, key=lambda bar: bar.index)), one.bars.source)
    rom, placed = value_of(one.rom, None), value_of(other.rom, None)
    if isinstance(one.rom, Known) and placed is not None:
        if rom is None:
            changes["rom"] = other.rom
        elif rom.start == placed.start:
            changes["rom"] = Known(rom._replace(size=rom.size or placed.size), one.rom.source)
    if not one.ids_told and (other.ids_told or one.possible_ids == ((None, None),)):
        changes |= {name: getattr(other, name) for name in ("vendor", "device", "possible_ids", "label")}
    if not one.class_told:
        changes["class_code"] = other.class_code
    return replace(one, **changes)
