"""``atoll twin reset``: reset a device of a simulated machine."""

from __future__ import annotations

import argparse
import errno
from pathlib import Path

from atoll.cli.addresses import address_of
from atoll.cli.output import say
from atoll.cli.session import changing_twin
from atoll.errors import InputError
from atoll.report.document import document

__all__ = ["run"]


def run(options: argparse.Namespace) -> int:
    """Reset the device the way its host would, and keep what came of it."""
    path = Path(options.file)
    device = address_of(options.device)
    with changing_twin(path) as twin:
        try:
            twin.reset(device, options.method)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTTY):
                raise
            methods = ", ".join(twin.reset_methods(device)) or "none that works now"
            raise InputError(f"{device} has no reset method {options.method!r}", hint=f"it has: {methods}") from error
    say(
        options,
        lambda: document("twin reset", file=str(path), device=str(device), method=options.method),
        lambda style: [f"{style.bold(str(device))}: {options.method} reset done"],
    )
    return 0
