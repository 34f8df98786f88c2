"""``atoll twin event``: let something happen on a simulated machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from atoll.cli.addresses import address_of
from atoll.cli.output import say
from atoll.cli.session import changing_twin
from atoll.errors import InputError
from atoll.report.document import document

__all__ = ["run"]

OF_THE_MACHINE = ("suspend", "reboot")
"""Events that need no device."""


def run(options: argparse.Namespace) -> int:
    """Let it happen, and keep what came of it."""
    path = Path(options.file)
    devices = [address_of(text) for text in options.devices]
    if not devices and options.kind not in OF_THE_MACHINE:
        raise InputError(f"{options.kind} happens to devices, and none is named", hint="see: atoll twin event --help")
    with changing_twin(path) as twin:
        twin.event(options.kind, devices)
    say(
        options,
        lambda: document("twin event", file=str(path), kind=options.kind, devices=[str(device) for device in devices]),
        lambda style: [" ".join([style.bold(options.kind), *map(str, devices), "done"])],
    )
    return 0
