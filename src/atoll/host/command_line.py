"""The kernel's command line, taken apart as the kernel does it.

Source: ``next_arg`` in lib/cmdline.c (quotation marks keep spaces together and are no part of what they enclose),
``parse_args`` in kernel/params.c (what follows ``--`` is for init) and ``parameq`` there (a hyphen in a parameter's
name is an underscore).
"""

from __future__ import annotations

from functools import lru_cache

__all__ = ["options", "parameters", "truth", "values"]


@lru_cache(maxsize=1 << 6)
def parameters(command_line: str) -> tuple[str, ...]:
    """Return the words that are for the kernel, without quotation marks, names with underscores: ``name=value``."""
    found = []
    for word in map(_bare, _parted(command_line)):
        if word == "--":
            break
        name, equals, value = word.partition("=")
        found.append(f"{name.replace('-', '_')}{equals}{_bare(value)}")
    return tuple(found)


def values(command_line: str, name: str) -> tuple[str, ...]:
    """Return what a parameter is set to, once for each time that it stands there, in order."""
    start = f"{name}="
    return tuple(word.removeprefix(start) for word in parameters(command_line) if word.startswith(start))


def options(command_line: str, name: str) -> tuple[str, ...]:
    """Return the words of a parameter that is a list (``pci=noats,nommconf``), of all its times, in order."""
    return tuple(option for value in values(command_line, name) for option in value.split(","))


def truth(value: str) -> bool | None:
    """Return the truth value that a word is to the kernel (``kstrtobool`` of lib/kstrtox.c); None where it is none."""
    word = value.lower()
    if word.startswith(("1", "y", "t", "on", "e")):
        return True
    return False if word.startswith(("0", "n", "f", "of", "d")) else None


def _parted(command_line: str) -> list[str]:
    """Return what stands between spaces that no quotation marks enclose; an odd one encloses all that follows."""
    words: list[str] = []
    for place, part in enumerate(command_line.split('"')):
        pieces = [part] if place % 2 else _pieces(part)
        if place:
            words[-1] += f'"{pieces[0]}'
            words += pieces[1:]
        else:
            words += pieces
    return [word for word in words if word]


def _pieces(part: str) -> list[str]:
    """Part at spaces; one at an end leaves an empty piece there."""
    pieces = part.split()
    if not pieces:
        return ["", ""] if part else [""]
    return [*([""] if part[0].isspace() else []), *pieces, *([""] if part[-1].isspace() else [])]


def _bare(word: str) -> str:
    """Return a word, or a value, without the quotation marks that enclose it."""
    return word[1:].removesuffix('"') if word.startswith('"') else word
