"""What is so now on a machine whose devices are held: read anew, held devices' registers through their keepers."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from atoll.controls.present import present
from atoll.controls.registry import link_control, registers
from atoll.errors import InputError
from atoll.fabric.answer import Policy
from atoll.fabric.topology import Topology
from atoll.guard.keepers import Keepers
from atoll.guard.keeping import PATIENCE, Keeping, KeptLease
from atoll.host import read_host
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.model import Host, Register
from atoll.host.tree import Tree
from atoll.isolation.clusters import Clusters
from atoll.isolation.moment import Statement, state
from atoll.pci.address import Address

__all__ = ["cut_now", "read_now", "statement", "with_held"]

_ALL_ONES = 0xFFFFFFFF


def read_now(tree: Tree, keepers: Keepers) -> Host:
    """Return the host as it is now, with what keepers tell."""
    return with_held(read_host(tree, registers=registers), keepers)


def with_held(host: Host, keepers: Keepers, *, patience: float = PATIENCE) -> Host:
    """Return a host as it was just read, with what its files do not show while a device is held: its keeper tells, for
    which it has ``patience`` seconds.

    A device that is watched is not read anew: that would wait for as long as its owner resets it.
    """
    found: dict[tuple[Address, Register], Fact[int]] = {}
    for keeping in keepers.by_holder.values():
        looks = _looks(keeping, patience)
        for address, lease in keeping.leases.items():
            function = host.functions.get(address)
            control = None if function is None else link_control(function)
            if control is None:
                continue
            seen = looks.get(str(address))
            values = None if seen is None else {(bar, offset): value for bar, offset, value in seen["registers"]}
            for register in control.registers:
                if values is None:
                    found[address, register] = _read(lease, register, patience)
                elif (register.bar, register.offset) in values:
                    value = values[register.bar, register.offset]
                    found[address, register] = Known(value, "seen by its keeper")
                else:
                    found[address, register] = Unknown(f"its keeper does not see it: {(seen or {}).get('reason')}")
    return replace(host, registers={**host.registers, **found})


def _looks(keeping: Keeping, patience: float) -> dict[str, Any]:
    try:
        found: dict[str, Any] = keeping.order("looks", patience=patience)["devices"]
    except OSError:
        # It has ended, what it had open reads as closed; or it does not answer, and nothing is known of that.
        return {}
    return found


def _read(lease: KeptLease, register: Register, patience: float) -> Fact[int]:
    try:
        value = lease.glance(register.bar, register.offset, patience=patience)
    except OSError as error:
        return Unknown(f"its keeper cannot read it: {error.strerror or error}")
    if value == _ALL_ONES:
        return Unknown("reads as all ones: the device is off or does not answer")
    return Known(value, "read by its keeper")


def statement(host: Host, clusters: Clusters, policy: Policy, *, gone: Collection[Address] = ()) -> Statement:
    """Return what is so now of clusters as they were when they were given out, but for devices that are ``gone``: what
    stands in their place is the host's.

    Their file is not read again: numbers of GPUs in it would name others by now. Raises InputError where other devices
    are not there any more.
    """
    left = tuple(replace(c, functions=tuple(f for f in c.functions if f not in gone)) for c in clusters.named)
    missing = [f"{f} of {cluster.name}" for cluster in left for f in cluster.functions if f not in host.functions]
    if missing:
        raise InputError(f"not there any more: {', '.join(missing)}", hint="atoll show lists the functions")
    settings = present(host, allow_assumed=clusters.allow_assumed)
    return state(Topology(host), settings, replace(clusters, named=left), policy, moment="now")


def cut_now(host: Host, keepers: Keepers) -> dict[Address, frozenset[int]]:
    """Return the links of each held device that read as cut: what is to stay so."""
    held = [address for keeping in keepers.by_holder.values() for address in keeping.leases]
    cut = present(host, allow_assumed=True).cut
    return {address: links for address in sorted(held) if (links := cut.get(address))}
