"""How identifiers of machines show in texts: by their own form, or by the name that stands before them.

Sources of the names: udev's ``ID_SERIAL_SHORT``, ``ID_WWN`` (systemd rules ``60-persistent-storage.rules``); hwloc's
``info`` (``DMIBoardSerial``, ``NVIDIASerial``, ``NodeGUID``, ``HostName``); ``nvidia-smi -q`` (``GPU PDI``, ``GPU
Fabric GUID``); NCCL's ``host_hash`` and ``guid``; lspci's vital product data (PCI Local Bus Specification 3.0,
appendix I: ``SN``, ``V?``, ``Y?``); libvirt's ``node_device_udev.c``, which names devices by MAC address and serial
number.
"""

from __future__ import annotations

import re

__all__ = ["ATTRIBUTE", "FORMS", "HOST_NAMES", "KEYED", "NODE_NAME", "PROMPT", "TAG", "WHOLE_LINE"]

_END = r"(?![0-9A-Za-z])"
_START = r"(?<![0-9A-Za-z])"
_WWID = rf"{_START}3[2356][0-9A-Fa-f]{{15}}(?:[0-9A-Fa-f]{{16}})?{_END}"
"""What multipath calls a SCSI disk: 3 for the kind of identifier, then its NAA number (scsi_id(8))."""
_NVME = r"(?<=nvme\.)[0-9a-f]{4}-[0-9a-f]+-[0-9a-f]+-[0-9a-f]{8}"
"""What the kernel calls a namespace without number of its own: serial number and model (``wwid_show``)."""
_WWN = rf"(?:(?<=wwn-)|(?<=scsi-))0x[0-9A-Fa-f]{{16}}{_END}"
_IQN = rf"{_START}iqn\.[0-9]{{4}}-[0-9]{{2}}\.[^\s,;\"'<>]+"
"""iSCSI's names of hosts and targets (RFC 3720, 3.2.6.3.1)."""
_DISK = rf"{_IQN}|(?<=by-id/)[^\s,\"]+|{_START}(?:eui|naa)\.[0-9A-Fa-f]{{16,32}}|{_WWN}|{_WWID}|{_NVME}"
_GROUPS = r"[0-9A-Fa-f]{8}(?:[-_][0-9A-Fa-f]{4}){3}[-_][0-9A-Fa-f]{12}"
_UUID = rf"{_START}(?:{_GROUPS}|[0-9A-Fa-f]{{32}}){_END}"
_SHORT_UUID = r"(?<=UUID=)[0-9A-Fa-f][0-9A-Fa-f-]{3,}|(?<=UUID_ENC=)[0-9A-Fa-f][0-9A-Fa-f-]{3,}"
_SHORT_UUID += r"|(?<=uuid/)[0-9A-Fa-f][0-9A-Fa-f-]{3,}"
"""Of FAT, NTFS and MBR partitions."""
_PAIRS = (
    r"(?<![0-9A-Za-z:.-])[0-9A-Fa-f]{2}(?P<between>[:-])(?:[0-9A-Fa-f]{2}(?P=between)){4,18}[0-9A-Fa-f]{2}"
    r"(?![0-9A-Za-z:-])|(?<![0-9A-Za-z])[0-9a-f]{2}(?:_[0-9a-f]{2}){5}(?![0-9A-Za-z_])"
)
"""MAC addresses, EUI-64 and InfiniBand addresses; device serial numbers as lspci prints them; libvirt's names."""
_QUADS = (
    r"(?<![0-9A-Za-z:.-])[0-9A-Fa-f]{4}(?P<inside>[.-])[0-9A-Fa-f]{4}(?P=inside)[0-9A-Fa-f]{4}"
    r"(?![0-9A-Za-z:-]|\.[0-9A-Za-z])"
)
"""MAC addresses as switches print them (Cisco's ``0011.2233.4455``, Huawei's ``0011-2233-4455``)."""
_BARE = (
    r"(?<![0-9A-Za-z])(?i:mac|hw_?addr|ether|lladdr|mac[ _-]?addr(?:ess)?)[\"']?(?:\s*[:=]\s*|\s+)[\"']?"
    r"[0-9A-Fa-f]{12}(?![0-9A-Za-z])"
)
"""MAC addresses without anything between their digits, behind what tells that they are some."""
_INTERFACE = rf"{_START}(?:en|wl|ww|sl|ib)x[0-9a-f]{{12}}{_END}"
"""systemd's names of network interfaces that are made of their MAC address (systemd.net-naming-scheme(7))."""
_FROM_MAC = r"(?<=:)[0-9a-f]{1,4}:[0-9a-f]{0,2}ff:fe[0-9a-f]{2}:[0-9a-f]{1,4}(?![0-9A-Za-z:])"
"""The end of an IPv6 address that is made of a MAC address (RFC 4291, appendix A)."""
_GID = r"(?<![0-9A-Za-z:])fe80:0000:0000:0000(?::[0-9a-f]{4}){4}(?![0-9A-Za-z:])"
"""InfiniBand's addresses, made of a port's GUID."""
_USER = r"(?:(?<=/home/)|(?<=/run/media/)|(?<=/media/))[^/\s\\\"'`<>()\[\]{},;:|]+"
"""Users, by their homes and by where a desktop mounts their disks (udisks(8))."""
FORMS = "|".join(
    f"(?P<{name}>{form})"
    for name, form in (
        ("disk", _DISK),
        ("uuid", _UUID),
        ("short_uuid", _SHORT_UUID),
        ("interface", _INTERFACE),
        ("gid", _GID),
        ("pairs", _PAIRS),
        ("quads", _QUADS),
        ("bare", _BARE),
        ("user", _USER),
        ("from_mac", _FROM_MAC),
    )
)
"""One pattern with a named group for each form."""

_NAMES = (
    r"serial(?:[ _-]?(?:number|num|no\.?|short))?#?|(?:id_)?wwn(?:_with_extension|_vendor_extension)?|wwid|wwnn|wwpn"
    r"|[a-z_]{0,40}guid|pdi|asset[ _]?tag|host_hash|sas_addr(?:ess)?|unique[ _-]?id"
)
KEYED = re.compile(
    rf"""(?i)((?<![a-z])(?:{_NAMES})(?:["']?\s*(?:[:=]|\()\s*["']?)|(?<![a-z])serial(?:[ _-]?(?:number|no\.?))?\s+"""
    r"""(?=[A-Z0-9]*[0-9])|(?<![a-z])[a-z_]{0,40}(?:guid|wwn|wwnn|wwpn)\s+(?=(?:0x)?[0-9A-F]{16})|["']sn["']\s*:\s*["'])([^\s,;"'<>()\]}]+)"""
)
"""In a log or a document: ``Serial Number: VALUE`` anywhere in a line, ``"serial": "VALUE"``, ``serial VALUE``."""
_MARKED = r"serial|asset[ _]?tag|wwn|wwpn|guid|pdi|vendor_field|host_hash"
TAG = re.compile(rf"(?i)(<[^<>/]{{0,80}}(?:{_MARKED})[^<>/]{{0,80}}>)([^<>]{{1,200}})(</)")
ATTRIBUTE = re.compile(rf"""(?i)(\bname=["'][^"'<>]{{0,80}}(?:{_MARKED})[^"'<>]{{0,80}}["']\s+value=["'])([^"'<>]+)""")
"""``<info name="NVIDIASerial" value="VALUE"/>``."""
NODE_NAME = re.compile(r"((?<![0-9A-Za-z])block_[0-9a-z]+_)([0-9A-Za-z_]+)")
"""libvirt's name of a disk, which ends in its serial number."""
WHOLE_LINE = ("serial", "serial number", "asset tag", "pdi", "guid", "] vendor specific", "] system specific")
"""How names end whose value is all that follows a colon."""

_HOST = r"([0-9A-Za-z][0-9A-Za-z.-]{0,252})"
HOST_NAMES = re.compile(
    rf"^(?:[A-Z][a-z]{{2}} [ 0-9][0-9] [0-9:.]{{8,15}}|[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9:.,+Z-]{{8,30}}) {_HOST} "
    rf"(?:kernel|[0-9A-Za-z_.@-]+\[[0-9]+\]):|Hostname set to <{_HOST}>"
    rf"|^\[?[a-z_][0-9a-z_-]*@{_HOST}[: ][^\n]{{0,200}}[#$]"
    rf"|^Linux (?!version ){_HOST} [0-9]+\.[0-9]+\.[0-9]|(?i:\bname=[\"']HostName[\"']\s+value=[\"']{_HOST}[\"'])"
    rf"|(?i:\b(?:host[ _-]?name|node_?name)(?:[\"']?\s*[:=]\s*[\"']?|>){_HOST})",
    re.MULTILINE,
)
"""Where texts tell a host's name: syslog's and journalctl's lines, systemd, prompts, ``uname -a``, hwloc."""
PROMPT = re.compile(
    r"(?m)^(\[?)(?!root@)([a-z_][0-9a-z_-]{0,31})(?=@[0-9A-Za-z][0-9A-Za-z.-]{0,252}[: ][^\n]{0,200}[#$])"
)
"""The user before a shell's prompt."""
