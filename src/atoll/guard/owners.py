"""Owners of held clusters: which user each is, and which processes still have something of theirs."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from atoll.act.users import is_one_user
from atoll.errors import InputError
from atoll.host.fact import Unknown, value_of
from atoll.host.holders import read_holders
from atoll.host.model import Host
from atoll.host.tree import Tree
from atoll.isolation.clusters import Cluster
from atoll.pci.address import Address

__all__ = ["Tenant", "owner_uid", "peer", "tenants"]

_CREDENTIALS = struct.Struct("iII")
"""``struct ucred``: pid, uid, gid (include/linux/socket.h)."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A process that has something of a cluster open."""

    pid: int
    name: str
    certain: bool
    """False for a process that shows an open device and not which one."""

    def __str__(self) -> str:
        return f"process {self.pid} ({self.name})" + ("" if self.certain else ", perhaps")


def owner_uid(cluster: Cluster) -> int:
    """Return the user whom a cluster is handed to: root where its file names none. InputError for a name unknown, and
    for a user whom this process cannot tell from others."""
    uid = _uid(cluster)
    if not is_one_user(uid):
        raise InputError(
            f"cluster {cluster.name}: user {uid} cannot be told from others in this user namespace",
            hint="run the holder outside of it: here all users that are not mapped (/proc/self/uid_map) look the same",
        )
    return uid


def _uid(cluster: Cluster) -> int:
    if cluster.owner is None:
        return 0
    if isinstance(cluster.owner, int):
        return cluster.owner
    import pwd

    try:
        return pwd.getpwnam(cluster.owner).pw_uid
    except (KeyError, ValueError):
        raise InputError(
            f"cluster {cluster.name}: this host knows no user {cluster.owner!r}",
            hint="getent passwd lists them; an id does too: owner = 1000",
        ) from None


def peer(connection: socket.socket) -> tuple[int, int]:
    """Return process and user at the other end, as they were when it connected (SO_PEERCRED, unix(7))."""
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(packed)
    return pid, uid


def tenants(tree: Tree, host: Host, functions: Collection[Address], *, keepers: Collection[int]) -> tuple[Tenant, ...]:
    """Return the processes, keepers aside, that have one of these devices or a group of one open, by process id.

    A process with an open device of which nothing tells which one it is counts too. OSError(EPERM) where the open
    files of processes cannot be seen.
    """
    holders, _ = read_holders(tree)
    if isinstance(holders, Unknown):
        raise OSError(errno.EPERM, holders.reason)
    groups = set(_groups(host, functions))
    found = []
    for holder in holders.value:
        if holder.pid in keepers:
            continue
        certain = bool(groups & set(holder.groups) or set(functions) & set(holder.devices))
        if certain or holder.uncertain:
            found.append(Tenant(holder.pid, holder.name, certain))
    return tuple(found)


def _groups(host: Host, functions: Collection[Address]) -> Iterator[int]:
    for address, function in host.functions.items():
        number = value_of(function.group, None)
        if address in functions and number is not None:
            yield number
