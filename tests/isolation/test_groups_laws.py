"""Laws of predicted groups, on random topologies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from groups_hosts import function, host, port
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.host.model import Function, Host
from atoll.isolation.groups import Prediction, predict
from atoll.pci.acs import REDIRECTING, Acs, AcsFlag
from atoll.pci.address import Address
from atoll.pci.header import PortType

_ALL = AcsFlag(0x7F)

_ACS = st.one_of(
    st.none(),
    st.builds(
        lambda capability, control: Acs(AcsFlag(capability), AcsFlag(control & capability), 0x148, 0x14E),
        st.sampled_from([0x5F, 0x1D, 0x0D, 0x00]),
        st.sampled_from([0x00, 0x1D, 0x1D, 0x1D, 0x11, 0x0C]),
    ),
)


class _Builder:
    """Grows a tree of ports and functions below one root bus."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.functions: list[Function] = []
        self._draw = draw
        self._buses = 0

    def root(self) -> None:
        for device in range(1, self._draw(st.integers(1, 4)) + 1):
            self._slot(0, device, None, PortType.ROOT_PORT, depth=0)

    def _slot(self, bus: int, device: int, parent: str | None, kind: PortType, depth: int) -> None:
        count = self._draw(st.sampled_from([1, 1, 2, 3]))
        for number in range(count):
            place = f"{bus:02x}:{device:02x}.{number}"
            acs = self._draw(_ACS) if kind is not PortType.CONVENTIONAL else None
            bridges = kind in (PortType.ROOT_PORT, PortType.DOWNSTREAM)
            if bridges and self._draw(st.integers(0, 4)):
                self._buses += 1
                secondary = self._buses
                self.functions.append(port(place, secondary, parent, kind, acs=acs, multifunction=count > 1))
                self._below(place, secondary, depth + 1)
            else:
                plain = PortType.CONVENTIONAL if kind is PortType.CONVENTIONAL else PortType.ENDPOINT
                self.functions.append(function(place, parent, plain, acs=acs, multifunction=count > 1))

    def _below(self, parent: str, bus: int, depth: int) -> None:
        choice = self._draw(st.sampled_from(["endpoint", "endpoint", "switch", "bridge", "nothing", "virtual"]))
        if choice == "nothing" or self._buses > 20:
            return
        if choice in ("endpoint", "virtual") or depth > 2:
            self._slot(bus, 0, parent, PortType.ENDPOINT, depth)
            if choice == "virtual":
                physical = f"{bus:02x}:00.0"
                self.functions += [function(f"{bus:02x}:10.{n}", parent, physical=physical) for n in range(2)]
            return
        self._buses += 1
        secondary = self._buses
        if choice == "bridge":
            self.functions.append(port(f"{bus:02x}:00.0", secondary, parent, PortType.PCIE_TO_PCI, acs=None))
            for device in range(self._draw(st.integers(1, 2))):
                self._slot(secondary, device, f"{bus:02x}:00.0", PortType.CONVENTIONAL, depth)
            return
        self.functions.append(port(f"{bus:02x}:00.0", secondary, parent, PortType.UPSTREAM, acs=None))
        for device in range(self._draw(st.integers(1, 3))):
            self._slot(secondary, device, f"{bus:02x}:00.0", PortType.DOWNSTREAM, depth)


@st.composite
def _hosts(draw: st.DrawFn) -> Host:
    builder = _Builder(draw)
    builder.root()
    return host(builder.functions)


def _refines(fine: Prediction, coarse: Prediction) -> bool:
    index = coarse.index()
    return all(len({index[address] for address in group}) == 1 for group in fine.groups)


def _ports(functions: Iterable[Function]) -> list[Address]:
    return [f.address for f in functions if f.is_port]


@given(_hosts())
@settings(deadline=None)
def test_groups_are_a_partition_in_address_order(machine: Host) -> None:
    found = predict(machine)
    members = [address for group in found.groups for address in group]
    assert sorted(members) == sorted(machine.functions)
    assert len(members) == len(set(members))
    assert list(found.groups) == sorted(found.groups)
    assert all(list(group) == sorted(group) for group in found.groups)
    assert not found.undetermined


@given(_hosts())
@settings(deadline=None)
def test_one_member_founds_a_group_and_the_others_say_why_they_joined(machine: Host) -> None:
    found = predict(machine)
    for group in found.groups:
        assert sum(address not in found.reasons for address in group) == 1
    assert all(found.reasons.values())


@given(_hosts())
@settings(deadline=None)
def test_clearing_all_controls_never_splits_a_group(machine: Host) -> None:
    cleared = predict(machine, acs_control=dict.fromkeys(machine.functions, AcsFlag(0)))
    assert _refines(predict(machine), cleared)


@given(_hosts())
@settings(deadline=None)
def test_setting_the_controls_of_all_ports_never_merges_groups(machine: Host) -> None:
    ports = _ports(machine.functions.values())
    assert _refines(predict(machine, acs_control=dict.fromkeys(ports, REDIRECTING)), predict(machine))


@given(_hosts())
@settings(deadline=None)
def test_bits_beyond_the_four_do_not_matter(machine: Host) -> None:
    controls = {a: AcsFlag(c) | (_ALL & ~REDIRECTING) for a, c in _controls(machine).items()}
    assert predict(machine, acs_control=controls).groups == predict(machine).groups


@given(_hosts())
@settings(deadline=None)
def test_the_order_of_the_record_does_not_matter(machine: Host) -> None:
    turned = replace(machine, functions=dict(reversed(list(machine.functions.items()))))
    assert predict(turned) == predict(machine)


def _controls(machine: Host) -> dict[Address, AcsFlag]:
    found = {}
    for address, member in machine.functions.items():
        acs = getattr(member.acs, "value", None)
        if isinstance(acs, Acs):
            found[address] = acs.control
    return found
