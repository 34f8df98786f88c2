"""What programs tell of links, kept while devices are away from the drivers by which they tell it.

nvidia-smi and NVML know the GPUs that NVIDIA's driver has, and tell nothing of one that VFIO has; how GPUs are wired
does not change with that. So what they told before the first device was taken is a record beside what they tell since,
until all was given back.
"""

from __future__ import annotations

import shutil
from contextlib import suppress

from atoll.act.machine import Asking, Machine
from atoll.act.own_folder import cannot_be_used
from atoll.act.owner import boot_of
from atoll.host.trees.live import KEPT

__all__ = ["drop_records", "keep_records"]


def keep_records(machine: Machine, *, anew: bool) -> None:
    """Keep what programs printed when a machine was read last; ``anew``: in place of what is kept already.

    Under the machine's lock only. Raises InputError where it cannot be kept, RefusedError for a folder that others may
    write to.
    """
    boot = boot_of(machine)
    if not isinstance(machine, Asking) or not boot:
        return
    if anew:
        drop_records(machine)
    for name, data in sorted(machine.printed.items()):
        path = f"{KEPT}/{boot}/{name}"
        real = machine.state_path(path)
        if real is None or real.exists():
            continue
        try:
            machine.write(path, data)
        except OSError as error:
            raise cannot_be_used(real, error) from error


def drop_records(machine: Machine) -> None:
    """Take away what was kept: nothing is away any more. Under the machine's lock only."""
    folder = machine.state_path(KEPT) if isinstance(machine, Asking) else None
    if folder is not None:
        with suppress(OSError):
            shutil.rmtree(folder)
