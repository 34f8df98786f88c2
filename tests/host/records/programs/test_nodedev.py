"""libvirt's node devices: hand-made in the form of its documentation."""

from __future__ import annotations

import pytest

from atoll.errors import InputError
from atoll.host.fact import Known, Unknown
from atoll.host.model import Host
from atoll.host.records.content import read_record
from atoll.pci.header import HeaderType
from host.records.paste import at

COMPUTER = "<device><name>computer</name><capability type='system'><hardware/></capability></device>"


def device(address: str, *inner: str, parent: str = "computer", path: str = "", driver: str = "") -> str:
    place = at(address)
    shown = f"<path>{path}</path>" if path else ""
    bound = f"<driver><name>{driver}</name></driver>" if driver else ""
    return f"""
<device>
  <name>pci_{place.domain:04x}_{place.bus:02x}_{place.device:02x}_{place.function}</name>
  {shown}<parent>{parent}</parent>{bound}
  <capability type='pci'>
    <class>0x020000</class>
    <domain>{place.domain}</domain><bus>{place.bus}</bus><slot>{place.device}</slot>
    <function>{place.function}</function>
    <product id='0x10c9'>A card</product><vendor id='0x8086'>A maker</vendor>
    {"".join(inner)}
  </capability>
</device>
"""


def addresses(*texts: str) -> str:
    found = ""
    for text in texts:
        a = at(text)
        bus = f"domain='0x{a.domain:04x}' bus='0x{a.bus:02x}'"
        found += f"<address {bus} slot='0x{a.device:02x}' function='0x{a.function}'/>"
    return found


def group(number: int, *texts: str) -> str:
    return f"<iommuGroup number='{number}'>{addresses(*texts)}</iommuGroup>"


BRIDGE = "<capability type='pci-bridge'/>"
LINK = "<pci-express><link validity='cap' port='3' speed='8' width='4'/><link validity='sta' width='4'/></pci-express>"


def nodes(*devices: str) -> Host:
    host = read_record("".join(devices).encode(), name="nodes.xml").host
    assert host is not None
    return host


def test_several_after_each_other() -> None:
    host = nodes(
        COMPUTER,
        device("00:1c.0", BRIDGE, group(8, "00:1c.0"), LINK, driver="pcieport"),
        device("02:00.0", group(12, "02:00.0", "02:00.1"), "<numa node='1'/>", parent="pci_0000_00_1c_0"),
        device("02:00.1", group(12, "02:00.0", "02:00.1"), parent="pci_0000_00_1c_0", driver="igb"),
    )
    port, one, two = host.functions.values()
    assert port.header == Known(HeaderType.BRIDGE, "nodes.xml")
    assert port.port_number == Known(3, "nodes.xml")
    assert (port.parent, port.parent_told, port.host_bridge) == (None, True, "pci0000:00")
    assert (one.parent, one.parent_told, one.host_bridge) == (at("00:1c.0"), True, "pci0000:00")
    assert isinstance(host.groups, Known)
    assert {n: g.members for n, g in host.groups.value.items()} == {
        8: (at("00:1c.0"),),
        12: (at("02:00.0"), at("02:00.1")),
    }
    assert one.driver == Known(None, "nodes.xml")
    assert two.driver == Known("igb", "nodes.xml")
    assert (one.numa_node, two.numa_node) == (Known(1, "nodes.xml"), Known(None, "nodes.xml"))
    assert isinstance(one.multifunction, Known)
    assert one.multifunction.value
    # Alone in its slot: libvirt may have been asked for this one only.
    assert isinstance(port.multifunction, Unknown)
    for fact in (port.acs, port.port_type, port.bridge, one.header, one.bars):
        assert isinstance(fact, Unknown)


def test_the_path_tells_the_place() -> None:
    host = nodes(
        device("10000:00:01.0", BRIDGE, path="/sys/devices/pci0000:00/0000:00:0e.0/pci10000:00/10000:00:01.0"),
        device("00:0e.0", path="/sys/devices/pci0000:00/0000:00:0e.0"),
    )
    assert host.functions[at("10000:00:01.0")].host_bridge == "pci10000:00"
    assert host.functions[at("00:0e.0")].host_bridge == "pci0000:00"
    assert all(function.parent is None and function.parent_told for function in host.functions.values())


def test_virtual_functions_know_their_physical_one() -> None:
    virtual = f"<capability type='virt_functions' maxCount='7'>{addresses('02:10.0', '02:10.2')}</capability>"
    physical = f"<capability type='phys_function'>{addresses('02:00.0')}</capability>"
    host = nodes(device("02:00.0", virtual), device("02:10.0", physical), device("02:10.2"))
    assert host.functions[at("02:00.0")].virtual_functions == (at("02:10.0"), at("02:10.2"))
    assert {host.functions[at(a)].physical_function for a in ("02:10.0", "02:10.2")} == {at("02:00.0")}
    assert host.functions[at("02:10.0")].multifunction == Known(False, "virtual function")
    fewer = nodes(device("02:00.0", virtual), device("02:10.0", physical))
    gaps = [gap.what for gap in fewer.gaps if "does not show them" in gap.why]
    assert gaps == ["1 virtual function of 0000:02:00.0 (0000:02:10.2 first)"]


def test_a_set_in_one_element_and_declarations_between() -> None:
    one, two = device("00:02.0"), device("00:03.0")
    assert len(nodes(f"<nodedevs>{one}{two}</nodedevs>").functions) == 2
    assert len(nodes("<?xml version='1.0'?>", one, "<?xml version='1.0'?>", two).functions) == 2


def test_groups_that_contradict_each_other_are_in_no_group() -> None:
    host = nodes(device("00:02.0", group(1, "00:02.0", "00:03.0")), device("00:03.0", group(2, "00:03.0")))
    assert isinstance(host.functions[at("00:03.0")].group, Unknown)
    assert host.functions[at("00:02.0")].group == Known(1, "nodes.xml")
    assert any(gap.what == "group of 0000:00:03.0" for gap in host.gaps)


def test_members_that_are_not_shown_are_named() -> None:
    host = nodes(device("03:00.0", group(8, "00:1c.0", "03:00.0"), parent="pci_0000_00_1c_1"))
    assert any("0000:00:1c.0" in gap.what for gap in host.gaps)
    assert any("what stands above bus 0000:03" in gap.what for gap in host.gaps)
    assert isinstance(host.groups, Known)
    assert host.groups.value[8].members == (at("00:1c.0"), at("03:00.0"))


def test_no_groups_are_unknown_groups() -> None:
    assert isinstance(nodes(device("00:02.0")).groups, Unknown)


@pytest.mark.parametrize(
    "text",
    [
        COMPUTER,
        "<domain type='kvm'><name>vm</name></domain>",
        device("00:02.0").replace("<slot>2</slot>", "<slot>77</slot>"),
        device("00:02.0").replace("0x10c9", "card"),
        device("00:02.0")[:-20],
    ],
)
def test_what_shows_no_function_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        nodes(text)
    assert caught.value.hint
