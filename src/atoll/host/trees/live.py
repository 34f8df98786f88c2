"""The running machine: files as the kernel shows them, BARs by mapping them, and what its programs tell."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
import sys

import atoll
from atoll.host import nvml
from atoll.host.resolve import os_error
from atoll.host.trees.bar_file import check_load, is_bar_file
from atoll.host.trees.device_lock import LockedAttributes, is_locked
from atoll.host.trees.open_file import OpenFile, read_file

__all__ = ["KEPT", "LiveTree"]

KEPT = "run/atoll/records"
"""Where what programs printed is kept, in a folder for each boot, while devices are away from the drivers that tell."""
_BOOT = "proc/sys/kernel/random/boot_id"
_RECORDS = "records"
_FILES = "/etc/atoll/records"
_KEPT_NAME = "kept-"
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_SECONDS = 30
_SECONDS_TO_DIE = 1
_PACKAGES = os.path.dirname(os.path.dirname(os.path.abspath(atoll.__file__)))
_NVML = "nvml.json"
"""The record that ``atoll.host.nvml`` makes."""
_PROGRAMS = {
    "nvidia-smi-L.txt": ("-L",),
    "nvidia-smi-nvlink-R.txt": ("nvlink", "-R"),
    "nvidia-smi-query-gpu.csv": ("--query-gpu=index,pci.bus_id,uuid", "--format=csv"),
}
"""Records that nvidia-smi prints, with its arguments."""


class LiveTree:
    """The live ``/``. The kernel resolves links itself: the root is its own root.

    ``records/`` holds what lies in ``/etc/atoll/records`` and, made at the moment it is read, what
    nvidia-smi prints and what NVML tells, where that program or nvidia-ml-py is installed. They tell of GPUs that
    NVIDIA's driver has; what they printed before atoll gave GPUs away is kept (``KEPT``), and shown beside it.
    """

    def __init__(self, root: str = "/") -> None:
        """Another ``root`` is a folder that plays the machine: its links must stay inside, as those of sysfs do."""
        self._root = f"{root.rstrip('/')}/"
        self._locked = LockedAttributes()
        self._hung: set[str] = set()
        """Programs that did not end in time: they are not asked again."""
        self.printed: dict[str, bytes] = {}
        """What programs printed when they were last asked, by the record's name; not where they failed then."""

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return "live"

    def list(self, path: str) -> tuple[str, ...]:
        """Return the names in a folder, sorted."""
        if path == _RECORDS:
            return self._records()
        return tuple(sorted(os.listdir(self._root + path)))

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        """Return ``size`` bytes from ``offset``; of a BAR, one aligned 32-bit load."""
        if is_bar_file(path):
            check_load(path, offset, size)
            return load(self._root + path, offset)
        if path.startswith(f"{_RECORDS}/"):
            return self._record(path.removeprefix(f"{_RECORDS}/"), offset, size)
        if is_locked(path):
            found = self._locked.read(self._root + path)
            return found[offset:] if size is None else found[offset : offset + size]
        return read_file(self._root + path, offset, size)

    def readlink(self, path: str) -> str:
        """Return the target text of a symbolic link, unresolved."""
        return os.readlink(self._root + path)

    def opened(self, path: str) -> OpenFile:
        """Return a file to be read in pieces, opened when the first is asked for."""
        return OpenFile(lambda: self._root + path)

    def _records(self) -> tuple[str, ...]:
        found = set(_PROGRAMS if _nvidia_smi() else ())
        if nvml.is_available():
            found.add(_NVML)
        with contextlib.suppress(OSError):
            found.update(os.listdir(_FILES))
        with contextlib.suppress(OSError):
            found.update(f"{_KEPT_NAME}{name}" for name in os.listdir(self._kept()) if not name.startswith("."))
        if not found:
            raise os_error(errno.ENOENT, _RECORDS)
        return tuple(sorted(found))

    def _kept(self) -> str:
        """Return the folder with what was kept since this boot. Raises OSError where none is that can be believed."""
        folder = f"{self._root}{KEPT}/{read_file(self._root + _BOOT, 0, None).decode(errors='replace').strip()}"
        found = os.lstat(folder)
        if found.st_uid not in (0, os.geteuid()) or found.st_mode & _OTHERS_MAY_WRITE:
            raise OSError(errno.EPERM, "others may write there", folder)
        return folder

    def _record(self, name: str, offset: int, size: int | None) -> bytes:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return read_file(f"{_FILES}/{name}", offset, size)
        if name.startswith(_KEPT_NAME):
            return read_file(f"{self._kept()}/{name.removeprefix(_KEPT_NAME)}", offset, size)
        command, path = _command(name), f"{_RECORDS}/{name}"
        if command is None:
            raise os_error(errno.ENOENT, path)
        self.printed.pop(name, None)
        if command[0] in self._hung:
            raise OSError(errno.EIO, f"{command[0]} did not end when it was asked before", path)
        try:
            printed = _printed(command)
        except OSError as error:
            if isinstance(error, TimeoutError):
                self._hung.add(command[0])
            raise OSError(errno.EIO, f"{command[0]} failed: {error.strerror}", path) from error
        self.printed[name] = printed
        return printed[offset:] if size is None else printed[offset : offset + size]


def _printed(command: list[str]) -> bytes:
    """Return what a program prints. Raises TimeoutError, or OSError where it fails.

    One that hangs in its driver does not die when it is killed, so it is not waited for then.
    """
    import signal
    import subprocess

    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        # A program that failed half-way would look like one that did not (wait(2)).
        raise OSError(errno.EIO, "ends of children are ignored here (SIGCHLD): how it ends is not told", command[0])
    # A child finds the same atoll, wherever that was imported from.
    found = os.pathsep.join(part for part in (_PACKAGES, os.environ.get("PYTHONPATH", "")) if part)
    quiet, environment = subprocess.DEVNULL, {**os.environ, "PYTHONPATH": found}
    child = subprocess.Popen(command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, env=environment)
    try:
        printed = child.communicate(timeout=_SECONDS)[0]
    except BaseException as error:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_SECONDS_TO_DIE)
        if child.stdout is not None:
            child.stdout.close()
        if isinstance(error, subprocess.TimeoutExpired):
            raise TimeoutError(errno.ETIMEDOUT, f"it has not ended after {_SECONDS} s", command[0]) from error
        raise
    if child.returncode:
        # It fails where no GPU is bound to NVIDIA's driver, which is no error of this host.
        raise OSError(errno.EIO, f"it ended with exit code {child.returncode}", command[0])
    return printed


def _command(name: str) -> list[str] | None:
    """Return what makes a record, None where nothing here does."""
    if name == _NVML and nvml.is_available():
        return [sys.executable, "-m", "atoll.host.nvml"]
    program = _nvidia_smi()
    return None if program is None or name not in _PROGRAMS else [program, *_PROGRAMS[name]]


def _nvidia_smi() -> str | None:
    import shutil

    return shutil.which("nvidia-smi")


def load(path: str, offset: int) -> bytes:
    """Return the four bytes of one 32-bit load from a BAR's file.

    A memory BAR is mapped (sysfs has no read for it); an I/O BAR is read. Raises OSError as the kernel gives
    it: EINVAL where a driver claims the BAR or the offset is beyond it, EPERM under lockdown.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_SYNC | os.O_CLOEXEC)
    try:
        if offset + 4 > os.fstat(descriptor).st_size:
            raise os_error(errno.EINVAL, path)
        page = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
        try:
            window = mmap.mmap(descriptor, offset - page + 4, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return os.pread(descriptor, 4, offset)
        with window, memoryview(window) as bytewise, bytewise.cast("I") as words:
            # Indexing a view of 32-bit items is one load of 32 bits; slicing could be four of 8.
            value: int = words[(offset - page) // 4]
        return value.to_bytes(4, sys.byteorder)
    finally:
        os.close(descriptor)
