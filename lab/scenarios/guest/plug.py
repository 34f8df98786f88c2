"""Inside the guest: its own emulator's monitor, on the third serial line: devices are pulled and plugged.

Source: QEMU docs/interop/qmp-spec.rst; a byte 0xff makes the monitor forget what it has read of a command.
"""

from __future__ import annotations

import json
import os
import termios
import tty
from pathlib import Path

from labguest import until

__all__ = ["DEVICES", "Monitor"]

DEVICES = Path("/sys/bus/pci/devices")
_LINE = "/dev/ttyS2"


class Monitor:
    """The emulator, asked to change its machine while the kernel runs on it."""

    def __init__(self) -> None:
        descriptor = os.open(_LINE, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        tty.setraw(descriptor)
        # Its greeting was echoed to it before that, as if it were commands.
        termios.tcflush(descriptor, termios.TCIOFLUSH)
        self._line = os.fdopen(descriptor, "r+b", buffering=0)
        self._line.write(b"\xff\n")
        self._count = 0
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: object) -> str | None:
        """Give a command; return its error, None where it was carried out. Events are passed over."""
        self._count += 1
        asked = {"execute": command, "arguments": arguments, "id": self._count}
        self._line.write(json.dumps(asked).encode() + b"\n")
        while True:
            try:
                told = json.loads(self._read())
            except ValueError:
                # The rest of what was on the line before.
                continue
            if told.get("id") == self._count:
                return str(told["error"]["desc"]) if "error" in told else None

    def pull(self, name: str, address: str) -> None:
        """Pull a device, and wait until the kernel has taken leave of it. Raises TimeoutError."""
        said = self.execute("device_del", id=name)
        if said is not None or not until(lambda: address not in os.listdir(DEVICES)):
            raise TimeoutError(f"{address} is there still: {said}")

    def plug(self, name: str, address: str, driver: str, **properties: str) -> None:
        """Plug a device, and wait until the kernel has found it and looked for a driver. Raises TimeoutError."""
        said: list[str | None] = []

        def taken() -> bool:
            # The place is free once the emulator, too, has taken leave of what was there.
            said.append(self.execute("device_add", id=name, driver=driver, **properties))
            return said[-1] is None

        folder = DEVICES / address
        # Of what is plugged here, the kernel has a driver for these.
        sign = folder / "driver" if driver == "nvme" else folder
        if not until(taken) or not until(sign.exists):
            raise TimeoutError(f"{address} is not there: {said[-1]}")

    def _read(self) -> bytes:
        found = b""
        while not found.endswith(b"\n"):
            found += self._line.read(1) or b""
        return found
