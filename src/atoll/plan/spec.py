"""The cluster file: who owns what. From TOML text to clusters of a host, with exact errors.

::

    [cluster.red]
    devices = ["0004:04:00.0", "gpu[1]"]     # selectors, see atoll.plan.selector
    driver = "vfio-pci"                      # the default
    handover = "held"                        # vfio (the default), held, broker, kernel
    owner = "alice"                          # whom a holder may hand it to: a user, or a user id; root where none is

    [policy]
    survive = { tenant = 1 }                 # by trigger: the proof must hold after any that many events
    assumed = false                          # true: controls that are only assumed to work may be used
    essential = []                           # addresses that the host needs and that may be given away all the same
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, TypeAlias

from atoll.errors import InputError, RefusedError
from atoll.events.trigger import Trigger
from atoll.host.model import Host
from atoll.isolation.clusters import HOST, Cluster, Clusters, Handover
from atoll.pci.address import Address
from atoll.plan.cluster_file import ClusterFile, SpecError, kind
from atoll.plan.locate import KeyPath
from atoll.plan.npu import follow
from atoll.plan.selector import counts, resolve

__all__ = ["Spec", "read", "read_spec"]

_TOP = ("cluster", "policy")
_CLUSTER = ("devices", "driver", "handover", "owner")
_POLICY = ("survive", "assumed", "essential")
_VFIO = "vfio-pci"
_LONGEST_NAME = 48
_LONGEST_USER = 256
"""LOGIN_NAME_MAX, its end included (glibc, sysdeps/unix/sysv/linux/bits/local_lim.h)."""
_LAST_USER = (1 << 32) - 2
"""The id above it stands for none (chown(2))."""

_Owners: TypeAlias = dict[Address, tuple[str, str, KeyPath]]
"""Who has each device: a cluster, by which selector, and where in the file that one stands."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A cluster file and what it permits."""

    clusters: Clusters
    essential: frozenset[Address] = frozenset()
    """Functions that the host needs and that the file gives away by name."""


def read_spec(
    text: str,
    host: Host,
    *,
    name: str,
    gone: Collection[Address] = (),
    known: Mapping[str, Collection[Address]] | None = None,
) -> Clusters:
    """Return the clusters of a cluster file; ``name`` is what to call the file.

    What is ``gone`` was there once, and may be named still: it is left out, and a cluster may have nothing left.
    ``known`` (None where nothing is) tells what clusters had when the file was read before: of these nothing is counted
    anew, and where something is gone, what others count may be no more.
    Raises SpecError, and RefusedError for a device that the host itself needs.
    """
    return read(text, host, name=name, gone=gone, known=known).clusters


def read(
    text: str,
    host: Host,
    *,
    name: str,
    gone: Collection[Address] = (),
    known: Mapping[str, Collection[Address]] | None = None,
) -> Spec:
    """Return the clusters of a cluster file and its permissions. Raises as ``read_spec`` does."""
    return _Reader(ClusterFile(text, name=name), host, frozenset(map(str, gone)), known).read()


@dataclass(slots=True)
class _Reader:
    """One cluster file being read."""

    file: ClusterFile
    host: Host
    gone: frozenset[str] = frozenset()
    """Addresses that are named and not there, and need not be."""
    before: Mapping[str, Collection[Address]] | None = None
    """What clusters had when the file was read before."""

    def read(self) -> Spec:
        data = self.file.data
        self.file.known(data, (), _TOP)
        survive, assumed, essential = self.policy(self.file.table(data, ("policy",)))
        tables = self.file.table(data, ("cluster",))
        if not tables:
            raise self.file.error((), "no clusters", hint='begin with [cluster.NAME] and devices = ["…"]')
        owners: _Owners = {}
        for cluster in tables:
            self.cluster_devices(tables, cluster, owners)
        members = self.with_companions(owners)
        for address, (_, selector, path) in owners.items():
            if address in self.host.essential and address not in essential:
                raise self.refusal(path, address, selector)
        named = tuple(self.cluster(tables, cluster, members.get(cluster, ())) for cluster in tables)
        return Spec(Clusters(named, survive, assumed), essential)

    # -- clusters

    def cluster_devices(self, tables: dict[str, Any], cluster: str, owners: _Owners) -> None:
        """Check one cluster's name and keys, and enter its devices."""
        path: KeyPath = ("cluster", cluster)
        self.check_name(path, cluster)
        table = self.file.table(tables, path)
        self.file.known(table, path, _CLUSTER)
        if "devices" not in table:
            raise self.file.error(path, "no devices, expected an array of selectors", hint='devices = ["0004:04:00.0"]')
        path = (*path, "devices")
        selectors = self.file.strings(table["devices"], path, "selectors")
        if not selectors:
            raise self.file.error(
                path, "empty, expected at least one selector", hint="a cluster without devices proves nothing"
            )
        had = (self.before or {}).get(cluster)
        counting: list[tuple[str, KeyPath]] = []
        for index, selector in enumerate(selectors):
            if had is not None and counts(selector):
                counting.append((selector, (*path, index)))
                continue
            for address in self.selected(selector, (*path, index)):
                self.enter(owners, address, cluster, selector, (*path, index))
        if had is not None and counting:
            self.enter_had(owners, cluster, had, *counting[0])

    def selected(self, selector: str, path: KeyPath) -> tuple[Address, ...]:
        """Return the functions that a selector names; none where what it named is gone, and need not be there."""
        try:
            return resolve(selector, self.host)
        except InputError as error:
            if selector in self.gone or (self.gone and self.before is not None and counts(selector)):
                return ()
            raise self.file.error(path, error.message, hint=error.hint) from None

    def enter_had(self, owners: _Owners, cluster: str, had: Collection[Address], selector: str, path: KeyPath) -> None:
        """Enter what a cluster had, in place of what selectors name that count devices: by now these may be others."""
        followers = follow(self.host)
        for address in had:
            mine = address in owners and owners[address][0] == cluster
            if address in self.host.functions and address not in followers and not mine:
                self.enter(owners, address, cluster, selector, path)

    def enter(self, owners: _Owners, address: Address, cluster: str, selector: str, path: KeyPath) -> None:
        if address in owners:
            raise self.twice(path, address, cluster, owners[address])
        owners[address] = (cluster, selector, path)

    def check_name(self, path: KeyPath, cluster: str) -> None:
        if cluster == HOST:
            raise self.file.error(
                path,
                f"{HOST!r} is the name of the trusted rest that no cluster names, expected another name",
                hint='a cluster that a host driver owns: give it a name and handover = "kernel"',
            )
        plain = cluster.isascii() and cluster.replace("-", "").replace("_", "").replace(".", "").isalnum()
        if not plain or len(cluster) > _LONGEST_NAME:
            what = f"not a cluster's name, expected up to {_LONGEST_NAME} letters, digits, '-', '_' and '.'"
            raise self.file.error(path, what)

    def twice(self, path: KeyPath, address: Address, cluster: str, first: tuple[str, str, KeyPath]) -> SpecError:
        where = f"line {self.file.line(first[2])}"
        if first[0] == cluster:
            return self.file.error(path, f"{address} is named twice, first in {where}", hint="name each device once")
        what = f"{address} belongs to cluster {first[0]} already ({where})"
        return self.file.error(path, what, hint="a device has one owner")

    def with_companions(self, owners: _Owners) -> dict[str, list[Address]]:
        """Return the functions by cluster, each GPU with its NPU functions."""
        members: dict[str, list[Address]] = {}
        for address, (cluster, _, _) in owners.items():
            members.setdefault(cluster, []).append(address)
        for npu, gpu in follow(self.host).items():
            ours, leader = owners.get(npu), owners.get(gpu)
            if ours is not None and (leader is None or leader[0] != ours[0]):
                theirs = "the host" if leader is None else f"cluster {leader[0]}"
                what = f"{npu} is an NPU function of the GPU {gpu}, which belongs to {theirs}"
                raise self.file.error(ours[2], what, hint="NPU functions follow their GPU: name the GPU alone")
            if leader is not None and ours is None:
                members[leader[0]].append(npu)
        return members

    def cluster(self, tables: dict[str, Any], cluster: str, members: Iterable[Address]) -> Cluster:
        path: KeyPath = ("cluster", cluster)
        table = self.file.table(tables, path)
        handover = self.handover(table, (*path, "handover"))
        driver = self.driver(table, (*path, "driver"), handover)
        owner = self.user(table, (*path, "owner"), handover)
        return Cluster(cluster, tuple(sorted(members)), handover, driver, owner)

    def user(self, table: Mapping[str, Any], path: KeyPath, handover: Handover) -> str | int | None:
        """Return whom a holder may hand the cluster to: a name or an id. Which users there are is not looked up."""
        if "owner" not in table:
            return None
        if handover is not Handover.HELD:
            what = f'found an owner, expected none, because handover is "{handover}"'
            raise self.file.error(path, what, hint='only handover = "held" hands devices to a user')
        value = table["owner"]
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self.file.error(path, f"found {kind(value)}, expected a user's name or id")
        if isinstance(value, int) and not 0 <= value <= _LAST_USER:
            raise self.file.error(path, f"{value} is no user id, expected 0 to {_LAST_USER}")
        if isinstance(value, str) and (not value.isprintable() or not 0 < len(value) < _LONGEST_USER or ":" in value):
            raise self.file.error(
                path, f"{value!r} is no user's name", hint="as the first column of /etc/passwd has it"
            )
        return value

    def handover(self, table: Mapping[str, Any], path: KeyPath) -> Handover:
        value = table.get("handover", Handover.VFIO.value)
        if value in list(Handover):
            return Handover(value)
        found = repr(value) if isinstance(value, str) else kind(value)
        near = get_close_matches(value, list(Handover), n=1) if isinstance(value, str) else []
        hint = f"did you mean {near[0]}?" if near else ""
        raise self.file.error(path, f"found {found}, expected vfio, held, broker or kernel", hint=hint)

    def driver(self, table: Mapping[str, Any], path: KeyPath, handover: Handover) -> str:
        kernel = handover is Handover.KERNEL
        if "driver" not in table:
            if kernel:
                what = "missing, expected the host driver that owns the cluster's devices"
                raise self.file.error(path, what, hint='with handover = "kernel", say driver = "nvidia" or another')
            return _VFIO
        value = table["driver"]
        if not isinstance(value, str):
            raise self.file.error(path, f"found {kind(value)}, expected a driver's name")
        if not value.isascii() or not value.replace("-", "").replace("_", "").isalnum() or len(value) > 64:
            raise self.file.error(path, f"{value!r} is no driver's name, expected letters, digits, '-' and '_'")
        if kernel and "vfio" in value:
            what = f'found {value!r}, expected a host driver, because handover is "kernel"'
            raise self.file.error(path, what, hint='for a VMM: handover = "vfio", "held" or "broker"')
        if not kernel and "vfio" not in value:
            what = f'found {value!r}, expected vfio-pci or a variant of it, because handover is "{handover}"'
            raise self.file.error(path, what, hint='for a host driver: handover = "kernel"')
        return value

    # -- policy

    def policy(self, table: dict[str, Any]) -> tuple[dict[Trigger, int], bool, frozenset[Address]]:
        path: KeyPath = ("policy",)
        self.file.known(table, path, _POLICY)
        survive = self.file.table(table, (*path, "survive"))
        self.file.known(survive, (*path, "survive"), tuple(Trigger))
        for trigger, count in survive.items():
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                found = str(count) if type(count) is int else kind(count)
                what = f"found {found}, expected a number of events, 1 or more"
                raise self.file.error((*path, "survive", trigger), what)
        assumed = table.get("assumed", False)
        if not isinstance(assumed, bool):
            raise self.file.error((*path, "assumed"), f"found {kind(assumed)}, expected true or false")
        allowed = self.file.strings(table.get("essential", []), (*path, "essential"), "addresses")
        essential = frozenset(self.address(item, (*path, "essential", index)) for index, item in enumerate(allowed))
        return {Trigger(trigger): survive[trigger] for trigger in sorted(survive)}, assumed, essential

    def address(self, text: str, path: KeyPath) -> Address:
        """Read an address of this host: permissions name single functions, never selectors."""
        try:
            address = Address.parse(text)
        except ValueError as error:
            raise self.file.error(path, str(error), hint="permissions are given address by address") from None
        if address not in self.host.functions and text not in self.gone:
            raise self.file.error(path, f"no function {address} on this host", hint="atoll show lists the functions")
        return address

    def refusal(self, path: KeyPath, address: Address, selector: str) -> RefusedError:
        named = "" if selector == str(address) else f" ({selector!r} takes it in)"
        return RefusedError(
            f"{self.file.at(path)}{address} is needed by the host itself: {self.host.essential[address]}{named}",
            hint=f'to give it away all the same: [policy] essential = ["{address}"]',
        )
