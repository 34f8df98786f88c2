"""Inside the guest: ``atoll hold`` in a process of its own, and owners, each a process of another user."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import hold_owner
from child import Child

from atoll.cli.main import main
from labguest import PATIENCE

__all__ = ["DEVICES", "POLICY", "Holder", "Owner", "atoll", "document", "record_links"]

DEVICES = Path("/sys/bus/pci/devices")
# QEMU's root ports have a BAR, and whether redirection covers a port's own BAR is an open question: strict would prove
# nothing about devices that master the bus.
POLICY = ("--policy", "trusted")


class Owner:
    """A process of another user."""

    def __init__(self, name: str, user: int) -> None:
        self.name = name
        self.process = Child(hold_owner.live, user=user, pipes=True)

    def ask(self, do: str, **details: object) -> Any:
        """Give an order; return the answer."""
        self.process.stdin.write(json.dumps({"do": do, **details}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the owner of {self.name} ended in {do} {details}: {self.process.said()}")
        return json.loads(line)

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(PATIENCE)


def _program(arguments: Sequence[str]) -> Callable[[], int]:
    """Return atoll with arguments, and with what its verb imports imported."""
    import_module(f"atoll.cli.{arguments[0]}")
    return partial(main, arguments)


class Holder:
    """``atoll hold`` in a process of its own."""

    def __init__(self, path: str, *options: str) -> None:
        self.process = Child(_program(["hold", path, "--json", *POLICY, *options]), pipes=True)

    def ready(self) -> dict[str, Any]:
        """Wait until it serves; return what it printed."""
        text = ""
        for line in self.process.stdout:
            text += line
            if line == "}\n":
                told: dict[str, Any] = json.loads(text)
                if told.get("holding"):
                    return told
                break
        raise SystemExit(f"hold ended with {self.process.wait(PATIENCE)}: {text} {self.said()}")

    def said(self) -> str:
        """Return what the holder has written to standard error so far."""
        return self.process.said()

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.kill(number)
        return self.process.wait(PATIENCE)


def atoll(*arguments: str, seconds: float = PATIENCE) -> subprocess.CompletedProcess[str]:
    """Run a command. One that the kernel does not let go is left, with where it sleeps in place of its errors."""
    child = Child(_program(arguments))
    if not child.ends(seconds):
        return subprocess.CompletedProcess(arguments, -1, "", _asleep(child.pid))
    assert child.returncode is not None
    return subprocess.CompletedProcess(arguments, child.returncode, child.printed(), child.said())


def document(ran: subprocess.CompletedProcess[str]) -> Any:
    """Return what a command printed; where that is no document, tell how it ended and what it said instead."""
    try:
        return json.loads(ran.stdout)
    except ValueError:
        raise SystemExit(f"{ran.args[-3:]} ended with {ran.returncode}: {ran.stdout!r} {ran.stderr!r}") from None


def _asleep(pid: int) -> str:
    """Where in the kernel a process sleeps, and what it has open."""
    folder = Path("/proc") / str(pid)
    opened = [str(link.readlink()) for link in (folder / "fd").iterdir()]
    return f"it has not ended: {(folder / 'stack').read_text()} {opened}"


def record_links(addresses: Sequence[str], links: Sequence[Sequence[int]]) -> None:
    """Leave where atoll looks for it what nvidia-smi would tell of the links (gpu, number, gpu, number)."""
    folder = Path("/etc/atoll/records")
    folder.mkdir(parents=True, exist_ok=True)
    far = {(a, n): (b, m) for a, n, b, m in links} | {(b, m): (a, n) for a, n, b, m in links}
    lines = []
    for index in range(len(addresses)):
        lines.append(f"GPU {index}: Tesla V100-SXM2-16GB (UUID: GPU-{index})")
        for number in sorted(number for gpu, number in far if gpu == index):
            peer, number_there = far[index, number]
            lines.append(f"\t Link {number}: Remote Device 0000{addresses[peer]}: Link {number_there}")
    (folder / "nvlink-R.txt").write_text("\n".join(lines) + "\n")
    rows = [f"{index}, 0000{address}, GPU-{index}" for index, address in enumerate(addresses)]
    (folder / "query.csv").write_text("\n".join(["index, pci.bus_id, uuid", *rows]) + "\n")
