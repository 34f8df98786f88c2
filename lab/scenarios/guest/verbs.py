"""Inside the guest: verbs are run, and drivers and groups are looked at."""

import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

from atoll.cli.main import main

__all__ = ["DEVICES", "atoll", "driver", "groups", "printed"]

DEVICES = Path("/sys/bus/pci/devices")
_GROUPS = Path("/sys/kernel/iommu_groups")


def atoll(*arguments: str, user: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run it: in this process, which is quicker under emulation, unless for another user."""
    if user is not None:
        command = [sys.executable, "-m", "atoll", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, user=user)
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        code = main(arguments)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def printed(*arguments: str) -> str:
    """Run it; return what it prints. Ends the guest for an error."""
    ran = atoll(*arguments)
    if ran.returncode not in (0, 1, 3):
        raise SystemExit(f"atoll {' '.join(arguments)}: exit code {ran.returncode}: {ran.stderr.strip()}")
    return ran.stdout


def groups() -> list[list[str]]:
    """Return the members of the kernel's groups."""
    return sorted(sorted(os.listdir(_GROUPS / number / "devices")) for number in os.listdir(_GROUPS))


def driver(address: str) -> str | None:
    """Return the driver that has a device, None without one."""
    link = DEVICES / address / "driver"
    return os.path.basename(os.readlink(link)) if link.is_symlink() else None
