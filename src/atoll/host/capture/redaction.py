"""What identifies a machine or its owner, found and replaced in a capture.

Places that are known to hold identifiers are replaced by their form (device serial numbers in configuration space,
routes, mounts, boot parameters); everywhere else UUIDs, MAC addresses, disk identifiers, serial numbers beside their
names, and the host's name are looked for.
"""

from __future__ import annotations

import re

from atoll.errors import Unreadable
from atoll.host.capture.collector import Missing
from atoll.host.capture.config_serials import redact_config
from atoll.host.capture.proc_files import RULES
from atoll.host.capture.text_redaction import TextRedactor
from atoll.host.ivrs import IVRS, aliases_alone
from atoll.host.place import address_of
from atoll.host.trees.memory import Entry, FileEntry, FolderEntry, LinkEntry, MemoryTree

__all__ = ["Redactor"]

_DUMP = re.compile(r"(?m)^[0-9a-f]{2,3}:(?: [0-9a-f]{2}){16}")
"""A line of ``lspci -xxxx``."""
_RDMA_DUMP = re.compile(r'"(?:config|vpd)"\s*:\s*"[0-9A-Za-z+/]{40}')
"""Bytes in a dump of ``rdma_topo``, in Base64: the serial numbers stand in them."""
_VERBATIM = frozenset({"proc/version", "proc/sys/kernel/osrelease"})
"""The host that built a kernel is the kernel's, not this machine's."""


class Redactor(TextRedactor):
    """Finds identifiers in a whole capture too. ``missing`` tells what was left out of it."""

    def __init__(self, secret: bytes, *, host_name: str = "") -> None:
        super().__init__(secret, host_name=host_name)
        self.missing: list[Missing] = []
        self._names: dict[str, str] = {}

    def tree(self, tree: MemoryTree) -> MemoryTree:
        """Return the tree with everything replaced: names of files, links, contents."""
        return MemoryTree(tree.name, self._folder(tree.root, ""))

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
            self._names[name] = self.forms(name)
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
            return self.padded(data.decode("latin-1")).encode("latin-1")
        if path.startswith("sys/") and address_of(above.rpartition("/")[2]) is not None and name != "uevent":
            return redact_config(path, data, self.replaced, self.missing) if name == "config" else data
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
            return self.padded(text).encode("latin-1")
        if path.startswith("sys/") and not path.endswith(("/dm/name", "/properties")):
            return self.forms(text).encode("latin-1")
        rule = RULES.get(name) if path.startswith("proc/") or name == "cmdline" else None
        return (self.record(text) if rule is None else rule(text, self)).encode("latin-1")
