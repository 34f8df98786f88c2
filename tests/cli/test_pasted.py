"""The reading verbs on what people paste: one command, a right answer."""

from __future__ import annotations

import lzma
import os
import threading
from pathlib import Path

import pytest
from running import MACHINES, Run


def test_groups_of_a_pasted_lspci_and_a_pasted_list(run: Run, paste: Path) -> None:
    names = ("--host", paste / "lspci.txt", "--host", paste / "groups.txt")
    ran = run("groups", *names)
    assert (ran.code, ran.err) == (0, "")
    assert "As predicted: the kernel's rules give the same 21 groups." in ran.out
    document = run("groups", *names, "--json").json
    assert document["recorded"] == document["predicted"]
    assert document["undetermined"] == []
    assert run("groups", "--json", *reversed_hosts(names)).json["predicted"] == document["predicted"]


def test_groups_that_are_otherwise_than_predicted(run: Run, paste: Path) -> None:
    lines = (paste / "groups.txt").read_text().splitlines()
    first, last = (line.split()[0] for line in (lines[0], lines[-1]))
    (paste / "groups.txt").write_text("\n".join([*lines[:-1], lines[-1].replace(last, first, 1)]))
    names = ("--host", paste / "lspci.txt", "--host", paste / "groups.txt")
    ran = run("groups", *names)
    assert (ran.code, ran.err) == (1, "")
    assert "Not as predicted" in ran.out
    found = run("groups", *names, "--json")
    assert found.code == 1
    assert any(told["certain"] for told in found.json["differences"])
    assert run("groups", "--format", "forum", *names).code == 0, "a listing compares nothing"


def reversed_hosts(names: tuple[object, ...]) -> tuple[object, ...]:
    return (*names[2:], *names[:2])


_TREE = r"""
-[0000:00]-+-00.0
           +-01.0-[01-04]----00.0-[02-04]--+-00.0-[03]----00.0
           |                               \-01.0-[04]----00.0
           +-02.0-[05]----00.0
           \-03.0-[06]----00.0
"""


def test_a_tree_alone_is_no_all_clear(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tree.txt").write_text(f"What hangs below what?\n{_TREE}")
    named = ("--host", tmp_path / "tree.txt")
    shown = run("show", *named)
    assert (shown.code, shown.err) == (0, "")
    assert "0000:04:00.0  class unknown" in shown.out
    assert shown.out.count("ACS unknown") == 1, "told once"
    doctor = run("doctor", *named).out
    assert "of 6 bridges neither kind nor ACS was read" in " ".join(doctor.split())
    for check in ("acs", "links"):
        assert f"unknown  {check} " in doctor
        assert f"ok       {check} " not in doctor
    said = " ".join(run("explain", "03:00.0", "04:00.0", *named).out.split())
    assert "may reach one another" in said
    assert said.count("the PCI Express type was not read") == 1


def test_a_log_of_groups_alone_is_told_as_what_it_is(run: Run, tmp_path: Path) -> None:
    log = "".join(f"[ 0.4] pci 0000:{a}: Adding to iommu group {g}\n" for a, g in (("01:00.0", 7), ("01:00.1", 7)))
    (tmp_path / "log.txt").write_text(log)
    out = run("groups", "--host", tmp_path / "log.txt").out
    assert "Not checked: of 2 functions (0000:01:00.0 0000:01:00.1) the record shows the group" in out
    assert "in no group" not in out
    (tmp_path / "lspci.txt").write_text("01:00.0 VGA compatible controller [0300]: X [10de:1b80]\n")
    out = run("groups", "--host", tmp_path / "log.txt", "--host", tmp_path / "lspci.txt").out
    assert "Not checked: of 1 function (0000:01:00.1)" in out
    assert "As predicted" not in out, "of 01:00.0 neither the type nor what stands above it is told"
    assert "Not checked: of no group the record tells what the kernel's rules look at." in out
    (tmp_path / "lspci.txt").write_text(
        "01:00.0 VGA: X [10de:1b80]\n04:00.0 Ethernet controller [0200]: X [8086:1521]\n"
    )
    out = run("groups", "--host", tmp_path / "log.txt", "--host", tmp_path / "lspci.txt").out
    assert "Group unknown: 0000:04:00.0" in out


def test_groups_of_which_records_tell_otherwise_are_told_with_both(run: Run, tmp_path: Path) -> None:
    lines = [f"{n:02x}:00.0 Ethernet controller [0202]: X [8086:1521]\n" for n in range(1, 7)]
    (tmp_path / "list.txt").write_text("IOMMU Group 4:\n" + "".join(f"\t{line}" for line in lines))
    log = "".join(f"[ 0.4] pci 0000:{n:02x}:00.0: Adding to iommu group {n}\n" for n in range(1, 7))
    (tmp_path / "log.txt").write_text(log)
    ran = run("groups", "--host", tmp_path / "list.txt", "--host", tmp_path / "log.txt")
    out = " ".join(ran.out.split())
    assert "Group disputed: 0000:01:00.0: list.txt: list of groups puts it with 0000:02:00.0, 0000:03:00.0" in out
    assert ", log.txt: boot log alone" in out
    assert "more: atoll show -v" in out
    assert "Group unknown" not in out, "the records tell a group, and not the same"


def test_types_of_groups_are_asked_for_where_they_matter(run: Run, tmp_path: Path) -> None:
    listed = "IOMMU Group 1:\n\t00:14.0 USB controller [0c03]: X [8086:43ed]\n"
    asked = "what grep . /sys/kernel/iommu_groups/*/type prints, in the same text, tells"
    (tmp_path / "list.txt").write_text(listed)
    assert asked in " ".join(run("groups", "--host", tmp_path / "list.txt").out.split())
    assert "grep ." in run("doctor", "--host", tmp_path / "list.txt").out
    (tmp_path / "list.txt").write_text(f"{listed}\n/sys/kernel/iommu_groups/1/type:DMA-FQ\n")
    out = run("groups", "--host", tmp_path / "list.txt").out
    assert "IOMMU Group 1  DMA-FQ" in out
    assert "grep ." not in out


@pytest.mark.parametrize(
    ("beside", "class_", "words"),
    [
        ("", "0806", "0000:00:00.0 0000:00:00.2: the IOMMU itself and the host bridge beside it, for which"),
        ("\tIOMMU group: 1\n", "0806", "0000:00:00.2: the IOMMU itself, for which the kernel maps nothing"),
        # Anything else that has none may be one that the kernel let pass.
        ("\tIOMMU group: 1\n", "0880", "0000:00:00.2: no IOMMU serves them"),
    ],
)
def test_who_is_in_no_group_beside_amd_s_iommu(run: Run, tmp_path: Path, beside: str, class_: str, words: str) -> None:
    command = "\tControl: I/O- Mem- BusMaster-\n\tStatus: Cap- >SERR- <PERR- INTx-\n"
    post = tmp_path / "post.txt"
    post.write_text(
        f"00:00.0 Host bridge [0600]: X [1022:1480]\n{command}{beside}\n"
        f"00:00.2 X [{class_}]: X [1022:1481]\n{command}\n"
        f"00:01.0 Host bridge [0600]: X [1022:1482]\n{command}\tIOMMU group: 0\n\n"
    )
    assert f"In no group: {words}" in " ".join(run("groups", "--host", post).out.split())
    explained = " ".join(run("explain", "00:00.2", "--host", post).out.split())
    assert ("it is an IOMMU itself, and the kernel maps nothing for it" in explained) is (class_ == "0806")
    if not beside:
        assert "it is the host bridge beside AMD's IOMMU" in run("explain", "00:00.0", "--host", post).out


def test_in_no_group_and_no_reason_to_blame_a_port_for(run: Run, tmp_path: Path) -> None:
    (tmp_path / "post.txt").write_text(
        "vfio 0000:08:00.0: no iommu_group found: No such file or directory\n"
        "08:00.0 VGA compatible controller [0300]: X [1002:731f]\n08:00.1 Audio device [0403]: X [1002:ab38]\n"
    )
    assert "In no group: 0000:08:00.0" in run("groups", "--host", tmp_path / "post.txt").out
    (tmp_path / "list.txt").write_text(
        "IOMMU Group 5:\n\t00:08.0 Host bridge [0600]: X [1022:1632]\n\t00:08.1 PCI bridge [0604]: X [1022:1635]\n"
        "\t04:00.6 Audio device [0403]: X [1022:15e3]\n"
    )
    out = " ".join(run("explain", "04:00.6", "--host", tmp_path / "list.txt").out.split())
    assert "; why, the record does not show: 0000:00:08.0" in out


_SHORT = (
    "IOMMU Group 1:\n\t00:01.0 PCI bridge [0604]: X [8086:0c01]\n\t01:00.0 VGA compatible controller: X [10de:1187]\n"
    "\t01:00.1 Audio device [0403]: X [10de:0e0a]\nIOMMU Group 3:\n\t00:03.0 Audio device [0403]: X [8086:0c0c]\n"
    "IOMMU Group 4:\n\t00:1d.0 USB controller [0c03]: X [8086:8ca6]\n"
)


def test_atoms_proof_and_addresses_of_a_list_say_what_was_not_read(run: Run, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(_SHORT)
    (tmp_path / "spec.toml").write_text('[cluster.red]\ndevices = ["01:00.0", "01:00.1"]\n')
    named = ("--host", tmp_path / "list.txt")
    atoms = run("atoms", *named)
    assert "not shown to be parted by anything:" in atoms.out
    assert "What was not read counts as joined" in atoms.out
    assert run("atoms", *named, "--json").json["atoms"][0]["open"] is True
    proof = run("prove", tmp_path / "spec.toml", *named)
    assert proof.code == 3
    assert "0000:01:00.0 (red) may reach the port above 0000:01:00.0 (host)" in proof.out
    assert "sudo lspci -nnvvv, and find /sys/kernel/iommu_groups/" in " ".join(proof.out.split())
    iova = run("iova", tmp_path / "spec.toml", *named)
    assert iova.code == 3
    said = " ".join(iova.out.split())
    assert said.count("which addresses the BARs of") == 1
    assert "which addresses the BARs of 0000:00:01.0 0000:00:03.0 0000:00:1d.0 0000:01:00.1" in said
    whole = " ".join(run("iova", tmp_path / "spec.toml", *named, "-v").out.split())
    assert whole.count("which addresses the BARs of") > 4
    (tmp_path / "list.txt").write_text("pci 0000:01:00.0: Adding to iommu group 1\n")
    refused = run("prove", tmp_path / "spec.toml", *named)
    assert refused.code == 2
    assert "of 0000:01:00.0 this host shows only that group 1 holds it" in refused.err


def test_one_lspci_of_a_switch_says_what_reaches_what_and_where_to_ask_on(run: Run, tmp_path: Path) -> None:
    text = lzma.decompress((MACHINES / "asm1812-switch" / "lspci.txt.xz").read_bytes()).decode()
    lines = [line for line in text.splitlines() if "IOMMU group:" not in line]
    (tmp_path / "lspci.txt").write_text("\n".join(lines))
    for atom in run("atoms", "--host", tmp_path / "lspci.txt", "--json").json["atoms"]:
        assert len(atom["functions"]) == 1 or atom["because"], "what joins them is told"
    doctor = " ".join(run("doctor", "--host", tmp_path / "lspci.txt").out.split())
    assert "give find /sys/kernel/iommu_groups/ -type l" in doctor
    assert "give dmesg from the boot on" in doctor


def test_a_tree_beside_a_list_of_some_groups(run: Run, tmp_path: Path) -> None:
    (tmp_path / "post.txt").write_text(
        "IOMMU Group 27:\n\t02:01.0 PCI bridge [0604]: X [1022:57a3]\n"
        "\t03:00.0 VGA compatible controller: X [10de:1e82]\n"
        + _TREE.replace("00.0-[03]", "01.0-[03]").replace("01.0-[04]", "02.0-[04]")
    )
    out = run("groups", "--host", tmp_path / "post.txt").out
    assert "recorded   in no group" not in out, "what the list does not name, it does not put in no group"
    assert "Group unknown: 0000:00:00.0" in out
    assert run("groups", "--json", "--host", tmp_path / "post.txt").json["differences"] == []
    assert " grouped otherwise " not in run("doctor", "--host", tmp_path / "post.txt").out
    out = run("explain", "03:00.0", "--host", tmp_path / "post.txt").out
    assert out.count("no source told the links of") == 1


def test_without_groups_they_are_predicted_and_the_gap_is_named(run: Run, paste: Path) -> None:
    ran = run("groups", "--host", paste / "lspci.txt")
    assert ran.code == 3
    assert "Groups were not recorded (the text shows no IOMMU groups)" in " ".join(ran.out.split())


def test_on_xen_predicted_groups_are_not_in_force(run: Run, paste: Path, tmp_path: Path) -> None:
    text = (paste / "lspci.txt").read_text()
    for name, post in (
        ("log", f"[    0.000000] Hypervisor detected: Xen PV\n{text}"),
        ("xl", f"(XEN) Xen version 4.17.3\n(XEN) Interrupt remapping enabled\n\n{text}"),
        ("driver", text.replace("Kernel driver in use: nvme", "Kernel driver in use: pciback")),
    ):
        (tmp_path / name).write_text(post)
        ran = run("groups", "--host", tmp_path / name)
        assert "these are not in force here" in " ".join(ran.out.split()), name
        assert "# Xen knows no groups" in run("groups", "--format", "forum", "--host", tmp_path / name).out
        assert run("groups", "--json", "--host", tmp_path / name).json["without_xen"] is True
    assert run("groups", "--json", "--host", paste / "lspci.txt").json["without_xen"] is False


@pytest.mark.parametrize("verb", ["show", "doctor"])
def test_other_verbs(run: Run, paste: Path, verb: str) -> None:
    ran = run(verb, "--host", paste / "lspci.txt", "--host", paste / "groups.txt")
    assert (ran.code, ran.err) == (0, "")
    assert "33 functions, 21 IOMMU groups" in " ".join(ran.out.split())


def test_a_pipe_can_be_named(run: Run, paste: Path) -> None:
    pipe = paste / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes((paste / "lspci.txt").read_bytes()))
    writer.start()
    try:
        assert "33 functions" in run("show", "--host", pipe).out
    finally:
        writer.join(10)


def test_a_text_that_tells_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mail.txt").write_text("Hello,\n\nmy computer is slow.\n")
    ran = run("groups", "--host", tmp_path / "mail.txt")
    assert ran.code == 2
    assert "mail.txt: no folder, archive or text" in ran.err
    assert "lspci -vvv" in ran.err


def test_groups_counts_those_that_the_record_lets_it_check(run: Run, tmp_path: Path) -> None:
    """What stands above one of the two is not shown; the other is on bus 0."""
    text = (
        "00:14.0 USB controller [0c03]: Intel Corporation xHCI [8086:a36d] (prog-if 30 [XHCI])\n"
        "\tControl: I/O- Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx+\n"
        "\tStatus: Cap+ 66MHz- UDF- FastB2B- ParErr- DEVSEL=medium >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-\n"
        "\tIOMMU group: 3\n"
        "\tCapabilities: [70] Power Management version 2\n\n"
        "05:00.0 Ethernet controller [0200]: Intel Corporation I210 [8086:1533]\n"
        "\tIOMMU group: 9\n\n"
    )
    (tmp_path / "lspci.txt").write_text(text)
    ran = run("groups", "--host", tmp_path / "lspci.txt")
    told = " ".join(ran.out.split())
    assert ran.code == 3
    assert "As predicted, where the record tells enough: the kernel's rules give 1 of the 2 groups." in told
    assert "Undetermined: 1 function (0000:05:00.0)" in told


def test_a_boot_log_that_says_that_acs_is_overridden_makes_the_groups_fiction(run: Run, tmp_path: Path) -> None:
    listed = "IOMMU Group 1:\n\t00:14.0 USB controller [0c03]: X [8086:43ed]\nIOMMU Group 2:\n\t02:00.0 X [0200]: X\n"
    said = "[ 0.000000] Warning: PCIe ACS overrides enabled; This may allow non-IOMMU protected peer-to-peer DMA\n"
    post = tmp_path / "post.txt"
    words = "as pcie_acs_override= has it, which says nothing of the hardware"
    for text, told in ((listed, False), (said + listed, True)):
        post.write_text(text)
        assert ("Override: the kernel said at boot" in run("groups", "--host", post).out) is told
        assert (words in run("explain", "00:14.0", "02:00.0", "--host", post).out) is told
        doctor = " ".join(run("doctor", "--host", post).out.split())
        assert ("fail acs-override the kernel says at boot that it overrides ACS" in doctor) is told


def test_fiction_is_told_before_it_is_listed(run: Run, tmp_path: Path) -> None:
    """Of a boot log alone, of which no group can be checked, as well."""
    post = tmp_path / "post.txt"
    log = "[ 0.0] Command line: ro quiet{}\n{}[ 0.5] pci 0000:00:01.0: Adding to iommu group 0\n"
    said = "[ 0.0] Warning: PCIe ACS overrides enabled; This may allow non-IOMMU protected peer-to-peer DMA\n"
    for words, warning, told in (
        ("", "", None),
        (" pcie_acs_override=downstream", "", "perhaps"),
        (" pcie_acs_override=downstream", said, "obeyed"),
        ("", said, "untold"),
    ):
        post.write_text(log.format(words, warning))
        lines = run("groups", "--host", post).out.splitlines()
        assert lines[0].startswith("Groups as this kernel formed them")
        assert lines[1].startswith("Override: ") is (told is not None)
        assert run("groups", "--json", "--host", post).json["override"] == told


def test_on_other_than_x86_a_function_without_a_driver_may_get_its_group_yet(run: Run, tmp_path: Path) -> None:
    command = "\tControl: I/O- Mem- BusMaster-\n\tStatus: Cap- >SERR- <PERR- INTx-\n"
    post = tmp_path / "post.txt"
    shown = "0000:00:00.0 Host bridge [0600]: X [{ids}]\n{command}\n0000:00:01.0 X [0880]: X [1def:e111]\n{command}"
    for ids, late in (("1def:e100", True), ("8086:1234", False)):
        post.write_text(f"{shown.format(ids=ids, command=command)}\tIOMMU group: 3\n\tKernel driver in use: x\n\n")
        words = " ".join(run("groups", "--host", post).out.split())
        assert ("In no group: 0000:00:00.0: no driver is bound, and before Linux 6.15" in words) is late
        assert ("no IOMMU serves them" in words) is not late
        explained = " ".join(run("explain", "00:00.0", "--host", post).out.split())
        assert ("is in no group, as far as the record tells: no driver is bound" in explained) is late


def test_groups_that_formed_before_acs_came_on_name_the_kernel(run: Run, tmp_path: Path) -> None:
    """A root port with ACS on, and in one group all the same with what stands beside it and with what is below."""
    status = "\tControl: I/O- Mem+ BusMaster+\n\tStatus: Cap{cap} >SERR- <PERR- INTx-\n\tIOMMU group: 0\n"
    acs = "SrcValid{0} TransBlk- ReqRedir{0} CmpltRedir{0} UpstreamFwd{0} EgressCtrl- DirectTrans-"
    text = (
        f"00:01.0 Host bridge [0600]: X [1022:14da]\n{status.format(cap='-')}\n"
        f"00:01.1 PCI bridge [0604]: X [1022:14db]\n{status.format(cap='+')}"
        "\tBus: primary=00, secondary=07, subordinate=07, sec-latency=0\n"
        "\tCapabilities: [58] Express (v2) Root Port (Slot+), MSI 00\n"
        "\tCapabilities: [2a0 v1] Access Control Services\n"
        f"\t\tACSCap:\t{acs.format('+')}\n\t\tACSCtl:\t{acs.format('+')}\n\n"
        f"07:00.0 VGA compatible controller [0300]: X [10de:2860]\n{status.format(cap='+')}"
        "\tCapabilities: [78] Express (v2) Legacy Endpoint, MSI 00\n\tCapabilities: [100 v1] Virtual Channel\n\n"
    )
    for kernel, told in (("6.12.78-x", True), ("7.0.1-x", False)):
        (tmp_path / "post.txt").write_text(f"Linux version {kernel} (x)\n{text}")
        out = run("groups", "--host", tmp_path / "post.txt").out
        assert "Not as predicted" in out
        assert ("Why: all as if ACS had come on after the groups formed" in out) is told
        doctor = " ".join(run("doctor", "--host", tmp_path / "post.txt").out.split())
        assert ("why: all as if ACS had come on after the groups formed" in doctor) is told
