"""Redaction of records that are no files of a kernel: logs, tables, lists and documents that programs print."""

from __future__ import annotations

import json

import pytest

from atoll.host.capture.redaction import Redactor
from atoll.host.trees.memory import FileEntry, MemoryTree


def test_a_kernel_log_among_the_records_keeps_no_identifier() -> None:
    """Serial numbers stand behind a driver's name there, and the command line behind a heading."""
    serial = "S3EVNX0J802345Z"
    lines = (
        "[    0.1] Command line: root=/dev/sda1 ip=10.1.2.3::10.1.2.1 quiet",
        "[    0.2] Kernel command line: root=/dev/sda1 ip=10.1.2.3::10.1.2.1 quiet",
        f"[    3.0] nvme nvme0: serial {serial}",
        f"[    5.0] scsi 0:0:0:0: Serial Number: {serial}",
        f"[    6.0] usb 1-1: SerialNumber: {serial}",
        f'{{"name": "x", "serial": "{serial}"}}',
        "[    7.0] serial8250: ttyS0 at I/O 0x3f8",
    )
    tree = MemoryTree("log")
    tree.add("records/dmesg.txt", FileEntry("\n".join(lines).encode()))
    tree.add("records/cmdline", FileEntry(b"ip=10.1.2.3 quiet\n"))
    found = Redactor(b"secret").tree(tree)
    text = found.read("records/dmesg.txt").decode()
    assert serial not in text
    assert "10.1.2" not in text
    assert text.count("root=/dev/sda1") == text.count("quiet") == 2
    assert lines[-1] in text
    assert len({line.rpartition(" ")[2] for line in text.splitlines()[2:5]}) == 1
    assert b"10.1.2" not in found.read("records/cmdline")


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("E: ID_SERIAL_SHORT=S4EWNX0M123456", "S4EWNX0M123456"),
        ("E: ID_WWN=0x5000c500a1b2c3d4", "5000c500a1b2c3d4"),
        ("E: ID_WWN=eui.002538b571b2c3d4", "002538b571b2c3d4"),
        ("E: ID_FS_UUID_ENC=ABCD-1234", "ABCD-1234"),
        ("nvme.144d-533445574e58-53616d73-00000001", "533445574e58"),
        ("[ 1.0] scsi 0:0:0:0: SATA: sas_addr(0x5000c500a1b2c3d4)", "5000c500a1b2c3d4"),
        ('<info name="NVIDIASerial" value="0324217041387"/>', "0324217041387"),
        ('<info name="DMIChassisAssetTag" value="RACK-7-ADA"/>', "RACK-7-ADA"),
        ('<info name="NodeGUID" value="506b:4b03:00f3:b0a2"/>', "4b03:00f3"),
        ("gid fe80:0000:0000:0000:506b:4b03:00f3:b0a2", "4b03:00f3"),
        ("    GPU PDI                     : 0x9ae8eb2e3f5b3b2e", "9ae8eb2e3f5b3b2e"),
        ("<gpu_fabric_guid>0x4af2ebd1a3deb1a5</gpu_fabric_guid>", "4af2ebd1a3deb1a5"),
        ('<cpu numaid="0" host_hash="0x5c1b2c77e01f23aa">', "5c1b2c77e01f23aa"),
        ("\t\t\t[V1] Vendor specific: 00259012abcd", "00259012abcd"),
        ("\t\t\t[YA] Asset tag: RACK 7 ADA", "7 ADA"),
        ("<name>net_enp1s0_a4_bf_01_5d_22_9c</name>", "01_5d_22_9c"),
        ("<name>block_sda_SAMSUNG_MZ7_S4EWNX0M123456</name>", "S4EWNX0M123456"),
        ("Nov 27 16:26:13 bigbox7 kernel: pci 0000:00:01.0: Adding to iommu group 1", "bigbox7"),
        ("2026-11-27T16:26:13+0000 bigbox7 kernel: pci 0000:00:01.0: x\nbigbox7 again", "bigbox7"),
        ("[    5.1] systemd[1]: Hostname set to <bigbox7>.", "bigbox7"),
        ("[ada@bigbox7 ~]$ lspci -vvv", "bigbox7"),
        ("Linux bigbox7 6.12.1 #1 SMP x86_64 GNU/Linux", "bigbox7"),
        ('<info name="HostName" value="bigbox7"/>', "bigbox7"),
        ("Host Name                  : bigbox7", "bigbox7"),
        ("Nodename: bigbox7", "bigbox7"),
        ("Eth1/7  a4bf.015d.229c  dynamic", "a4bf.015d.229c"),
        ("foo=A4BF.015D.229C quiet", "A4BF.015D.229C"),
        ("Peer a4bf-015d-229c", "a4bf-015d-229c"),
        ("mac a4bf015d229c up", "a4bf015d229c"),
        ("MAC Address: A4BF015D229C", "A4BF015D229C"),
        ("node GUID 0x506b4b0300c8f0aa", "506b4b0300c8f0aa"),
        ("|  0   4242  C  /home/lovelace/venv/bin/python3  1024MiB |", "lovelace"),
        ("<process_name>/home/lovelace/run</process_name>", "lovelace"),
        ("/dev/sdb1 on /run/media/lovelace/STICK type vfat", "lovelace"),
        ("[lovelace@bigbox7 ~]$ lspci -vvv", "lovelace"),
        ("lovelace@bigbox7:~$ lspci -vvv", "lovelace"),
        ("inet6 fe80::a6bf:1ff:fe5d:229c/64 scope link", "a6bf:1ff:fe5d:229c"),
        ("InitiatorName=iqn.1993-08.org.debian:01:abcdef123456", "abcdef123456"),
        ("GPU[0]\t\t: Unique ID: 0x18f68e602b8a790e", "18f68e602b8a790e"),
    ],
)
def test_a_record_keeps_no_identifier(text: str, secret: str) -> None:
    """The name of the host is what records tell themselves: where a record is redacted elsewhere, nobody else knows."""
    tree = MemoryTree("records")
    tree.add("records/a.txt", FileEntry(f"first\n{text}\nlast\n".encode()))
    found = Redactor(b"secret").tree(tree).read("records/a.txt").decode()
    assert secret not in found
    assert found.startswith("first\n")
    assert found.endswith("\nlast\n")
    assert Redactor(b"other").tree(tree).read("records/a.txt").decode() != found


@pytest.mark.parametrize(
    "text",
    [
        "[ 0.0] BIOS-e820: [mem 0x0000000100000000-0x000000207fffffff] usable",
        "[ 0.1] Linux version 6.12.1 (builder@machine) #1 SMP",
        "vfio-pci.ids=10de:1db1:10de:1212 pci_0000_00_1f_6",
        "\t\tRegion 0: Memory at 38fff0000000 (64-bit, prefetchable) [size=16M]",
        '{"serial": 0}',
        "0000:ff:fe.1 10de:1ff:fe00 2001:db8::1ff:2 ::ff:fe00",
        "root@localhost:~# lspci; see /home and /media/ of a user@example.org",
        "ids 10de:1db1:10de vfio-pci.ids=8086:1901:1043 5501.2026.1127.1 1.2026.1127.1200 mac 0 ether abcdefabcdef0",
    ],
)
def test_what_identifies_nobody_stays(text: str) -> None:
    tree = MemoryTree("records")
    tree.add("records/a.txt", FileEntry(text.encode()))
    assert Redactor(b"secret").tree(tree).read("records/a.txt").decode() == text


def test_numbers_in_a_document_stay_numbers() -> None:
    tree = MemoryTree("records")
    tree.add("records/a.json", FileEntry(b'[{"serial": 1234567}]'))
    found = Redactor(b"secret").tree(tree).read("records/a.json")
    assert json.loads(found)[0]["serial"] != 1234567
