"""Functions from handmade sysfs: odd places, missing files, virtual functions, slots of several functions."""

from __future__ import annotations

import errno

import pytest

from atoll.host import read_host
from atoll.host.attribute import number
from atoll.host.extent import Extent
from atoll.host.fact import Fact, Known, Unknown, value_of
from atoll.host.model import Function
from atoll.host.place import find_places
from atoll.host.trees.memory import FileEntry, MemoryTree
from atoll.pci.address import Address
from atoll.pci.bar import Bar, Rom
from host.handmade import Link, Refusing, function_files, tree_of
from pci.config_bytes import Space

A = Address.parse


def only(files: dict[str, str | bytes]) -> Function:
    host = read_host(tree_of(files))
    assert len(host.functions) == 1
    return next(iter(host.functions.values()))


def test_a_virtual_function_without_its_link_is_told_by_its_ids() -> None:
    """Recorders that leave out links: what its own registers say of memory is nothing."""
    folder = "sys/devices/pci0000:01/0000:01:00.0"
    lines = "0xf0000000 0xf0003fff 0x14220c\n" + "0x0 0x0 0x0\n" * 12
    for ids, told in ((0xFFFF_FFFF, False), (0x1018_15B3, True)):
        config = bytes(Space().express(0).put(0, ids, 4).put(4, 4, 2).data)
        found = only({**function_files("0000:01:00.0", config=config), f"{folder}/resource": lines})
        assert found.perhaps_virtual is not told
        assert isinstance(found.command, Known) is told
        (bar,) = value_of(found.bars, ())
        assert (bar.start, bar.register) == (0xF000_0000, 0 if told else None)


def test_parents_come_from_the_path() -> None:
    files = {
        **function_files("0000:00:01.0", kind=0x060400),
        **function_files("0000:01:00.0", above="0000:00:01.0", kind=0x060400),
        **function_files("0000:02:00.0", above="0000:00:01.0/0000:01:00.0"),
    }
    places = find_places(tree_of(files))
    assert [place.parent for place in places.values()] == [None, A("0000:00:01.0"), A("0000:01:00.0")]
    assert {place.host_bridge for place in places.values()} == {"pci0000:00"}
    assert {place.behind for place in places.values()} == {None}


def test_functions_behind_vmd_stand_on_their_own_root_bus() -> None:
    folder = "sys/devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:1a.0"
    files = {"sys/bus/pci/devices/10000:e0:1a.0": Link(f"../../../{folder[4:]}"), f"{folder}/vendor": "0x8086"}
    place = find_places(tree_of(files))[Address(0x10000, 0xE0, 0x1A, 0)]
    assert (place.host_bridge, place.parent, place.behind) == ("pci10000:e0", None, A("0000:00:0e.0"))


def test_records_without_the_bus_folder() -> None:
    files = {k: v for k, v in function_files("0000:01:00.0", above="0000:00:01.0").items() if "bus/pci/dev" not in k}
    files |= {k: v for k, v in function_files("0000:00:01.0", kind=0x060400).items() if "bus/pci/dev" not in k}
    host = read_host(tree_of(files))
    assert host.functions[A("0000:01:00.0")].parent == A("0000:00:01.0")


def test_records_with_folders_instead_of_links() -> None:
    files: dict[str, str | bytes] = {}
    for address, bus in (("0000:00:01.0", "1"), ("0000:01:00.0", None)):
        folder = f"sys/bus/pci/devices/{address}"
        files |= {f"{folder}/vendor": "0x8086", f"{folder}/device": "0x1", f"{folder}/class": "0x060400"}
        if bus:
            files[f"{folder}/secondary_bus_number"] = bus
    host = read_host(tree_of(files))
    assert host.functions[A("0000:01:00.0")].parent == A("0000:00:01.0")
    assert host.functions[A("0000:01:00.0")].host_bridge == "pci0000:00"


def test_names_that_are_no_addresses_are_passed_over() -> None:
    files = {**function_files("0000:01:00.0"), "sys/bus/pci/devices/garbage": Link("../../../devices/x")}
    assert list(read_host(tree_of(files)).functions) == [A("0000:01:00.0")]


def test_a_dangling_function_is_a_gap() -> None:
    host = read_host(tree_of({"sys/bus/pci/devices/0000:00:01.0": Link("../../../devices/pci0000:00/0000:00:01.0")}))
    assert not host.functions
    assert any("0000:00:01.0" in gap.what for gap in host.gaps)


def test_ids_from_configuration_space_where_attributes_are_missing() -> None:
    files = {k: v for k, v in function_files("0000:01:00.0").items() if not k.endswith(("vendor", "device", "class"))}
    function = only(files)
    assert (function.vendor, function.device, function.class_code) == (0x10DE, 0x1DB1, 0x030200)


def test_what_is_absent_and_what_was_not_captured() -> None:
    whole = only(function_files("0000:01:00.0"))
    assert whole.driver == Known(None, "sys/devices/pci0000:01/0000:01:00.0/driver")
    partial = only({k: v for k, v in function_files("0000:01:00.0").items() if "uevent" not in k})
    assert isinstance(partial.driver, Unknown)
    assert isinstance(partial.iommu, Unknown)


def test_what_keeps_a_port_awake_is_read_where_it_was_captured() -> None:
    folder = "sys/devices/pci0000:00/0000:00:01.0"
    files = function_files("0000:00:01.0", kind=0x060400, config=bytes(Space().put(0x0E, 1, 1).data))
    port = only({**files, f"{folder}/power/control": "on\n"})
    assert port.power_control == Known("on", f"{folder}/power/control")
    assert only(files).power_control == Unknown(f"{folder}/power/control: not captured")


def test_attributes() -> None:
    folder = "sys/devices/pci0000:01/0000:01:00.0"
    function = only(
        {
            **function_files("0000:01:00.0"),
            f"{folder}/driver": Link("../../../bus/pci/drivers/vfio-pci"),
            f"{folder}/driver_override": "(null)\n",
            f"{folder}/reset_method": "flr bus\n",
            f"{folder}/numa_node": "-1\n",
            f"{folder}/iommu": Link("../../virtual/iommu/dmar1"),
            f"{folder}/power_state": "D3hot\n",
            f"{folder}/ari_enabled": "1\n",
            f"{folder}/revision": "0xa1\n",
            f"{folder}/subsystem_vendor": "0x10de\n",
            f"{folder}/subsystem_device": "0x1212\n",
            f"{folder}/resource": "0xf0000000 0xf0ffffff 0x40200\n0x38000000000 0x383ffffffff 0x14220c\n"
            + "0x0 0x0 0x0\n" * 5,
        }
    )
    assert function.driver == Known("vfio-pci", f"{folder}/driver")
    assert function.driver_override == Known(None, f"{folder}/driver_override")
    assert function.reset_methods == Known(("flr", "bus"), f"{folder}/reset_method")
    assert function.numa_node == Known(None, f"{folder}/numa_node")
    assert function.iommu == Known("dmar1", f"{folder}/iommu")
    assert function.power_state == Known("D3hot", f"{folder}/power_state")
    assert function.ari == Known(True, f"{folder}/ari_enabled")
    assert function.revision == Known(0xA1, f"{folder}/revision")
    assert function.subsystem == Known((0x10DE, 0x1212), f"{folder}/subsystem_vendor")
    assert isinstance(function.bars, Known)
    assert function.bars.value == (
        Bar(0, 0xF0000000, 0x1000000, memory=True, register=0),
        Bar(1, 0x38000000000, 0x400000000, memory=True, prefetchable=True, register=0),
    )


def test_a_damaged_resource_file_falls_back_to_the_header() -> None:
    files = function_files("0000:01:00.0") | {"sys/devices/pci0000:01/0000:01:00.0/resource": "nonsense"}
    function = only(files)
    assert isinstance(function.bars, Known)
    assert function.bars.value == ()
    assert function.bars.source.endswith("/config")


def test_a_bar_that_was_moved_behind_the_kernels_back_is_told() -> None:
    folder = "sys/devices/pci0000:01/0000:01:00.0"

    def register(low: int, line: str = "0xf0000000 0xf0ffffff 0x40200\n") -> int | None:
        config = bytes(Space().put(0x10, low, 4).data)
        function = only(
            {**function_files("0000:01:00.0", config=config), f"{folder}/resource": line + "0x0 0x0 0x0\n" * 12}
        )
        return value_of(function.bars, ())[0].register

    assert register(0xF000_0000) is None
    assert register(0xA800_0000) == 0xA800_0000
    assert register(0) == 0, "a reset cleared it"
    assert register(0xFFFF_FFFF) is None, "it does not answer"
    assert register(0xE001, "0xe000 0xe0ff 0x40101\n") is None, "I/O ports"
    assert register(0, "0xf0000000 0xf0ffffff 0x40230\n") is None, "Enhanced Allocation: no register holds it"
    assert register(0xA800_0000, "0x0 0xffffff 0x20040200\n") == 0xA800_0000, "the kernel found no place"
    assert register(0, "0x0 0xffffff 0x20040200\n") is None


def test_roms_and_where_virtual_functions_answer() -> None:
    space = Space().express(0).extended((0x10, 0x100)).put(0x10E, 8, 2).put(0x124, 0xE000_000C, 4)
    folder = "sys/devices/pci0000:01/0000:01:00.0"
    rom = "0xf1000000 0xf107ffff 0x46200\n"

    def read(register: int, line: str, virtual: str = "0x38000000000 0x3800fffffff 0x14220c\n") -> Function:
        config = bytes(space.put(0x30, register, 4).data)
        lines = "0x0 0x0 0x0\n" * 6 + line + virtual + "0x0 0x0 0x0\n" * 5
        return only({**function_files("0000:01:00.0", config=config), f"{folder}/resource": lines})

    assert value_of(read(0, rom).rom, None) == Rom(0xF1000000, 0x80000, enabled=False), "the kernel's place, unwritten"
    assert value_of(read(0xF1000001, rom).rom, None) == Rom(0xF1000000, 0x80000, enabled=True)
    assert value_of(read(0xF2000001, rom).rom, None) == Rom(0xF2000000, 0x80000, enabled=True), (
        "it answers where it is on"
    )
    assert value_of(read(1, rom).rom, None) == Rom(0, 0x80000, enabled=True), "at 0 as anywhere"
    shadow = "0xc0000 0xdffff 0x212\n"
    assert read(0, shadow).rom == Known(None, f"{folder}/config"), "a copy in memory"
    sized = value_of(read(0, rom).sriov, None)
    assert sized is not None
    moved = Bar(0, 0x38000000000, 0x10000000, memory=True, prefetchable=True, register=0xE0000000)
    assert sized.bars == (moved,), "the register points elsewhere"
    unset = value_of(read(0, rom, "0x0 0xfffffff 0x2014220c\n").sriov, None)
    assert unset is not None
    unplaced = Bar(0, 0, 0x10000000, memory=True, prefetchable=True, register=0xE0000000)
    assert unset.bars == (unplaced,), "the kernel found no place"
    bare = value_of(read(0, rom, "0x0 0x0 0x0\n").sriov, None)
    assert bare is not None
    assert bare.bars == (Bar(0, 0xE0000000, 0, memory=True, prefetchable=True),)


def test_routing_asks_for_a_rom_where_no_bar_answers() -> None:
    folder = "sys/devices/pci0000:01/0000:01:00.0"

    def rom(bar: int) -> Fact[Rom | None]:
        space = Space().put(0x10, bar, 4).put(0x30, 0xF100_0001, 4)
        files = function_files("0000:01:00.0", config=bytes(space.data))
        return read_host(tree_of(files), extent=Extent.ROUTING).functions[A("0000:01:00.0")].rom

    assert rom(0) == Known(Rom(0xF1000000, 0, enabled=True), f"{folder}/config")
    assert isinstance(rom(0xF000_0000), Unknown), "the BAR is enough"


def test_routing_asks_ports_alone_for_their_numbers() -> None:
    def port_number(kind: int, header: int, extent: Extent) -> Fact[int]:
        space = Space(header=header).express(kind).put(0x4C, 7 << 24, 4)
        files = function_files("0000:01:00.0", kind=0x060400 if header else 0x020000, config=bytes(space.data))
        return read_host(tree_of(files), extent=extent).functions[A("0000:01:00.0")].port_number

    assert [value_of(port_number(kind, 1, Extent.ROUTING), None) for kind in (4, 6)] == [7, 7]
    assert port_number(0, 0, Extent.ROUTING) == Unknown("not read"), "no egress control vector has a bit for it"
    assert value_of(port_number(0, 0, Extent.ALL), None) == 7


def test_a_rom_of_which_only_the_kernel_tells_may_be_on() -> None:
    folder = "sys/devices/pci0000:01/0000:01:00.0"
    files = function_files("0000:01:00.0")
    del files[f"{folder}/config"]
    files[f"{folder}/resource"] = "0x0 0x0 0x0\n" * 6 + "0xf1000000 0xf107ffff 0x46200\n"
    assert value_of(only(files).rom, None) == Rom(0xF1000000, 0x80000, enabled=True)


def test_every_function_of_a_slot_is_multifunction() -> None:
    host = read_host(tree_of({**function_files("0000:01:00.0"), **function_files("0000:01:00.1")}))
    assert value_of(host.functions[A("0000:01:00.1")].multifunction, None) is True
    alone = read_host(tree_of(function_files("0000:01:00.1")))
    assert value_of(alone.functions[A("0000:01:00.1")].multifunction, None) is False


def test_virtual_functions() -> None:
    folder = "sys/devices/pci0000:01"
    files = {
        **function_files("0000:01:00.0"),
        **function_files("0000:01:00.1"),
        f"{folder}/0000:01:00.0/virtfn0": Link("../0000:01:00.1"),
        f"{folder}/0000:01:00.1/physfn": Link("../0000:01:00.0"),
    }
    host = read_host(tree_of(files))
    assert host.functions[A("0000:01:00.0")].virtual_functions == (A("0000:01:00.1"),)
    virtual = host.functions[A("0000:01:00.1")]
    assert virtual.physical_function == A("0000:01:00.0")
    assert virtual.multifunction == Known(False, "virtual function")


@pytest.mark.parametrize(("control", "linked"), [(1, True), (0, False)])
def test_virtual_functions_whose_links_were_not_captured(control: int, linked: bool) -> None:
    """Files copied without links: where they are, and whose, the physical function's SR-IOV capability tells."""
    space = Space().express(0).extended((0x10, 0x100))
    space.put(0x108, control, 2).put(0x10E, 2, 2).put(0x110, 2, 2).put(0x114, 1, 2).put(0x116, 1, 2)
    files = {
        **function_files("0000:01:00.0", config=bytes(space.data)),
        **function_files("0000:01:00.1"),
        **function_files("0000:01:00.2"),
        **function_files("0000:01:00.3"),
    }
    functions = read_host(tree_of(files)).functions
    assert functions[A("0000:01:00.0")].virtual_functions == ((A("0000:01:00.1"), A("0000:01:00.2")) if linked else ())
    of = [functions[A(f"0000:01:00.{n}")].physical_function for n in range(4)]
    assert of == ([None, A("0000:01:00.0"), A("0000:01:00.0"), None] if linked else [None] * 4)


def test_configuration_space_that_may_not_be_read() -> None:
    tree = Refusing(tree_of(function_files("0000:01:00.0")), "sys/devices/pci0000:01/0000:01:00.0/config")
    function = next(iter(read_host(tree).functions.values()))
    assert isinstance(function.acs, Unknown)
    assert "Permission denied" in function.acs.reason


def test_ari_from_the_port_above_where_no_attribute_tells() -> None:
    port = Space(header=1).express(6).put(0x68, 0x20, 2)
    files = {
        **function_files("0000:00:01.0", kind=0x060400, config=bytes(port.data)),
        **function_files("0000:01:00.0", above="0000:00:01.0"),
        **function_files("0000:01:02.3", above="0000:00:01.0"),
    }
    host = read_host(tree_of(files))
    assert value_of(host.functions[A("0000:01:00.0")].ari, None) is True
    assert value_of(host.functions[A("0000:00:01.0")].ari, None) is False
    beside = host.functions[A("0000:01:02.3")].multifunction
    assert beside == Known(True, "stands beside 0000:01:00.0"), "with ARI a bus is one device"


def test_a_number_that_no_attribute_holds_is_unknown() -> None:
    """Thousands of hexadecimal digits are read by Python, and cannot be printed by it."""
    tree = MemoryTree("huge")
    tree.add("numa_node", FileEntry(b"0x" + b"f" * 60000))
    tree.add("irq", FileEntry(b"0x" + b"f" * 16))
    assert isinstance(number(tree, "numa_node"), Unknown)
    assert number(tree, "irq") == Known((1 << 64) - 1, "irq")


class Listing:
    """A tree that notes which folders are listed."""

    def __init__(self, tree: MemoryTree) -> None:
        self._tree = tree
        self.name = tree.name
        self.read, self.readlink = tree.read, tree.readlink
        self.listed: list[str] = []

    def list(self, path: str) -> tuple[str, ...]:
        self.listed.append(path)
        return self._tree.list(path)


def test_routing_lists_no_folder_of_a_whole_function() -> None:
    files = function_files("0000:01:00.0")
    folder = next(path.rpartition("/")[0] for path in files if path.endswith("/config"))
    files[f"{folder}/uevent"] = (
        "PCI_CLASS=20000\nPCI_ID=8086:1533\nPCI_SUBSYS_ID=8086:0001\nPCI_SLOT_NAME=0000:01:00.0\n"
    )
    files[f"{folder}/ari_enabled"] = "0"
    files[f"{folder}/iommu"] = Link("../../virtual/iommu/dmar0")
    tree = Listing(tree_of(files))
    function = next(iter(read_host(tree, extent=Extent.ROUTING).functions.values()))
    assert folder not in tree.listed
    assert (function.driver, function.iommu) == (
        Known(None, f"{folder}/uevent"),
        Known("dmar0", f"{folder}/iommu"),
    )
    del files[f"{folder}/iommu"], files[f"{folder}/subsystem"]
    tree = Listing(tree_of(files))
    missing = next(iter(read_host(tree, extent=Extent.ROUTING).functions.values())).iommu
    assert folder in tree.listed
    assert missing == Unknown(f"{folder}/iommu: not captured"), "nothing shows that the folder was copied whole"


def test_a_device_whose_lock_the_kernel_holds_is_not_called_without_driver() -> None:
    """Its driver is being taken off: the link is gone, and the driver has it until its user closes it."""
    folder = "sys/devices/pci0000:01/0000:01:00.0"
    files = {**function_files("0000:01:00.0"), f"{folder}/driver_override": "vfio-pci\n"}
    held = [f"{folder}/uevent", f"{folder}/driver_override"]
    (function,) = read_host(Refusing(tree_of(files), *held, number=errno.EBUSY)).functions.values()
    assert isinstance(function.driver, Unknown)
    assert isinstance(function.driver_override, Unknown)
    assert (function.vendor, function.device, function.class_code) == (0x10DE, 0x1DB1, 0x030200)
    (readable,) = read_host(tree_of(files)).functions.values()
    assert readable.driver_override == Known("vfio-pci", f"{folder}/driver_override")
