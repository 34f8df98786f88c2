"""What ``explain`` says of what people paste."""

from __future__ import annotations

import lzma
from pathlib import Path

from running import MACHINES, Run


def test_explain_names_the_port_that_spoils_the_group(run: Run, paste: Path) -> None:
    ran = run("explain", "03:00.0", "--host", paste / "lspci.txt", "--host", paste / "groups.txt")
    assert ran.code == 0
    words = " ".join(ran.out.split())
    assert words.startswith("0000:03:00.0 shares group 1 only with 0000:03:00.1, of the same device")
    assert "0000:00:01.0 (root-port) has no ACS capability: hardware" in words
    assert words.endswith("What would settle or change that: atoll explain 0000:03:00.0 0000:00:12.0"), "no completions"


def test_explain_names_a_better_slot(run: Run, tmp_path: Path) -> None:
    text = MACHINES / "msi-b550-tomahawk-navi10" / "lspci.txt.xz"
    (tmp_path / "lspci.txt").write_bytes(lzma.decompress(text.read_bytes()))
    out = " ".join(run("explain", "2a:00.0", "--host", tmp_path / "lspci.txt").out.split())
    assert out.startswith("0000:2a:00.0 shares group 15 with 4 functions of other devices because 0000:02:00.2")
    assert "another slot for the card (0000:2a:00.0), now below 0000:03:09.0; predicted alone below:" in out
    assert "no path to 0000:00:00.0 0000:00:00.2" in out, "they have no address: no mapping leads there"
    assert "only through the IOMMU's mappings" not in out
    assert "may reach memory that is not mapped for it root complex of pci0000:00 untranslated request" in out


def test_what_may_be_is_not_told_as_what_is(run: Run, tmp_path: Path) -> None:
    """A list of groups shows no register: nothing that it shows is reached for sure."""
    (tmp_path / "list").write_text("IOMMU Group 1 01:00.0 VGA: X\nIOMMU Group 2 02:00.0 Ethernet controller: Y\n")
    out = run("explain", "01:00.0", "--host", tmp_path / "list").out
    assert "    may be reached by 0000:02:00.0\n" in out
    assert "its root complex  untranslated request" in out
    assert "pci0000:01" not in out, "nothing shows a root bus of that number"
    assert "    reached by" not in out


def test_what_all_slots_rest_on_is_told_once(run: Run, tmp_path: Path) -> None:
    def function(address: str, name: str, kind: str, bus: int = 0) -> str:
        below = f"\tBus: primary=00, secondary={bus:02x}, subordinate={bus:02x}, sec-latency=0\n" if bus else ""
        control = (
            "\tControl: I/O+ Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx+\n"
        )
        status = (
            "\tStatus: Cap+ 66MHz- UDF- FastB2B- ParErr- DEVSEL=fast >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-\n"
        )
        caps = f"\tCapabilities: [40] Express (v2) {kind}\n\t\tDevCap:\tMaxPayload 512 bytes\n\t\t\tExtTag+ RBE+\n"
        last = "\tCapabilities: [100 v2] Advanced Error Reporting\n\t\tUESta:\tDLP- SDES- TLP-\n"
        return f"{address} {name}\n{control}{status}{below}{caps}{last}"

    ports = {"00:01.0": "0151", "00:01.1": "0155", "00:1c.0": "1e10", "00:1c.3": "1e16", "00:1c.4": "1e18"}
    text = [function("00:00.0", "Host bridge [0600]: Intel [8086:0150]", "Root Port (Slot-), MSI 00")]
    for bus, (address, device) in enumerate(ports.items(), start=1):
        name = f"PCI bridge [0604]: Intel [8086:{device}] (prog-if 00 [Normal decode])"
        text.append(function(address, name, "Root Port (Slot+), MSI 00", bus))
    text.append(function("01:00.0", "Display [0300]: NVIDIA [10de:1380]", "Legacy Endpoint, MSI 00"))
    text.append(function("02:00.0", "SAS controller [0107]: LSI [1000:0072]", "Endpoint, MSI 00"))
    (tmp_path / "lspci.txt").write_text("\n".join(text))
    out = " ".join(run("explain", "01:00.0", "--host", tmp_path / "lspci.txt").out.split())
    slots = out.partition("predicted alone below:")[2].partition("the groups rest on")[0]
    assert slots.startswith(" 0000:00:1c.0 (empty) 0000:00:1c.3 (empty) 0000:00:1c.4 (empty) resting on: "), slots
    assert slots.count("RCBA") == 1


def test_what_only_a_log_of_groups_names_is_explained_as_far_as_it_goes(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    groups = (("00:01.0", 7), ("01:00.0", 7), ("01:00.1", 7), ("02:00.0", 8))
    log.write_text("".join(f"[ 0.4] pci 0000:{a}: Adding to iommu group {g}\n" for a, g in groups))
    one = run("explain", "01:00.0", "--host", log)
    said = " ".join(one.out.split())
    assert one.code == 0
    assert "0000:01:00.0 shares group 7, as far as the record shows, with 1 function of other devices" in said
    assert "+ 0000:01:00.1 class unknown: ids unknown + 0000:00:01.0" in said
    assert "all of these, but for ports, go to one guest" in said
    assert "give lspci -nnvvv, run as root, beside it" in said
    assert "may reach 0000:00:01.0 0000:01:00.1 0000:02:00.0" in said
    found = run("explain", "02:00", "--host", log, "--json").json
    assert (found["group"], found["companions"], found["grouping"]["recorded"]) == (8, [], True)
    assert {n["there"]["answer"] for n in found["neighbours"]} == {"possible"}
    both = run("explain", "01:00.0", "01:00.1", "--host", log)
    assert both.out.startswith("0000:01:00.0 and 0000:01:00.1 share group 7 and may reach one another.")
    apart = run("explain", "01:00.0", "02:00.0", "--host", log, "--json").json
    assert (apart["groups"], apart["same_group"]) == ([7, 8], False)
    assert run("explain", "03:00.0", "--host", log).code == 2
    lspci = tmp_path / "lspci.txt"
    lspci.write_text("01:00.0 VGA compatible controller [0300]: X [10de:1b80]\n")
    named = ("--host", log, "--host", lspci)
    beside = run("explain", "01:00.1", "01:00.0", *named)
    assert beside.out.startswith("0000:01:00.1 and 0000:01:00.0 share group 7 and may reach one another.")


def test_a_group_of_which_lines_were_left_out_is_not_called_whole(run: Run, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("IOMMU Group 1:\n\t01:00.0 VGA compatible controller [0300]: X [10de:1b80]\n\t[...]\n")
    said = " ".join(run("explain", "01:00.0", "--host", listed).out.split())
    assert said.startswith("0000:01:00.0 is in group 1, as far as the record shows, and so is what of its list")
