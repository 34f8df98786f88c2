"""Boot a kernel with a scenario in an emulated machine, and bring back what it found."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab.channel import HandedBack, read_channel, without_messages
from lab.emulator import emulator
from lab.errors import LabError, told_of
from lab.guest.image import build_image
from lab.kernels import Kernel, kernel
from lab.patience import BOOT
from lab.stopping import ends

__all__ = ["RUNS_VARIABLE", "Boot", "Result", "boot"]

_LOOK = 5.0
"""Seconds between two looks at what the guest has handed back so far."""

_LEAST = 1 << 20
"""Bytes that are free where a run had room."""
_BROKEN = ("kernel BUG at ", "BUG: ", "Oops: ", "Kernel panic")
"""What the kernel says first where it finds itself broken."""

# Where the folders of runs are made; they stay there when something fails.
RUNS_VARIABLE = "ATOLL_LAB_RUNS"


@dataclass(frozen=True, slots=True)
class Boot:
    """What to boot, and with what.

    ``qemu``: arguments for machine, IOMMU and devices; ``-M`` and ``-cpu`` have defaults. ``files``: what the guest
    finds, by path (``scenario/main.py`` is run). ``memory`` in MiB. ``seconds``: the deadline of the whole run.
    ``modules``: to load beyond the default ones. ``monitor``: the guest may talk to the emulator's monitor (QMP) on its
    third serial line, and so plug devices itself (PCs only).
    """

    kernel: str
    qemu: tuple[str, ...]
    files: Mapping[str, bytes]
    cmdline: str = "intel_iommu=on"
    memory: int = 512
    seconds: float = BOOT
    modules: tuple[str, ...] = ()
    monitor: bool = False
    name: str = "run"


@dataclass(frozen=True, slots=True)
class Result:
    """What a run brought back. ``ok``: the scenario ended with exit code 0. ``folder`` is kept unless it did.

    ``cut_off``: why it did not report its end, or "" if it did; all else is what it had handed back by then.
    """

    ok: bool
    answer: dict[str, object]
    files: dict[str, bytes]
    console: str
    seconds: float
    folder: Path
    cut_off: str = ""


SoFar = Callable[[Mapping[str, object]], None]


def boot(run: Boot, *, folder: Path | None = None, so_far: SoFar | None = None) -> Result:
    """Run it to its end. Several may run at once, in threads or processes.

    ``folder`` gets console, command line, initial file system and messages; without one it is made, and removed when
    the scenario ends well. ``so_far`` is called with each answer that the guest gives before its last, but for those
    that another follows at once. Raises `LabError`, with the folder, where the emulator or the kernel does not start,
    or the guest has answered nothing when it ends without reporting, or when the deadline passes.
    """
    try:
        return _boot(run, folder, so_far)
    except OSError as error:
        place = None if error.filename else folder
        raise LabError(*told_of(error, place), folder=folder) from error


def _boot(run: Boot, folder: Path | None, so_far: SoFar | None) -> Result:
    chosen = kernel(run.kernel)
    image = build_image(
        *("guest-powernv" if chosen.powernv else "guest-x86", chosen.modules, chosen.version),
        files=run.files,
        modules=run.modules,
    )
    own = folder is None
    if folder is None:
        base = os.environ.get(RUNS_VARIABLE)
        if base:
            Path(base).mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"atoll-lab-{run.name}-", dir=base))
    else:
        folder.mkdir(parents=True, exist_ok=True)
    (folder / "initrd").write_bytes(image)
    started = time.monotonic()
    problem = _run(run, chosen, folder, so_far)
    seconds = time.monotonic() - started
    console = without_messages(_read(folder / "console.txt")).decode(errors="replace")
    handed = _handed_back(folder, chosen)
    # The emulator may be killed after the end was reported: then the guest is at fault only for not going away.
    cut_off = ""
    if handed.exit_code is None:
        cut_off = f"{problem or 'the guest ended without reporting'}{_last_words(console)}"
        # What the emulator cannot write it leaves out.
        if shutil.disk_usage(folder).free < _LEAST:
            cut_off = f"{folder}: no space is left there; {cut_off}"
        if not handed.answer:
            raise LabError(
                f"{run.name} on {run.kernel}: {cut_off}", f"Everything about this run is in {folder}.", folder=folder
            )
    ok = handed.exit_code == 0
    if ok:
        (folder / "initrd").unlink()
        if own:
            shutil.rmtree(folder)
    return Result(ok, handed.answer, handed.files, console, seconds, folder, cut_off)


def _run(run: Boot, chosen: Kernel, folder: Path, so_far: SoFar | None) -> str:
    """Start the emulator and wait for it; what went wrong, or "" if nothing did."""
    qemu = emulator(powernv=chosen.powernv)
    command = (*_until_parent_dies(), *qemu.command, *_arguments(run, chosen, folder))
    (folder / "command.txt").write_text(shlex.join(command) + "\n")
    (folder / "qemu-module-dir.txt").write_text(qemu.environment["QEMU_MODULE_DIR"] + "\n")
    with open(folder / "qemu.log", "wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=qemu.environment
        )
        try:
            code = _wait(process, run, folder / _line(chosen), so_far)
        except TimeoutError:
            return f"not done after {run.seconds:g} s"
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if code:
        said = _read(folder / "qemu.log").decode(errors="replace").strip().splitlines()
        return f"the emulator ended with {code}: {said[-1] if said else 'no message'}"
    return ""


def _wait(process: subprocess.Popen[bytes], run: Boot, line: Path, so_far: SoFar | None) -> int:
    """Wait for the emulator until the deadline, and tell meanwhile what the guest answers."""
    deadline = time.monotonic() + run.seconds
    told: dict[str, object] = {}
    while not ends(process, max(0.0, min(deadline - time.monotonic(), _LOOK))):
        if time.monotonic() >= deadline:
            raise TimeoutError
        if so_far is None:
            continue
        # What arrived damaged is told at the end.
        with suppress(LabError):
            if (answer := read_channel(_read(line)).answer) != told:
                told = answer
                so_far(answer)
    return process.returncode


def _line(chosen: Kernel) -> str:
    """The file with what the guest writes to its serial line."""
    return "console.txt" if chosen.powernv else "channel.txt"


def _arguments(run: Boot, chosen: Kernel, folder: Path) -> list[str]:
    arguments = ["-no-user-config", "-display", "none", "-accel", "tcg", "-m", str(run.memory), "-smp", "1"]
    console, channel = f"file:{folder}/console.txt", f"file:{folder}/channel.txt"
    if chosen.powernv:
        # With -nodefaults there would be no host bridges; its firmware knows one serial line only.
        arguments += ["-net", "none", "-serial", console]
        defaults = ("-M", "powernv9")
        line = "console=hvc0 lab.channel=hvc0 lab.quiet-console"
    else:
        arguments += ["-nodefaults", "-serial", console, "-serial", channel]
        # Interrupt remapping needs the split irqchip; x2apic makes kernels use it.
        defaults = ("-M", "q35,kernel-irqchip=split")
        line = "console=ttyS0 lab.channel=ttyS1"
        if run.monitor:
            arguments += _monitor()
        if "-cpu" not in run.qemu:
            arguments += ["-cpu", "qemu64,+x2apic"]
    if "-M" not in run.qemu and "-machine" not in run.qemu:
        arguments += defaults
    # A panic reboots at once, and a reboot ends the emulator; what the kernel finds broken in itself is one.
    arguments += [*run.qemu, "-no-reboot", "-kernel", str(chosen.image), "-initrd", str(folder / "initrd")]
    # On a busy host the emulated timer is late, and the kernel would panic: "timer doesn't work through IO-APIC".
    return [*arguments, "-append", f"{line} quiet panic=-1 oops=panic no_timer_check {run.cmdline}"]


def _monitor() -> list[str]:
    """The monitor and a serial line, joined by a socket that has no place in any file system."""
    ends = f"socket,path=atoll-lab-{uuid.uuid4().hex},abstract=on"
    return [
        *("-chardev", f"{ends},id=monitor,server=on,wait=off", "-qmp", "chardev:monitor"),
        *("-chardev", f"{ends},id=line", "-serial", "chardev:line"),
    ]


def _until_parent_dies() -> tuple[str, ...]:
    """The emulator ends with this process, however that ends."""
    return ("setpriv", "--pdeathsig", "KILL", "--") if shutil.which("setpriv") else ()


def _handed_back(folder: Path, chosen: Kernel) -> HandedBack:
    text = _read(folder / _line(chosen))
    try:
        return read_channel(text)
    except LabError as error:
        raise LabError(error.message, f"Everything about this run is in {folder}.", folder=folder) from error


def _last_words(console: str) -> str:
    """Return what the kernel found broken, which it tells before it dumps its state; otherwise the last line."""
    lines = [line.strip() for line in console.splitlines() if line.strip()]
    broken = [line for line in lines if any(word in line for word in _BROKEN)]
    return f"; its last words: {(broken or lines[-1:])[0][:200]}" if lines else "; it printed nothing"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
