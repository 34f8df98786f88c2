"""What people print beside a listing: ``uname -a``, ``uname -r``, ``cat /proc/cmdline``, the types of groups.

Reports tell kernel and command line after a key: Ubuntu's (``Uname:``, ``ProcKernelCmdLine:``, of apport), Fedora's
(``kernel:``, ``cmdline:``, of abrt), Debian's (``Kernel: Linux 6.1.0-18-amd64 (SMP …``), inxi and its like (``Kernel:
6.6.10-arch1-1 arch: x86_64``).

Types of groups are those of ``grep . /sys/kernel/iommu_groups/*/type``, ``tail -n +1`` or ``cat`` of one such file.

What /etc/default/grub holds is not taken: it may be in force at the next boot, or never.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from atoll.host.model import Platform
from atoll.host.records.pasted.boot_log import NARROW, goes_on, release_of
from atoll.host.records.platform import platform_by_machine

__all__ = ["Printed"]

_LONGEST = 4096
_STARTS = ("BOOT_IMAGE=", "root=", "initrd=", "initrd ")
_WORDS = frozenset({"ro", "rw", "quiet", "splash"})
_KEYED_LINE = ("prockernelcmdline", "cmdline")
_KEYED_RELEASE = re.compile(
    r"(?:uname|kernel):\s+(?:(?:x86_64\s+)?linux\s+)?(\d+\.\d+[.-]\d\S*)"
    r"(?:\s+(?:arch: )?(x86_64|aarch64|ppc64le|riscv64|s390x|loongarch64)\b.*|\s+\(SMP .*)?",
    re.IGNORECASE,
)
_TYPE = r"(DMA|DMA-FQ|identity|blocked|unmanaged|unknown)"
_TYPE_TOLD = re.compile(rf"(?:\S*/)?(\d{{1,6}})/type:\s*{_TYPE}")
_TYPE_ASKED = re.compile(r"iommu_groups/(\d{1,6})/type\b")
_TYPE_ALONE = re.compile(_TYPE)


@dataclass(slots=True)
class Printed:
    """Takes lines one by one. Of several answers to one question the last counts."""

    release: str | None = None
    command_line: str | None = None
    platform: Platform | None = None
    """The platform by the name of the machine (``uname -m``): a ``ppc64le`` may be bare metal too."""
    types: dict[int, str] = field(default_factory=dict)
    """Types of groups by their numbers, as ``/sys/kernel/iommu_groups/N/type`` has them."""
    _asked: str = ""
    """What the line before asked for."""
    _group: int | None = None
    """The group whose type the line before asked for."""
    _wrapped: bool = False
    """Whether the line before is a command line that may go on."""

    def take(self, line: str) -> bool:
        """Read a line; return whether it is one of these answers."""
        text = line.strip()
        if self._wrapped and self.command_line is not None and goes_on(text):
            self.command_line = f"{self.command_line} {text}"[:_LONGEST]
            self._wrapped = len(text) >= NARROW
            return True
        self._wrapped = False
        if not text:
            return False
        if self._type(text):
            return True
        asked, self._asked = self._asked, ""
        words = text.split()
        if words[0] == "uname:" and len(words) > 1:
            # NVIDIA's bug report.
            words = words[1:]
        if words[0] == "Linux" and len(words) > 4 and words[3].startswith("#") and release_of(words[2]):
            self.release = words[2]
            self.platform = next(filter(None, map(platform_by_machine, words[4:])), None)
            return True
        if self._keyed(text):
            return True
        if text.startswith("BOOT_IMAGE=") or (asked == "command line" and _is_command_line(words)):
            self.command_line = text[:_LONGEST]
            self._wrapped = len(text) >= NARROW
            return True
        if asked == "release" and len(words) == 1 and release_of(text):
            self.release = text
            return True
        if "cat /proc/cmdline" in text:
            self._asked = "command line"
        elif text.endswith("uname -r"):
            self._asked = "release"
        return False

    def _keyed(self, text: str) -> bool:
        """Take what a report tells after a key."""
        key, found, rest = text.partition(":")
        if found and key.lower() in _KEYED_LINE and _is_command_line(rest.split()):
            self.command_line = rest.strip()[:_LONGEST]
            self._wrapped = len(text) >= NARROW
            return True
        told = _KEYED_RELEASE.fullmatch(text)
        if told is None or release_of(told[1]) is None:
            return False
        self.release = told[1]
        self.platform = platform_by_machine(told[2].lower()) if told[2] else self.platform
        return True

    def _type(self, text: str) -> bool:
        group, self._group = self._group, None
        if told := _TYPE_TOLD.fullmatch(text):
            self.types[int(told[1])] = told[2]
            return True
        if group is not None and _TYPE_ALONE.fullmatch(text):
            self.types[group] = text
            return True
        if asked := _TYPE_ASKED.findall(text):
            self._group = int(asked[0]) if len(asked) == 1 else None
        return False


def _is_command_line(words: list[str]) -> bool:
    return any(word in _WORDS or word.startswith(_STARTS) or "iommu" in word for word in words)
