"""What somebody typed between outputs: where what lspci printed of one function ends, and of which the next lines are.

Source of the forms: prompts of bash, zsh and root's shells; ``lspci -vvv -s 00:01.1 | grep ACS``, as guides to peer to
peer have it typed and scripts print it above what it showed (``-s`` in pciutils lspci(8)).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from atoll.host.records.lspci.slot import Slot, parse_slot

__all__ = ["PROMPT", "Asked", "asked_in"]

PROMPT = re.compile(r"(?:\([\w.-]{1,40}\) ?)?(?:\[?[\w.-]{1,64}@[\w.-]{1,64}[^#$%]{0,99}[#$%]|[$%](?= +\w))(?:\s|$)")
"""What a shell prints before what somebody types: ``$ ``, ``[root@host ~]# ``. A ``#`` alone is a comment's too."""
_AROUND = "`'\"()$;|&"
_ENDS = ("|", "&", ";", ">")
"""What another command, or the file that lspci writes to, begins after."""
_WITH_SLOT = re.compile(r"-[A-Za-z]*s(.*)")


@dataclass(frozen=True, slots=True)
class Asked:
    """A line that somebody typed."""

    slot: Slot | None
    """The one function that lspci was asked of, None where it was asked of more or something else ran."""


def asked_in(line: str) -> Asked | None:
    """Return what was typed, None for a line that is none of a shell's and runs no lspci.

    Of ``-s`` only a function with its bus counts: what is left out or ``*`` stands for any.
    """
    text = line.strip()
    words = text.split()
    runs = [place for place, word in enumerate(words) if word.strip(_AROUND).rpartition("/")[2] == "lspci"]
    if not runs:
        return Asked(None) if PROMPT.match(text) else None
    named = _named(words[runs[0] + 1 :])
    return Asked(parse_slot(named[0]) if len(runs) == len(named) == 1 and "/" not in named[0] else None)


def _named(words: list[str]) -> list[str]:
    """Return what follows each ``-s``, up to where another command begins."""
    named: list[str] = []
    follows = False
    for word in words:
        if word[:1] in _ENDS:
            break
        found = _WITH_SLOT.fullmatch(word)
        if follows or (found is not None and found[1]):
            named.append((word if follows or found is None else found[1]).strip(_AROUND))
            follows = False
        else:
            follows = found is not None
    return named
