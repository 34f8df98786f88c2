"""What identifies a machine or its owner, found and replaced in a capture.

Places that are known to hold identifiers are replaced by their form (device serial numbers in configuration space,
routes, mounts, boot parameters); everywhere else UUIDs, MAC addresses, disk identifiers, serial numbers beside their
names, and the host's name are looked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from atoll.errors import Unreadable
from atoll.host.capture.collector import Missing
from atoll.host.capture.identifiers import ATTRIBUTE, FORMS, HOST_NAMES, KEYED, NODE_NAME, PROMPT, TAG, WHOLE_LINE
from atoll.host.capture.replacement import Kind, Replacements
from atoll.host.ivrs import IVRS, aliases_alone
from atoll.host.place import address_of
from atoll.host.trees.memory import Entry, FileEntry, FolderEntry, LinkEntry, MemoryTree
from atoll.pci.capability import CapabilityId, ExtendedId, walk_extended
from atoll.pci.config import ConfigSpace

__all__ = ["Redactor"]


_STANDARD = 0x100
"""Where extended configuration space begins."""
_DUMP = re.compile(r"(?m)^[0-9a-f]{2,3}:(?: [0-9a-f]{2}){16}")
"""A line of ``lspci -xxxx``."""
_RDMA_DUMP = re.compile(r'"(?:config|vpd)"\s*:\s*"[0-9A-Za-z+/]{40}')
"""Bytes in a dump of ``rdma_topo``, in Base64: the serial numbers stand in them."""
_NO_NAME = frozenset({"localhost", "none", "unknown", "n", "null"})
_COMMAND_LINE = "ommand line: "
"""``Command line:`` and ``Kernel command line:`` in a kernel's log."""
_KFD = ("unique_id", "hive_id")
"""In the KFD topology of AMD's driver: a GPU's serial number, and one of its hive's members."""
_NONE = frozenset({"", "n/a", "[n/a]", "0", "none", "unknown", "<none>", "not specified"})
_ADDRESSES = ("ip", "nameserver", "nfsroot", "nfsaddrs", "netroot", "ifname", "bootdev", "vlan", "bond", "netconsole")
_NAMES = ("hostname", "systemd.hostname", "systemd.machine_id", "BOOTIF", "BOOT_IMAGE_HOST", "ds", "url", "inst.ks")
_PARAMETERS = frozenset((*_ADDRESSES, *_NAMES))
_PARAMETER_STARTS = (
    *("rd.iscsi", "iscsi_", "rd.nvmf", "rd.luks.key", "rd.zfcp", "rd.znet", "rd.route", "rd.peerdns"),
    *("systemd.set_credential", "systemd.setenv", "ignition.", "rootpw"),
)
_REMOTE_ROOT = ("nfs", "nbd", "iscsi", "fcoe", "virtiofs", "cifs")
"""Boot parameters that tell addresses, names and secrets (dracut.cmdline(7), Linux ``nfsroot.rst``)."""
_WORDS = re.compile(r'(?:[^ "]|"[^"]*"?)+| +')
_VERBATIM = frozenset({"proc/version", "proc/sys/kernel/osrelease"})
"""The host that built a kernel is the kernel's, not this machine's."""


class Redactor:
    """Finds identifiers and replaces them. ``replaced`` tells how many of which kind, ``missing`` what was left out."""

    def __init__(self, secret: bytes, *, host_name: str = "") -> None:
        self.replaced = Replacements(secret)
        self._names: dict[str, str] = {}
        self.missing: list[Missing] = []
        names = sorted({host_name, host_name.partition(".")[0]} - {"", "localhost"}, key=len, reverse=True)
        # LVM doubles dashes in the names that it makes for the device mapper.
        words = "|".join(re.escape(name).replace("\\-", "--?") for name in names)
        self.knows_host_name = bool(words)
        """Whether the host's name is known, so that it can be found."""
        # One pass: a replacement is never replaced again.
        self._forms = re.compile(FORMS)
        self._all = (
            re.compile(rf"{FORMS}|(?P<host>(?<![0-9A-Za-z])(?i:{words})(?![0-9A-Za-z]))") if words else self._forms
        )

    def tree(self, tree: MemoryTree) -> MemoryTree:
        """Return the tree with everything replaced: names of files, links, contents."""
        return MemoryTree(tree.name, self._folder(tree.root, ""))

    def text(self, text: str) -> str:
        """Return a text with every identifier replaced that shows by its form, and the host's name."""
        return self._all.sub(self._found, text)

    def _found(self, found: re.Match[str]) -> str:
        """Replace what one of the forms matched: the outermost group tells which."""
        whole = found[0]
        match found.lastgroup:
            case "disk":
                return self.replaced.word(Kind.DISK, whole, "disk")
            case "user":
                return self.replaced.word(Kind.USER, whole, "user")
            case "uuid" | "short_uuid":
                return self.replaced.hex(Kind.UUID, whole)
            case "interface":
                return whole[:3] + self.replaced.mac(whole[3:])
            case "from_mac":
                return self.replaced.hex(Kind.DEVICE_SERIAL, ":".join(part.zfill(4) for part in whole.split(":")))
            case "gid":
                return whole[:20] + self.replaced.hex(Kind.DEVICE_SERIAL, whole[20:])
            case "bare":
                return whole[:-12] + self.replaced.mac(whole[-12:])
            case "pairs" | "quads":
                return self.replaced.pairs(whole)
        return self._host(whole)

    def _host(self, name: str) -> str:
        return self.replaced.word(Kind.HOST_NAME, name.lower().replace("--", "-"), "host")

    # -- a tree

    def _folder(self, folder: FolderEntry, above: str) -> FolderEntry:
        found = FolderEntry()
        for name, entry in folder.items():
            kept = self._entry(entry, f"{above}{name}")
            if kept is not None:
                found[self._name(name, f"{above}{name}")] = kept
        return found

    def _name(self, name: str, path: str) -> str:
        """Replace in the name of a file. Those of sysfs are the kernel's, whatever the host is called."""
        if not path.startswith("sys/"):
            return self.text(name)
        if name not in self._names:
            self._names[name] = self._forms.sub(self._found, name)
        return self._names[name]

    def _entry(self, entry: Entry, path: str) -> Entry | None:
        if isinstance(entry, FolderEntry):
            return self._folder(entry, f"{path}/")
        if isinstance(entry, LinkEntry):
            return LinkEntry(self._name(entry.target, path))
        data = self._content(path, entry.data)
        return None if data is None else FileEntry(data)

    def _content(self, path: str, data: bytes) -> bytes | None:
        above, _, name = path.rpartition("/")
        if path in _VERBATIM or path.startswith(("proc/device-tree/", "sys/firmware/devicetree/")):
            # Of the device tree only properties without identifiers are captured.
            return data
        if name == "xgmi_device_id":
            # Of a GPU in a hive: the number that the maker gave it.
            return self._padded(data.decode("latin-1")).encode("latin-1")
        if path.startswith("sys/") and address_of(above.rpartition("/")[2]) is not None and name != "uevent":
            return self._config(path, data) if name == "config" else data
        if path == IVRS:
            try:
                return aliases_alone(data)
            except Unreadable as error:
                self.missing.append(Missing(path, f"left out: {error.message}"))
                return None
        if b"\0" in data:
            self.missing.append(Missing(path, "left out: it is not text and cannot be redacted"))
            return None
        text = data.decode("latin-1")
        if path.startswith("records/") and (_DUMP.search(text) or _RDMA_DUMP.search(text)):
            self.missing.append(Missing(path, "left out: bytes of configuration space in a text cannot be redacted"))
            return None
        if name == "xgmi_hive_id":
            return self._padded(text).encode("latin-1")
        if path.startswith("sys/") and not path.endswith(("/dm/name", "/properties")):
            return self._forms.sub(self._found, text).encode("latin-1")
        rule = _RULES.get(name, Redactor._plain) if path.startswith("proc/") or name == "cmdline" else Redactor._plain
        return rule(self, text).encode("latin-1")

    def _config(self, path: str, data: bytes) -> bytes:
        space = ConfigSpace(lambda offset, size: data[offset : offset + size])
        standing = _standing(space)
        vital = next((at for capability, at in standing if capability == CapabilityId.VITAL), None)
        # Its data register holds what was read last: four bytes, of a serial number perhaps. Past the list it has none.
        latched = b"" if vital is None else data[vital + 4 : min(vital + 8, _STANDARD)]
        if vital is not None and latched.strip(b"\0\xff"):
            if any(at == vital + 4 for _, at in standing):
                self.missing.append(Missing(path, "a serial number may be left in it: another capability lies over it"))
            else:
                self.replaced.count(Kind.SERIAL, latched.hex())
                data = data[: vital + 4] + bytes(len(latched)) + data[vital + 8 :]
        if len(data) <= _STANDARD:
            return data
        # Not only where the standard list leads to a PCI Express capability: that list can break off.
        walked = walk_extended(space.dword)
        if walked.broken and data[_STANDARD:].strip(b"\0\xff") and not walked.broken.startswith("extended conf"):
            self.missing.append(Missing(path, f"a serial number may be left in it: {walked.broken}"))
        for capability, offset in walked.entries:
            serial = data[offset + 4 : offset + 12]
            if capability == ExtendedId.SERIAL and len(serial) == 8 and serial.strip(b"\0") and serial.strip(b"\xff"):
                # The same number as lspci prints it, in a record, becomes the same as what lspci prints now.
                printed = self.replaced.digits(Kind.DEVICE_SERIAL, serial[::-1].hex())
                data = data[: offset + 4] + bytes.fromhex(printed)[::-1] + data[offset + 12 :]
        return data

    # -- files with a form

    def _plain(self, text: str) -> str:
        text = PROMPT.sub(lambda found: found[1] + self.replaced.word(Kind.USER, found[2], "user"), text)
        text = self._named_hosts(text)
        return self.text(self._tables("".join(map(self._line, text.splitlines(keepends=True)))))

    def _named_hosts(self, text: str) -> str:
        """Replace the names of hosts that a text tells itself, wherever they stand in it."""
        told = {name for found in HOST_NAMES.finditer(text) for name in found.groups() if name}
        names = {part for name in told for part in (name, name.partition(".")[0]) if part.lower() not in _NO_NAME}
        if not names:
            return text
        words = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        return re.sub(rf"(?<![0-9A-Za-z])(?i:{words})(?![0-9A-Za-z])", lambda found: self._host(found[0]), text)

    def _line(self, line: str) -> str:
        """Replace the value of ``… Serial Number : VALUE``, ``<serial>VALUE</serial>``, ``unique_id VALUE``."""
        for named in (TAG, ATTRIBUTE):
            line = named.sub(self._named, line)
        line = NODE_NAME.sub(self._named, line)
        key, colon, value = line.partition(":")
        if colon and key.strip().lower().endswith(WHOLE_LINE):
            return f"{key}:{self._padded(value)}"
        head, found, parameters = line.partition(_COMMAND_LINE)
        if found:
            return head + found + self._command_line(parameters)
        line = KEYED.sub(self._named, line)
        key, blank, value = line.partition(" ")
        return f"{key} {self._padded(value)}" if blank and key in _KFD else line

    def _named(self, found: re.Match[str]) -> str:
        """Replace the second group: what stands behind a name. A closing tag stays."""
        return found[1] + self._serial(found[2]) + "".join(found.groups()[2:])

    def _tables(self, text: str) -> str:
        """Replace the column ``serial`` of a table with commas."""
        lines = text.splitlines(keepends=True)
        head = [cell.strip().lower() for cell in lines[0].split(",")] if lines else []
        columns = [at for at, cell in enumerate(head) if "serial" in cell] if len(head) > 1 else []
        for at, line in enumerate(lines[1:] if columns else (), start=1):
            cells = line.split(",")
            if len(cells) == len(head):
                lines[at] = ",".join(self._padded(cell) if n in columns else cell for n, cell in enumerate(cells))
        return "".join(lines)

    def _padded(self, value: str) -> str:
        bare = value.strip()
        head, _, tail = value.partition(bare) if bare else (value, "", "")
        return head + self._serial(bare) + tail

    def _serial(self, value: str) -> str:
        bare = value.strip()
        if bare.lower() in _NONE or self._forms.fullmatch(bare):
            return value
        if bare.isdigit():
            return self.replaced.digits(Kind.SERIAL, bare)
        number = bare.removeprefix("0x")
        if number != bare and all(digit in "0123456789abcdefABCDEF" for digit in number):
            return f"0x{self.replaced.hex(Kind.DEVICE_SERIAL, number)}"
        return self.replaced.word(Kind.SERIAL, bare, "serial")

    def _command_line(self, text: str) -> str:
        # Blanks between quotes belong to a value (``next_arg`` in Linux lib/cmdline.c).
        return "".join(self._parameter(word) for word in _WORDS.findall(text))

    def _parameter(self, word: str) -> str:
        key, equals, value = word.partition("=")
        key, bare = key.removeprefix('"'), value.strip()
        told = key in _PARAMETERS or key.startswith(_PARAMETER_STARTS) or "://" in bare
        if equals and bare and (told or (key == "root" and bare.startswith(_REMOTE_ROOT))):
            return f"{key}={value.replace(bare, self.replaced.word(Kind.BOOT_PARAMETER, bare, 'value'))}"
        return self.text(word)

    def _mounts(self, text: str) -> str:
        """Keep the mounts of devices, without the options of their file systems."""
        kept = []
        for line in _lines(text):
            words = line.split(" ")
            dash = words.index("-", 6) if "-" in words[6:] else None
            if dash is None:
                device, kind, number = words[0], words[2] if len(words) > 2 else "", "0:0"
                words[3:4] = ["rw"]
            else:
                device, kind, number = (words[dash + 2 : dash + 3] or [""])[0], words[dash + 1], words[2]
                words[dash + 3 :] = ["rw"]
            if device.startswith("/dev/") or kind == "zfs" or not number.startswith("0:"):
                kept.append(self.text(" ".join(words)))
            else:
                self.replaced.count(Kind.MOUNT, line)
        return "".join(f"{line}\n" for line in kept)

    def _routes(self, text: str) -> str:
        """Keep the head and the default routes, without the gateways."""
        lines = _lines(text)
        kept = lines[:1]
        for line in lines[1:]:
            words = line.split("\t")
            if len(words) > 7 and words[1].strip() == words[7].strip() == "00000000":
                words[2] = self.replaced.ip(words[2])
                kept.append(self.text("\t".join(words)))
            else:
                self.replaced.count(Kind.IP, line)
        return "".join(f"{line}\n" for line in kept)

    def _routes_6(self, text: str) -> str:
        kept = []
        for line in _lines(text):
            words = line.split()
            if len(words) >= 10 and words[0] == "0" * 32 and words[1] == "00":
                words[2], words[4] = self.replaced.ip(words[2]), self.replaced.ip(words[4])
                words[9] = self.text(words[9])
                kept.append(" ".join(words))
            else:
                self.replaced.count(Kind.IP, line)
        return "".join(f"{line}\n" for line in kept)


def _standing(space: ConfigSpace) -> tuple[tuple[int, int], ...]:
    """The standard capabilities and where they stand, as far as the list can be walked."""
    try:
        return space.standard.entries
    except Unreadable:
        return ()


def _lines(text: str) -> list[str]:
    """Lines of bytes read as Latin-1: half of a letter is no end of a line, as ``splitlines`` would have it."""
    return text.removesuffix("\n").split("\n") if text else []


_RULES: dict[str, Callable[[Redactor, str], str]] = {
    "cmdline": Redactor._command_line,
    "mountinfo": Redactor._mounts,
    "mounts": Redactor._mounts,
    "route": Redactor._routes,
    "ipv6_route": Redactor._routes_6,
}
