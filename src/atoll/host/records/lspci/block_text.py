"""What a function's block of lspci text shows at all, and why it does not show the rest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from atoll.host.fact import Unknown
from atoll.host.records.lspci.block import Block, Capability
from atoll.host.records.lspci.heading import parse_heading
from atoll.pci.class_code import BaseClass
from atoll.pci.config import NO_ANSWER

__all__ = ["SHALLOW", "BlockText", "Habits", "group_of", "habits", "numa_of", "number_in", "why_unread"]

CUT = "the text ends in the middle of the function: give the whole output of lspci -vvv"
LEFT_OUT = "lines of the function seem to be left out: give the whole output of lspci -vvv"
SHALLOW = "the text shows neither Control: nor Flags: of it: add the output of lspci -vvv, run as root"
_DENIED = ("access denied", "available only to root")
"""What newer and older releases print in place of capabilities that only root may read."""
_REGIONS = ("Memory at ", "I/O ports at ", "Region ", "[virtual] ", "[enhanced] ", "Expansion ROM ")
_CAPABILITIES = (
    *("Express ", "PCI Advanced Features", "Enhanced Allocation", "Flattening Portal Bridge"),
    *("Access Control Services", "Address Translation Service", "Process Address Space ID", "Page Request Interface"),
    *("Single Root I/O Virtualization", "Multicast", "Designated Vendor-Specific", "CXL Designated Vendor-Specific"),
    "Alternative Routing-ID Interpretation",
)
"""Names that ``ls-caps.c`` and ``ls-ecaps.c`` print, of capabilities without which a function is another one."""
_SPARSE = "the text shows the function's first line only: add the output of lspci -vvv, run as root"


@dataclass(frozen=True, slots=True)
class Habits:
    """What this text prints somewhere, so that a function without it has none."""

    driver: bool = False
    numa: bool = False
    group: bool = False
    extended: bool = False
    """Whether any function shows an extended capability: without, the text may be of 256-byte spaces."""


def habits(blocks: list[Block]) -> Habits:
    """Return what these functions' texts print."""
    return Habits(
        driver=any(block.find("Kernel driver in use:") is not None for block in blocks),
        numa=any(numa_of(block) is not None for block in blocks),
        group=any(group_of(block) is not None for block in blocks),
        extended=any((c.offset or 0) >= 0x100 for block in blocks for c in block.capabilities),
    )


def why_unread(block: Block) -> str:
    """Return why the details tell nothing; empty where they do."""
    if any(d.text.startswith("!!! Unknown header type 7f") for d in block.details):
        return NO_ANSWER
    if not block.capabilities and block.find("Flags:") is None and "(rev ff)" in block.heading:
        # Ids and class are from files of the kernel's, the revision from the function itself.
        return NO_ANSWER
    if not block.details and not block.capabilities:
        return _SPARSE
    status = block.find("Status:")
    if status is not None and "PERR" not in status and "INTx" not in status:
        # Mailers take a wrapped line that begins with >SERR- for a quotation and drop it with what follows.
        return "what the text says of the function is cut off"
    if not block.capabilities and block.find("Flags:") is None and block.find("Control:") is None:
        # lspci -k alone prints the subsystem and the driver.
        return SHALLOW
    return ""


def group_of(block: Block) -> int | None:
    """The first IOMMU group that it names; None where it names none."""
    return next(iter(groups_of(block)), None)


def groups_of(block: Block) -> tuple[int, ...]:
    """The groups that it names: more than one where somebody put together what is of two functions."""
    texts = [detail.text for part in (block.details, block.after) for detail in part]
    # lspci -v puts it among the flags.
    flags = (
        text.rpartition("IOMMU group ")[2] for text in texts if text.startswith("Flags:") and "IOMMU group " in text
    )
    told = (text.removeprefix("IOMMU group:") for text in texts if text.startswith("IOMMU group:"))
    return tuple(dict.fromkeys(number for text in (*told, *flags) if (number := number_in(text)) is not None))


def numa_of(block: Block) -> int | None:
    """The NUMA node, of a line of its own or, with lspci -v, among the flags; None where it names none."""
    found = block.find("NUMA node:")
    if found is None:
        flags = block.find("Flags:") or ""
        found = flags.rpartition("NUMA node ")[2] if "NUMA node " in flags else ""
    return number_in(found.partition(",")[0])


def number_in(text: str) -> int | None:
    """The decimal number that a text begins with; None where it begins with something else."""
    word = (text.split() or [""])[0].rstrip(",")
    return int(word) if word.isascii() and word.isdigit() and len(word) < 9 else None


def _is_cut(capability: Capability) -> bool:
    """Whether of a capability's line only the beginning is there, so that it may be one that changes what is told."""
    name = capability.name
    return not name or name.startswith("[") or any(told.startswith(name) and told != name for told in _CAPABILITIES)


class BlockText:
    """One function's block. The classes that derive from it answer one question about it at a time."""

    def __init__(
        self, block: Block, source: str, unread: str, *, vendor: int | None, device: int | None, custom: Habits
    ) -> None:
        self._block = block
        self._source = source
        self._text = source.rpartition(" line ")[0]
        self._unread = unread
        self._ids = vendor, device
        self._custom = custom
        self._denied = any(word in c.name for c in block.capabilities for word in _DENIED)
        self._broken = any(
            word in c.name for c in block.capabilities for word in ("<chain", "<unreadable", "looped", "broken>")
        )

    @cached_property
    def _partial(self) -> str:
        """Why the text may not show all of the function; empty where it does."""
        if self._block.cut:
            return CUT
        return LEFT_OUT if self._block.shortened or self._headless or self._picked else ""

    @cached_property
    def _picked(self) -> bool:
        """Whether somebody picked lines out of a longer text: what lspci prints of any function is not there.

        ``show_verbose`` prints Flags: with -v, Control: and Status: with -vv, and ``cap_express`` DevCap: then.
        """
        block = self._block
        if block.find("Flags:") is not None:
            return False
        control, status = (block.find(word) is not None for word in ("Control:", "Status:"))
        if control != status or not block.capabilities:
            return control != status
        express = self._express()
        return not control or (express is not None and express.find("DevCap:") is None)

    @cached_property
    def _headless(self) -> bool:
        """Whether the text shows no region, no capability and no driver of a function that is no bridge's.

        lspci -v does not say whether it has any. There are such devices, and more posts that leave the rest out.
        """
        block = self._block
        if block.capabilities or block.after or block.find("Flags:") is None:
            return False
        if any(detail.text.startswith(_REGIONS) for detail in block.details):
            return False
        code = parse_heading(block.heading).class_code
        return code is None or code >> 16 != BaseClass.BRIDGE

    @cached_property
    def _early(self) -> str:
        """Why the text may not show all that comes before the capabilities; empty where it does."""
        block = self._block
        if block.cut and not block.capabilities:
            return CUT
        return LEFT_OUT if block.shortened_early or self._headless or self._picked else ""

    @cached_property
    def _no_list(self) -> Unknown | None:
        """Why the list of capabilities is not told; None where it is."""
        if self._unread:
            return Unknown(f"{self._text}: {self._unread}")
        if self._denied:
            return Unknown(f"{self._text}: capabilities shown as <access denied>: run lspci as root")
        if self._partial:
            return Unknown(f"{self._text}: {self._partial}")
        if any(map(_is_cut, self._block.capabilities)):
            return Unknown(f"{self._text}: a line of its capabilities is cut: give the whole output of lspci -vvv")
        if self._broken:
            return Unknown(f"{self._text}: lspci could not follow the list of capabilities")
        status = self._block.find("Status:") or ""
        if not self._block.capabilities and "Cap+" in status.split():
            return Unknown(f"{self._text}: it has capabilities (Cap+), but the text shows none")
        return None

    def _find(self, *names: str) -> Capability | None:
        return next((c for c in self._block.capabilities if c.name.startswith(names)), None)

    def _express(self) -> Capability | None:
        return self._find("Express ")
