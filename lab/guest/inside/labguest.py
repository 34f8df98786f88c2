"""Inside the guest: run the scenario and hand its answer and files back to the host, over a serial line.

The line may be the console too (PowerNV has one only), so whatever else is printed there must not matter: each piece
is a line of its own with a mark, a number and a checksum.
"""

from __future__ import annotations

import base64
import json
import os
import runpy
import sys
import termios
import time
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path

__all__ = ["PATIENCE", "answer", "check", "checks", "frames", "give", "until"]

SCENARIO = Path("/scenario/main.py")
PATIENCE = 300.0
"""Seconds that whatever a scenario waits for may take: only what never comes takes so long, however busy the host."""
_PAUSE = 0.02

_MARK = "lab|"
_CHUNK = 3072  # bytes a line, before base64
_DETAIL = 2000
_document: dict[str, object] = {}

checks: list[dict[str, object]] = []
"""What a scenario has held against what it should be, so far."""


class _Channel:
    """The serial line that the kernel's command line names (``lab.channel=ttyS1``)."""

    def __init__(self) -> None:
        words = Path("/proc/cmdline").read_text().split()
        name = next(word.partition("=")[2] for word in words if word.startswith("lab.channel="))
        self._line = os.open(f"/dev/{name}", os.O_WRONLY | os.O_NOCTTY)
        self._count = 0
        settings = termios.tcgetattr(self._line)
        settings[1] &= ~termios.OPOST
        termios.tcsetattr(self._line, termios.TCSANOW, settings)

    def send(self, kind: str, name: str, data: bytes) -> None:
        pieces = frames(kind, name, data, first=self._count)
        self._count += len(pieces)
        for piece in pieces:
            self._write(piece)
        termios.tcdrain(self._line)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._line, data) :]


def frames(kind: str, name: str, data: bytes, *, first: int) -> list[bytes]:
    """The lines of one message, numbered from ``first``: mark, number, checksum, base64; a header, then the data."""
    packed = zlib.compress(data, 6)
    header = json.dumps({"kind": kind, "name": name, "size": len(packed), "crc": zlib.crc32(packed)})
    pieces = [header.encode(), *(packed[start : start + _CHUNK] for start in range(0, len(packed), _CHUNK))]
    # The newline in front ends whatever the kernel was printing.
    return [
        f"\n{_MARK}{number}|{zlib.crc32(piece):08x}|{base64.b64encode(piece).decode()}\n".encode()
        for number, piece in enumerate(pieces, start=first)
    ]


_channel: _Channel | None = None


def _open_channel() -> _Channel:
    global _channel
    if _channel is None:
        _channel = _Channel()
    return _channel


def answer(document: dict[str, object]) -> None:
    """Hand back the scenario's document; further calls add to it."""
    _document.update(document)
    _open_channel().send("answer", "", json.dumps(_document).encode())


def check(says: str, ok: object, detail: object = "") -> None:
    """Note whether something is as it should be, with what shows it where it is not."""
    checks.append({"says": says, "ok": bool(ok), "detail": "" if ok else str(detail)[:_DETAIL]})


def until(condition: Callable[[], bool]) -> bool:
    """Whether a condition comes true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        # Looked at once more after the end: the emulator may have stood still meanwhile.
        if time.monotonic() > end:
            return condition()
        time.sleep(_PAUSE)
    return True


def give(name: str, data: bytes) -> None:
    """Hand back a file."""
    _open_channel().send("file", name, data)


def _broken(said: str) -> None:
    """Hand back why the scenario broke off, with what it has noted by then: that may be what tells why."""
    answer({"checks": checks, "error": said} if checks else {"error": said})


def _run() -> int:
    sys.path.insert(0, str(SCENARIO.parent))
    try:
        runpy.run_path(str(SCENARIO), run_name="__main__")
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            _broken(end.code)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        said = traceback.format_exc()
        print(said, file=sys.stderr)
        _broken(said)
        return 1
    return 0


def _main() -> None:
    # As "__main__" this would be another module than the one that the scenario imports, with another count.
    sys.modules["labguest"] = sys.modules["__main__"]
    if "lab.quiet-console" in Path("/proc/cmdline").read_text():
        Path("/proc/sys/kernel/printk").write_text("1")
    code = _run()
    sys.stdout.flush()
    _open_channel().send("end", str(code), b"")


if __name__ == "__main__":
    _main()
