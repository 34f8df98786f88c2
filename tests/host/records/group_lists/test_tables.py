"""Tables of posts, with what people write into a cell besides a number or an address."""

from __future__ import annotations

import time

import pytest

from atoll.errors import InputError
from atoll.host.fact import Known, Unknown
from host.records.paste import GPU, NIC, SOUND, at, groups_of, host_of


@pytest.mark.parametrize("cell", ["12", "Group 12", "**12**", "**12** (alone)", "12, alone", "12 (x)", "#12", "grp 12"])
def test_a_number_and_words_about_it(cell: str) -> None:
    table = f"| Device | IOMMU group | Notes |\n|---|---|---|\n| 01:00.0 | {cell} | x |\n| `02:00.0` | 13 | - |\n"
    assert groups_of(host_of(table)) == {12: ["01:00.0"], 13: ["02:00.0"]}


@pytest.mark.parametrize(("cell", "named"), [("20-22", (20, 21, 22)), ("20, 21", (20, 21)), ("20/22", (20, 22))])
def test_several_groups_are_of_no_one_function(cell: str, named: tuple[int, ...]) -> None:
    host = host_of(f"| BDF | IOMMU group |\n|---|---|\n| 01:00.0 | {cell} |\n| 02:00.0 | 5 |\n")
    assert groups_of(host) == {5: ["02:00.0"]}
    for number in named:
        assert any(str(number) in gap.what for gap in host.gaps if "group" in gap.what)


@pytest.mark.parametrize("cell", ["12?", "12 or 13", "0x12", "12 13", "none", "12.5", "was 12, now 13"])
def test_what_is_no_number(cell: str) -> None:
    host = host_of(f"| BDF | IOMMU group |\n|---|---|\n| 01:00.0 | {cell} |\n| 02:00.0 | 5 |\n")
    assert groups_of(host) == {5: ["02:00.0"]}


def test_the_port_above_is_not_whose_group_it_is() -> None:
    rows = "| 00:01.1 | 03:00.0 | 17 |\n| 00:01.3 | 07:00.0 | 22 |\n"
    told = host_of(f"| Root port | BDF | IOMMU group |\n|---|---|---|\n{rows}")
    assert groups_of(told) == {17: ["03:00.0"], 22: ["07:00.0"]}
    unclear = host_of(f"| A | B | IOMMU group |\n|---|---|---|\n{rows}| 00:14.0 | x | 3 |\n")
    assert groups_of(unclear) == {3: ["00:14.0"]}
    assert any("group 17" in gap.what for gap in unclear.gaps)


@pytest.mark.parametrize(
    "table",
    [
        "group,address,description\n1,0000:00:01.0,bridge\n1,0000:01:00.0,VGA, of NVIDIA\n2,0000:02:00.0,Ethernet\n",
        "address,iommu_group,vendor_id,driver\n0000:00:01.0,1,8086,\n0000:01:00.0,1,10de,x\n0000:02:00.0,2,8086,y\n",
        '"IOMMU Group";"Device"\n"1";"00:01.0 PCI bridge [0604]: X [8086:1901]"\n'
        '"1";"01:00.0 VGA [0300]: X [10de:1b80]"\n"2";"02:00.0 Ethernet controller [0200]: X [8086:10d3]"\n',
        "description\tiommugroup\tbdf\nbridge\t1\t00:01.0\nVGA\t1\t01:00.0\nEthernet\t2\t02:00.0\n",
    ],
)
def test_tables_of_spreadsheets(table: str) -> None:
    assert groups_of(host_of(table)) == {1: ["00:01.0", "01:00.0"], 2: ["02:00.0"]}


def test_a_comma_too_many_before_the_group() -> None:
    rows = "00:01.0,PCI bridge,1\n01:00.0,VGA, 2 heads, 7,1\n02:00.0,Ethernet,2\n"
    host = host_of(f"address,description,group\n{rows}")
    assert groups_of(host) == {1: ["00:01.0"], 2: ["02:00.0"]}
    assert any("7" in gap.what for gap in host.gaps if "group" in gap.what)


@pytest.mark.parametrize(
    "table",
    [
        "name\taddress\tgroup\tnuma\nbridge\t00:01.0\t1\t0\n\t0000:01:00.0\t12\t0\n",
        "\tname\taddress\tgroup\n\tbridge\t00:01.0\t1\n\t\t0000:01:00.0\t12\n",
    ],
)
def test_first_cells_that_are_empty(table: str) -> None:
    assert groups_of(host_of(table)) == {1: ["00:01.0"], 12: ["01:00.0"]}


@pytest.mark.parametrize("row", ["\t0\t0000:01:00.0", "-\t0\t0000:01:00.0", "n/a\t0\t0000:01:00.0"])
def test_a_function_without_a_group(row: str) -> None:
    assert groups_of(host_of(f"group\tnuma\taddress\n1\t0\t0000:00:01.0\n{row}\n")) == {1: ["00:01.0"]}


def test_lspci_right_behind_a_table() -> None:
    host = host_of(
        "slot,vendor,group\n00:01.0,8086,3\n00:1f.0 ISA bridge [0601]: X, Y, Z and W [8086:1234]\n"
        "\tFlags: bus master, fast devsel, latency 0, IRQ 3, IOMMU group 7\n"
    )
    assert groups_of(host) == {3: ["00:01.0"], 7: ["00:1f.0"]}
    assert host.functions[at("00:1f.0")].device == 0x1234


def test_one_comma_too_many() -> None:
    host = host_of("slot,name,group\n00:1f.0,ISA bridge, LPC,5\n00:01.0,x,3\n")
    assert groups_of(host) == {3: ["00:01.0"]}
    assert any("group 5" in gap.what for gap in host.gaps)


@pytest.mark.parametrize("heading", ["lane,address", "group,colour", "numa,bdf"])
def test_tables_that_name_no_groups(heading: str) -> None:
    with pytest.raises(InputError):
        host_of(f"{heading}\n1,0000:00:01.0\n1,0000:01:00.0\n")


def test_the_table_of_pvesh_without_borders() -> None:
    host = host_of(
        "# pvesh get /nodes/pve/hardware/pci --noborder\n\n"
        "class     device  id            iommugroup  vendor  device_name\n"
        "0x060400  0x1483  0000:00:01.1           1  0x1022  Starship/Matisse GPP Bridge\n"
        "0x030000  0x1b80  0000:01:00.0          15  0x10de  GP104\n"
        "0x020000  0x1533  0000:02:00.0          -1  0x8086\n"
    )
    assert groups_of(host) == {1: ["00:01.1"], 15: ["01:00.0"]}
    assert host.functions[at("01:00.0")].device == 0x1B80
    assert host.functions[at("02:00.0")].group == Known(None, "paste: list of groups")


def test_a_line_of_commas_ends_soon() -> None:
    start = time.process_time()
    host_of("0000:01:00.0 1\n" + ("iommu" + " ," * 2000 + "\n") * 100 + "Group 1: 01:00.0\n")
    # What looks for the next group from each comma on took half a minute.
    assert time.process_time() - start < 10


def test_a_cell_of_a_group_that_is_empty_leaves_the_one_above_open() -> None:
    """Somebody may have put the number beside the first function only; programs leave the cell empty for none."""
    row = "| {} | `{}` | Ethernet controller [0200]: X [8086:1533] |\n"
    table = (
        f"| Group | Device | Name |\n|---|---|---|\n{row.format(12, NIC)}{row.format('', GPU)}{row.format(13, SOUND)}"
    )
    host = host_of(table)
    assert groups_of(host) == {12: [NIC], 13: [SOUND]}
    assert isinstance(host.functions[at(GPU)].group, Unknown)
    assert any(gap.what == "members of IOMMU group 12" for gap in host.gaps)
    assert host.functions[at(NIC)].device == 0x1533
