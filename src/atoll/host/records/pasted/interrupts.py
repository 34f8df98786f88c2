"""What ``/proc/interrupts`` in a text tells of interrupt remapping: chips that remap are called ``IR-…``.

Source: ``show_interrupts`` in kernel/irq/proc.c (a heading ``CPU0 CPU1 …``, then lines of a number, counts, a chip);
the names of chips as in ``atoll.host.interrupt_remapping``. NVIDIA's bug report has the whole file; people paste what
they looked for of it, or its first lines, which do not tell of the others: at the end of the file stand those that are
counted apart (``arch_show_interrupts``). Two listings may be of two boots or machines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["Interrupts"]

_COUNTED = re.compile(r"[A-Z]{2,4}:")
_NUMBER = re.compile(r"(?:\d{1,6}|[A-Z]{2,4}):")
"""What a line begins with: an interrupt's number, or what is counted apart (``NMI:``)."""


@dataclass(slots=True)
class Interrupts:
    """Takes lines one by one."""

    _chips: set[str] = field(default_factory=set)
    _plain: bool = False
    """Whether a function's interrupts go past the remapping; not an IOMMU of AMD's, which has interrupts of its own."""
    _counted: bool = False
    """Whether the listing has lines of what is counted apart."""
    _before: set[bool] = field(default_factory=set)
    """What listings before told."""
    _listing: bool = False
    """Whether the heading stands above, and nothing but such lines came since."""

    def take(self, line: str) -> bool:
        """Read a line; return whether it is one of the file."""
        words = line.split()
        if words and all(word.startswith("CPU") and word[3:].isdigit() for word in words):
            if (told := self._told()) is not None:
                self._before.add(told)
            self._listing = True
            self._chips, self._plain, self._counted = set(), False, False
            return True
        if not self._listing or not words or not _NUMBER.fullmatch(words[0]):
            self._listing = self._listing and not words
            return False
        chips = {word for word in words[1:] if word.startswith(("IR-", "IO-APIC", "PCI-MSI"))}
        self._chips |= chips
        self._counted = self._counted or _COUNTED.fullmatch(words[0]) is not None
        self._plain = self._plain or (any(chip.startswith("PCI-MSI") for chip in chips) and "AMD-Vi" not in line)
        return True

    @property
    def remapped(self) -> bool | None:
        """Whether interrupts are remapped; None where the lines do not tell it of all of them, or contradict."""
        told = self._all()
        return told.pop() if len(told) == 1 else None

    @property
    def contradict(self) -> bool:
        """Whether one listing tells that interrupts are remapped, and one that they are not."""
        return len(self._all()) > 1

    def _all(self) -> set[bool]:
        told = self._told()
        return set(self._before) if told is None else self._before | {told}

    def _told(self) -> bool | None:
        """Return what the last listing tells."""
        if not any(chip.startswith("IR-") for chip in self._chips):
            whole = any(chip.startswith("IO-APIC") for chip in self._chips)
            return False if whole else None
        whole = self._counted and any(chip.startswith("IR-IO-APIC") for chip in self._chips)
        return True if whole and not self._plain else None
