"""What people print beside a listing: ``uname -a``, ``uname -r``, ``cat /proc/cmdline``.

What /etc/default/grub holds is not taken: it may be in force at the next boot, or never.
"""

from __future__ import annotations

from dataclasses import dataclass

from atoll.host.records.boot_log import NARROW, goes_on, release_of

__all__ = ["Printed"]

_LONGEST = 4096
_STARTS = ("BOOT_IMAGE=", "root=", "initrd=", "initrd ")
_WORDS = frozenset({"ro", "rw", "quiet", "splash"})


@dataclass(slots=True)
class Printed:
    """Takes lines one by one. Of several answers to one question the last counts."""

    release: str | None = None
    command_line: str | None = None
    _asked: str = ""
    """What the line before asked for."""
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
        asked, self._asked = self._asked, ""
        words = text.split()
        if words[0] == "Linux" and len(words) > 4 and words[3].startswith("#") and release_of(words[2]):
            self.release = words[2]
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


def _is_command_line(words: list[str]) -> bool:
    return any(word in _WORDS or word.startswith(_STARTS) or "iommu" in word for word in words)
