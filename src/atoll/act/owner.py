"""Who is at work on a machine: a process, known well enough to tell later whether it still runs.

Source: proc(5): ``/proc/PID/stat`` field 22 (start time in clock ticks after boot), ``/proc/PID/ns/pid``,
``/proc/sys/kernel/random/boot_id``; time_namespaces(7): ``/proc/self/timens_offsets``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from atoll.host.attribute import text
from atoll.host.fact import value_of
from atoll.host.holders import FIRST_NAMESPACE
from atoll.host.tree import Tree

__all__ = ["Owner", "boot_of", "is_alive", "is_stopped", "this_process"]

_PROC = "/proc"
_BOOT = "proc/sys/kernel/random/boot_id"


@dataclass(frozen=True, slots=True)
class Owner:
    """A process. Its number alone would do for nothing: numbers are used again, and begin anew with each boot."""

    pid: int
    started: int
    """Clock ticks after boot; 0 where it could not be read."""
    boot: str
    """The boot that it belongs to; empty where it could not be read."""
    namespace: str
    """The PID namespace in which ``pid`` is its number; empty where it could not be read."""

    def __str__(self) -> str:
        return f"process {self.pid}"


def this_process() -> Owner:
    """Return this process."""
    pid = os.getpid()
    return Owner(pid, _started(pid) or 0, _boot(), _namespace())


def is_alive(owner: Owner) -> bool:
    """Whether a process still runs. One in another PID namespace that cannot be seen from here counts as running; from
    the first namespace all are seen, with their numbers in their own (``NSpid`` of ``/proc/PID/status``)."""
    boot = _boot()
    if owner.boot and boot and owner.boot != boot:
        return False
    namespace = _namespace()
    if owner.namespace and namespace and owner.namespace != namespace:
        return namespace != FIRST_NAMESPACE or _runs_in(owner.namespace, owner.pid)
    started = _started(owner.pid)
    if started is None:
        return False
    # Where it cannot be told when one of them started, they may be the same.
    return 0 in (owner.started, started) or started == owner.started


def _runs_in(namespace: str, number: int) -> bool:
    """Whether a process has a number in a PID namespace below this one; also where that cannot be told of one."""
    for name in os.listdir(_PROC):
        if not name.isdigit():
            continue
        try:
            with open(f"{_PROC}/{name}/status", encoding="utf-8", errors="replace") as file:
                numbers = next((line.split()[1:] for line in file if line.startswith("NSpid:")), [])
            # One number: it is of this namespace. Several: the last is that in its own.
            perhaps = len(numbers) != 1 and numbers[-1:] in ([], [str(number)])
            if perhaps and os.readlink(f"{_PROC}/{name}/ns/pid") == namespace:
                return True
        except (FileNotFoundError, ProcessLookupError):
            # It ended meanwhile.
            continue
        except OSError:
            return True
    return False


def is_stopped(owner: Owner) -> bool:
    """Whether a process of this PID namespace is seen to be stopped (SIGSTOP, Ctrl-Z, a debugger)."""
    if owner.namespace != _namespace():
        return False
    try:
        with open(f"{_PROC}/{owner.pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[:1] in ([b"T"], [b"t"])
    except OSError:
        return False


def boot_of(tree: Tree) -> str | None:
    """Return by what a machine's present boot is known; None where no file tells."""
    return value_of(text(tree, _BOOT), "") or None


def _started(pid: int) -> int | None:
    """Return a process's start time, 0 where it cannot be told, None where there is no such process."""
    try:
        with open(f"{_PROC}/{pid}/stat", "rb") as file:
            stat = file.read()
        # The name before it may hold anything, parentheses too. A zombie holds nothing any more.
        fields = stat[stat.rindex(b")") + 1 :].split()
        shift = _shift()
        return None if fields[0] in (b"Z", b"X") else 0 if shift is None else int(fields[19]) - shift
    except FileNotFoundError:
        return 0 if _is_hidden(pid) else None
    except (OSError, ValueError, IndexError):
        return 0


def _shift() -> int | None:
    """Return by how many clock ticks processes are shown to have started later than the host has it, in a time
    namespace whose clock was set otherwise; None where that is no whole number, or cannot be read."""
    try:
        with open(f"{_PROC}/self/timens_offsets", encoding="ascii") as file:
            offsets = {clock: int(seconds) * 10**9 + int(rest) for clock, seconds, rest in map(str.split, file)}
    except FileNotFoundError:
        # A kernel without time namespaces.
        return 0
    except (OSError, ValueError):
        return None
    ticks, rest = divmod(offsets.get("boottime", 0) * os.sysconf("SC_CLK_TCK"), 10**9)
    return None if rest else ticks


def _is_hidden(pid: int) -> bool:
    """Whether there is a process that /proc does not show (mounted with ``hidepid=``, proc(5)): kill(2) tells."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    return True


def _boot() -> str:
    try:
        with open(f"/{_BOOT}", encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
