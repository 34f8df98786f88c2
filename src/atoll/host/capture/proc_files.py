"""Files of ``/proc`` that are known to hold identifiers: the boot parameters, mounts and routes of a capture."""

from __future__ import annotations

from collections.abc import Callable

from atoll.host.capture.replacement import Kind
from atoll.host.capture.text_redaction import TextRedactor

__all__ = ["RULES"]


def _mounts(text: str, texts: TextRedactor) -> str:
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
            kept.append(texts.text(" ".join(words)))
        else:
            texts.replaced.count(Kind.MOUNT, line)
    return "".join(f"{line}\n" for line in kept)


def _routes(text: str, texts: TextRedactor) -> str:
    """Keep the head and the default routes, without the gateways."""
    lines = _lines(text)
    kept = lines[:1]
    for line in lines[1:]:
        words = line.split("\t")
        if len(words) > 7 and words[1].strip() == words[7].strip() == "00000000":
            words[2] = texts.replaced.ip(words[2])
            kept.append(texts.text("\t".join(words)))
        else:
            texts.replaced.count(Kind.IP, line)
    return "".join(f"{line}\n" for line in kept)


def _routes_6(text: str, texts: TextRedactor) -> str:
    """Keep the default routes, without the gateways."""
    kept = []
    for line in _lines(text):
        words = line.split()
        if len(words) >= 10 and words[0] == "0" * 32 and words[1] == "00":
            words[2], words[4] = texts.replaced.ip(words[2]), texts.replaced.ip(words[4])
            words[9] = texts.text(words[9])
            kept.append(" ".join(words))
        else:
            texts.replaced.count(Kind.IP, line)
    return "".join(f"{line}\n" for line in kept)


def _lines(text: str) -> list[str]:
    """Lines of bytes read as Latin-1: half of a letter is no end of a line, as ``splitlines`` would have it."""
    return text.removesuffix("\n").split("\n") if text else []


RULES: dict[str, Callable[[str, TextRedactor], str]] = {
    "cmdline": lambda text, texts: texts.command_line(text),
    "mountinfo": _mounts,
    "mounts": _mounts,
    "route": _routes,
    "ipv6_route": _routes_6,
}
"""What is made of each, by the file's name."""
