"""Places told by the targets of links that ``ls -l`` prints."""

from __future__ import annotations

from atoll.host.fact import Unknown
from atoll.isolation.groups import predict
from host.records.paste import at, host_of

LSPCI = """60:03.1 PCI bridge [0604]: AMD GPP Bridge [1022:1483]
61:00.0 VGA compatible controller [0300]: NVIDIA X [10de:2203]
61:00.1 Audio device [0403]: NVIDIA X [10de:1aef]
"""
ROOT = "devices/pci0000:60/0000:60:03.1"
LS = f"""$ ls -l /sys/kernel/iommu_groups/42/devices
total 0
lrwxrwxrwx 1 root root 0 Jun 12 13:05 0000:61:00.0 -> ../../../../{ROOT}/0000:61:00.0/
lrwxrwxrwx 1 root root 0 Jun 12 13:05 0000:61:00.1 -> ../../../../{ROOT}/0000:61:00.1/
"""


def test_what_stands_above_a_bus() -> None:
    found = host_of(f"{LSPCI}\n{LS}").functions
    assert [found[at(f"61:00.{n}")].parent for n in range(2)] == [at("60:03.1")] * 2
    port = found[at("60:03.1")]
    assert (port.parent, port.parent_told) == (None, True)
    assert not host_of(LSPCI).functions[at("61:00.0")].parent_told
    assert not any("what stands above" in why for _, why in predict(host_of(f"{LSPCI}\n{LS}")).undetermined)
    assert found[at("61:00.0")].group.value == 42  # type: ignore[union-attr]


def test_a_bridge_that_only_a_path_names() -> None:
    text = LSPCI.partition("\n")[2]
    host = host_of(f"{text}\n{LS}")
    port, function = host.functions[at("60:03.1")], host.functions[at("61:00.0")]
    assert (function.parent, function.parent_told, function.host_bridge) == (port.address, True, "pci0000:60")
    assert (port.parent, port.parent_told, port.is_port, port.ids_told) == (None, True, True, False)
    assert isinstance(port.acs, Unknown)
    assert isinstance(port.group, Unknown)


def test_a_bridge_that_only_a_boot_log_names() -> None:
    log = "pci 0000:60:03.1: PCI bridge to [bus 61]\npci 0000:61:00.0: Adding to iommu group 42\n"
    host = host_of(f"{LSPCI.partition(chr(10))[2]}\n{log}")
    assert host.functions[at("61:00.0")].parent == at("60:03.1")
    assert "boot log" in host.functions[at("60:03.1")].acs.reason  # type: ignore[union-attr]
    shown = (
        "60:01.1 PCI bridge: AMD X\n\tControl: I/O-\n\tStatus: Cap-\n\tBus: primary=60, secondary=61, subordinate=61\n"
    )
    other = host_of(f"{shown}\n{LSPCI.partition(chr(10))[2]}\n{log}")
    assert other.functions[at("61:00.0")].parent == at("60:01.1"), "the log may be of another boot"


def test_a_boot_log_of_another_boot_moves_nothing() -> None:
    bus = "\tControl: I/O-\n\tStatus: Cap-\n\tBus: primary=60, secondary={0}, subordinate={0}\n"
    log = "pci 0000:60:03.1: PCI bridge to [bus 61]\n"
    card = LSPCI.partition("\n")[2]
    now = f"60:03.1 PCI bridge: AMD X\n{bus.format(62)}"
    found = host_of(f"{now}{card}\n{log}").functions[at("61:00.0")]
    assert (found.parent, found.parent_told) == (None, False)
    card_there = host_of(f"60:03.1 Ethernet controller: AMD X\n{card}\n{log}").functions[at("61:00.0")]
    assert (card_there.parent, card_there.parent_told) == (None, False)
    beside = f"60:01.1 PCI bridge: AMD X\n{bus.format(61)}"
    for other in (now, "60:03.1 PCI bridge: AMD X\n"):
        assert host_of(f"{beside}{other}{card}\n{log}").functions[at("61:00.0")].parent == at("60:01.1")
    path = LS.replace("0000:60:03.1/", "0000:60:01.1/")
    assert host_of(f"60:03.1 PCI bridge: AMD X\n{card}\n{log}{path}").functions[at("61:00.0")].parent == at("60:01.1")


def test_bridges_that_only_a_boot_log_names_stand_below_one_another() -> None:
    led = "pci 0000:04:00.0: PCI bridge to [bus 05-06]\npci 0000:05:00.0: PCI bridge to [bus 06]\n"
    found = host_of(f"pci 0000:06:00.0: [8086:1577] type 00 class 0x088000\n{led}").functions
    assert {str(a): str(f.parent) for a, f in found.items() if f.parent} == {
        "0000:05:00.0": "0000:04:00.0",
        "0000:06:00.0": "0000:05:00.0",
    }
    member = host_of(f"{led}pci 0000:05:00.0: Adding to iommu group 3\n").functions[at("05:00.0")]
    assert (member.is_port, member.group.value, member.parent) == (True, 3, at("04:00.0"))  # type: ignore[union-attr]
    below = host_of(f"{led}pci 0000:06:00.0: Adding to iommu group 4\n").functions[at("06:00.0")]
    assert (below.is_port, below.class_told, below.parent) == (False, False, at("05:00.0"))


def test_paths_that_disagree_tell_nothing() -> None:
    other = LS.replace("0000:60:03.1/", "0000:60:01.1/")
    function = host_of(f"{LSPCI}\n{LS}\n{other}").functions[at("61:00.0")]
    assert (function.parent, function.parent_told) == (None, False)


def test_behind_a_vmd_the_last_root_bus_counts() -> None:
    text = "10000:e0:06.0 PCI bridge [0604]: Intel X [8086:9a09]\n10000:e1:00.0 NVMe [0108]: X [144d:a80a]\n"
    path = "devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0"
    found = host_of(f"{text}\nlrwxrwxrwx 1 root root 0 10000:e1:00.0 -> ../../../{path}\n").functions
    assert found[at("10000:e1:00.0")].parent == at("10000:e0:06.0")
    assert found[at("10000:e0:06.0")].parent_told


def test_devlinks_and_other_paths_are_no_places() -> None:
    link = "consumer:pci:0000:61:00.1 -> ../../../virtual/devlink/pci:0000:61:00.0--pci:0000:61:00.1"
    lines = f"{link}\n/x/pci/0000:61:00.0\n"
    assert not host_of(f"{LSPCI}\n{lines}").functions[at("61:00.0")].parent_told


def test_members_of_groups_that_only_a_path_shows() -> None:
    """What PCILeech's users and others paste of one group: its folder."""
    link = "lrwxrwxrwx 1 root root 0 Jun 21 19:40"
    way = "../../../../devices/pci0000:00/0000:00:02.1/0000:03:00.0/0000:04:00.0"
    text = (
        "$ ls -la /sys/kernel/iommu_groups/15/devices/\ntotal 0\n"
        f"{link} 0000:04:00.0 -> {way}\n{link} 0000:05:00.0 -> {way}/0000:05:00.0\n"
    )
    host = host_of(text)
    above = {at("00:02.1"), at("03:00.0")}
    assert set(host.functions) == {*above, at("04:00.0"), at("05:00.0")}
    assert all(isinstance(host.functions[a].group, Unknown) for a in above), "those may be in any group"
    bridge, card = host.functions[at("04:00.0")], host.functions[at("05:00.0")]
    assert (bridge.is_port, card.is_port, card.parent, bridge.parent) == (True, False, bridge.address, at("03:00.0"))
    assert {f.host_bridge for f in host.functions.values()} == {"pci0000:00"}
    assert (bridge.ids_told, card.ids_told, card.class_told) == (False, False, False)
    assert {f.group.value for f in (bridge, card)} == {15}  # type: ignore[union-attr]
    alone = host_of("/sys/kernel/iommu_groups/15/devices/0000:04:00.0\n")
    assert not alone.functions, "a list without places shows no function"
