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
_ENDS = ("|", "&", ";", ">", "2>", "(", "#")
"""What another command, the file that lspci writes to, or a remark begins with."""
_OPTION = re.compile(r"-[A-Za-z]*?([sdiAOpFH])(.*)|-[A-Za-z]+")
"""An option of lspci's, with the letter of one that takes a value, and the value where it stands right behind."""
_SHORT_PROMPT = re.compile(r"(?:(?:[\w.@-]{1,64} )?\S{0,64}[~/]\S{0,64} ?|[\w.-]{1,64})[#$%>](?= +\S)")
"""One without user or host, or of another shell: ``sh-5.1# ``, ``host:~ # ``, ``user@host ~> ``."""
_BEFORE = re.compile(r"sudo|doas|-[A-Za-z]|\w+=\S*|[#+>]?")
"""What stands before a command that is run, the prompt aside."""
_ANOTHER = re.compile(r"[;&]")


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
    prompt = PROMPT.match(text)
    shown = _SHORT_PROMPT.match(text) or prompt
    words = text[shown.end() if shown else 0 :].replace("|&", "|").replace("|", " | ").split()
    runs = [place for place, word in enumerate(words) if word.strip(_AROUND).rpartition("/")[2] == "lspci"]
    if not runs:
        return Asked(None) if prompt else None
    typed = all(_BEFORE.fullmatch(word.strip(_AROUND)) for word in words[: runs[0]])
    after = words[runs[0] + 1 :]
    # What another command prints may be of any function.
    another = any(_ANOTHER.search(word.replace(">&", "")) for word in after)
    named = _named(after)
    if not typed or another or len(runs) > 1 or len(named) != 1 or "/" in named[0]:
        return Asked(None)
    return Asked(parse_slot(named[0]))


def _named(words: list[str]) -> list[str]:
    """Return what follows each ``-s``, up to where another command begins; nothing where a word is none of lspci's, as
    in a sentence."""
    named: list[str] = []
    follows = ""
    for word in words:
        if word[:1] in _ENDS or word[:2] in _ENDS:
            break
        bare = word.strip(_AROUND)
        found = _OPTION.fullmatch(bare)
        if follows or (found is not None and found[2]):
            value, letter = (bare, follows) if follows or found is None else (found[2], found[1])
            named += [value] if letter == "s" else []
            follows = ""
        elif found is not None:
            follows = found[1] or ""
        elif bare:
            return []
    return named
