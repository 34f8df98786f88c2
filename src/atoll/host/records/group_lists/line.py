"""One line of a list of IOMMU groups: the heading of a group, or a function after marks, a number or other columns."""

from __future__ import annotations

import re

from atoll.host.records.lspci.heading import ids_in_brackets
from atoll.host.records.lspci.slot import address_in, function_in
from atoll.pci.address import Address

__all__ = [
    "FURTHEST",
    "function_further_on",
    "functions_in_row",
    "group_heading",
    "is_detail",
    "is_group_number",
    "lines_to_come",
    "linked_function",
    "marked_function",
    "numbered_function",
    "numbered_members",
]

FURTHEST = 6
"""Words among which a line has its address."""
_MARKS = frozenset({"r", "reset", "dev", "device", "pci", "*", "x"})
_MOST_MARKS = 5
"""Words of a script's own before an address."""
_TRANSLATED = ("gruppe", "groupe", "grupo", "gruppo", "groep", "grupa", "групп", "组", "組", "グループ", "그룹")
_ALONE = re.compile(r"(?:gruppe|groupe|grupo|gruppo|groep|grupa|группа|组|組)\s*\d{1,6}\s*:", re.IGNORECASE)
"""A heading that leaves the IOMMU out."""
_DETAIL = re.compile(r":\s*\d{1,6}\s*$")
_MOST_WRAPPED = 3
"""Lines over which a mailer spreads a name."""
_MOST_TRANSLATED = 3
"""Words of a heading in another language."""
_BEFORE = "#*=-+`> \t"
_NO_CLASS = ":->=("
_GROUP = re.compile(r"^(?:iommu[_-]?group|iommu group|group|grp)\s*=\s*(\d)|^iommugroup\s+(?=\d)", re.IGNORECASE)
_IN_BRACKETS = re.compile(
    r"[#*=\-+`> \t]*\[?iommu(?:[_ -]?(?:group|grp))?[ :#]*(\d{1,6})(?:\]:?|:)?\s+(.*)", re.IGNORECASE
)
"""``[IOMMU 1] 00:01.0 PCI bridge [0604]: …``, ``IOMMU 1: 00:01.0 …``: before a function it is a group's number."""
_JOINTS = re.compile(r"[,;&+]")
_JOINING = frozenset({",", "and", "und", "et", "y", "e", "-"})
"""Between functions of one line."""
_TOLD_OF = frozenset({"is", "isn't", "was", "has", "had", "moved", "moves", "went", "goes", "belongs", "sits"})
"""Words behind a function that say something of it alone: that it is elsewhere, perhaps."""
_MOST_WORDS = 512
_AROUND = "[](){}<>:'\"`*|"
"""What stands around an address."""
_SEVERAL = re.compile(
    r"((?:[\da-f]{4,8}:)?[\da-f]{2}:[01][\da-f]\.)(?:\[?([0-7])\s?[-–]\.?([0-7])\]?|([0-7](?:/\.?[0-7])+))",
    re.IGNORECASE,
)
"""Functions of one device in short: ``01:00.0-3``, ``01:00.[0-3]``, ``01:00.0/1``."""
_UNREAD = re.compile(r"(?:[\da-f]{4,8}:)?[\da-f]{2}:[01][\da-f]\.\S", re.IGNORECASE)
_DETAILS = frozenset(
    {
        *("subsystem", "kernel driver in use", "kernel modules", "physical slot", "devicename"),
        *("parent", "parent bridge", "parent device", "upstream", "upstream port", "upstream bridge", "root port"),
        *("physical function", "physfn", "path", "pcie path"),
    }
)
"""What lspci and scripts print of a function below it, and may hold an address."""


def group_heading(text: str) -> tuple[int | None, str]:
    """Split ``IOMMU Group 1:  …`` into the number and the rest; None where a line begins otherwise.

    ``IOMMU group: 1`` with the colon before the number is lspci's, and belongs to the function above it;
    ``IOMMU Group: 1`` is no lspci's.
    """
    lowered = text.lower()
    short = _IN_BRACKETS.match(text) if "iommu" in lowered else None
    if short is not None and marked_function(short[2])[0] is not None:
        return int(short[1]), short[2]
    if any(word in lowered for word in _TRANSLATED) and ("iommu" in lowered or _ALONE.fullmatch(text.strip(_BEFORE))):
        return _translated(text)
    if "group" not in lowered and "grp" not in lowered:
        return None, ""
    if text.startswith("IOMMU Group: ") and is_group_number(text.removeprefix("IOMMU Group: ")):
        return int(text.removeprefix("IOMMU Group: ")), ""
    words = _GROUP.sub(lambda found: f"group {found[1] or ''}", text.lstrip(_BEFORE), count=1).split(None, 2)
    if words[:1] and words[0].lower() in ("iommu", "iommu_group"):
        words = text.lstrip(_BEFORE).split(None, 3)[1:] if words[0].lower() == "iommu" else ["group", *words[1:]]
    if len(words) < 2 or words[0].lower().rstrip(":") not in ("group", "grp") or address_in(words[1]):
        return None, ""
    number = words[1].lstrip("[(#")
    digits = number[: len(number) - len(number.lstrip("0123456789"))]
    after = number.removeprefix(digits).lstrip(":,;=-*#])")
    if not is_group_number(digits) or (after and after[0] not in "[("):
        return None, ""
    rest = " ".join((after, *words[2:])).strip()
    if words[0].endswith(":") and not any(map(address_in, rest.split()[:FURTHEST])):
        return None, ""
    return int(digits), rest


def _translated(text: str) -> tuple[int | None, str]:
    """Split a heading that somebody translated: a few words, one of them a number, and perhaps a function behind.

    ``IOMMU-Gruppe: 1`` may be lspci's own, of the function above it.
    """
    words = [(found.group().strip("#*=:`[]"), found.start()) for found in re.finditer(r"\S+", text)]
    words = [word for word in words if word[0]][: _MOST_TRANSLATED + 2]
    behind = next((place for place, (word, _) in enumerate(words) if function_in(word) is not None), len(words))
    numbers = [int(word) for word, _ in words[:behind] if is_group_number(word)]
    if len(numbers) != 1 or behind > _MOST_TRANSLATED or (behind == len(words) and _DETAIL.search(text)):
        return None, ""
    return numbers[0], text[words[behind][1] :] if behind < len(words) else ""


def marked_function(text: str) -> tuple[Address | None, str]:
    """Return the function that a line names after marks of its own, and the line as lspci would print it.

    Ids in brackets before the address (``[8086:1901] [R] 00:01.0 PCI bridge: …``) go where lspci -nn has them.
    """
    ids = ""
    words = text.split(None, _MOST_MARKS)
    for place, word in enumerate(words[:_MOST_MARKS]):
        address = function_in(word)
        if address is not None:
            rest = f"{address} {_in_columns(text.partition(word)[2].strip())}" if place else text
            if ids and ids not in rest:
                before, found, after = rest.partition(" (rev ")
                rest = f"{before} {ids}{found}{after}"
            return address, rest
        if word.startswith("[") and word.endswith("]") and len(word) == 11 and word[5] == ":":
            ids = word
        elif any(c.isalnum() for c in word) and word[0] not in "[(" and word.lower().strip(":") not in _MARKS:
            return None, text
    return None, text


def functions_in_row(text: str) -> tuple[tuple[Address, ...], bool]:
    """Return the functions that a line of a list names in a row, and whether all of the row could be read.

    They stand side by side, or after a comma, a semicolon, ``and``. The first is the first of the line; what stands
    among other words, the port above perhaps, is none of the row, and what is joined to that may be or not. So it is
    with one of which the line goes on to tell something (``01:00.0; 02:00.0 is elsewhere``).
    """
    found: dict[Address, None] = {}
    joined = whole = True
    depth, ended = 0, False
    for word in _JOINTS.sub(" , ", text).split(None, _MOST_WORDS)[:_MOST_WORDS]:
        within = depth
        depth = max(0, depth + word.count("(") - word.count(")"))
        if not joined and found:
            # In parentheses it goes on with what is told in them: (to 01:00.0, 02:00.0).
            joined = word.lower() in _JOINING and not within
            ended = ended or (not within and function_in(word.strip(_AROUND)) is not None)
            continue
        if len(found) > 1 and word.lower() in _TOLD_OF:
            found.popitem()
            return tuple(found), False
        # The last of a sentence has its full stop.
        several = _functions(word.strip(_AROUND).removesuffix("."))
        if ended and several:
            return tuple(found), False
        found |= dict.fromkeys(several)
        unread = not several and _UNREAD.match(word) is not None
        whole = whole and not unread
        joined = bool(several) or unread or not found or word.lower() in _JOINING
    return tuple(found), whole


def _functions(word: str) -> list[Address]:
    """Return the functions that a word names, none where it is neither an address nor several in short."""
    one = function_in(word)
    if one is not None:
        return [one]
    short = _SEVERAL.fullmatch(word)
    if short is None:
        return []
    digits = range(int(short[2]), int(short[3]) + 1) if short[2] else [int(d) for d in short[4] if d.isdigit()]
    found = (address_in(f"{short[1]}{digit}") for digit in digits)
    return [address for address in found if address is not None]


def lines_to_come(heading: str, *, ids_first: bool = False) -> int:
    """Return how many lines may go on with a function's heading.

    As lspci -nn prints it they do while its ids are to come. Where those stand first (Unraid) nothing tells.
    """
    return _MOST_WRAPPED if ids_first or ("]: " in heading and ids_in_brackets(heading) is None) else 0


def _in_columns(text: str) -> str:
    """Return ``class: name`` of a class and a name that only blanks divide."""
    before, _, after = text.partition("  ")
    if ":" in before or not after:
        return text
    return f"{before}: {after.strip()}"


def numbered_function(text: str) -> tuple[int, Address, str] | None:
    """Return number, function and the line as lspci prints it of ``1: 00:01.0 PCI bridge [0604]: …``."""
    words = text.split(None, 2)
    if len(words) < 3 or not is_group_number(words[0].removesuffix(":")):
        return None
    address = address_in(words[1])
    if address is None or ":" not in words[2] or words[2][0] in _NO_CLASS:
        return None
    return int(words[0].removesuffix(":")), address, f"{address} {words[2]}"


def function_further_on(text: str) -> tuple[Address | None, str]:
    """Return the function that a line names after a few words, and the line from there on."""
    words = text.split()
    if is_detail(text):
        return None, text
    for place, word in enumerate(words[1:FURTHEST], 1):
        address = address_in(word)
        if address is not None:
            return address, " ".join((f"{address}", *words[place + 1 :])).replace(f"{address} - ", f"{address} ", 1)
    return None, text


def is_detail(text: str) -> bool:
    """Whether a line's key is of a detail: an address in it is another function's, or none."""
    return text.partition(":")[0].strip(_BEFORE).lower() in _DETAILS


def linked_function(text: str) -> Address | None:
    """Return the function that a line of ``ls -l`` is a link to."""
    before, arrow, _ = text.partition(" -> ")
    words = before.split()
    return address_in(words[-1]) if words and (arrow or len(words) == 1) else None


def is_group_number(text: str) -> bool:
    """Whether a word can be the number of a group: ASCII digits, and not too many."""
    return 0 < len(text) < 7 and text.isascii() and text.isdigit()


def numbered_members(text: str) -> tuple[int, tuple[Address, ...]] | None:
    """Return the group and the functions of a line that holds nothing but its number and their full addresses."""
    words = text.split()
    number = words[0].removesuffix(":") if words else ""
    if len(words) < 2 or not is_group_number(number):
        return None
    found = [address_in(word) for word in words[1:] if word.count(":") == 2]
    members = tuple(address for address in found if address is not None)
    return (int(number), members) if len(members) == len(words) - 1 else None
