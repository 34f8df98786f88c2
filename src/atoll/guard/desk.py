"""Who may ask a holder for what, and the answers.

Anybody may connect; what is answered goes by the user at the other end (SO_PEERCRED). ``state`` shows root all clusters
and others their own; ``take`` hands a cluster to the one user whom its file names (root where it names none), and only
while all its devices are seen to be cut; ``proof`` tells root and owners; ``stop`` is root's.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from atoll.errors import AtollError
from atoll.guard.defects import Defects
from atoll.guard.departures import Departures
from atoll.guard.keepers import Keepers
from atoll.guard.keeping import LOOK_PATIENCE, Keeping, Order
from atoll.guard.message import SCHEMA, printed, unread
from atoll.guard.watch import Sight
from atoll.isolation.clusters import Cluster
from atoll.pci.address import Address
from atoll.plan.possession import holder_name
from atoll.vfio.errors import VfioError

__all__ = ["Asker", "Desk"]

ROOT = 0
_ASKS = ("state", "proof", "take", "stop")


class _Refused(Exception):
    """A request that is not granted."""

    def __init__(self, message: str, hint: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.again = again
        """Whether it may be granted a moment later."""


@dataclass(slots=True)
class Asker:
    """Who is connected."""

    connection: socket.socket
    pid: int
    uid: int
    whose: int | None = None
    """Whom its connections are counted for: root, an owner, or (None) all others."""
    taken: frozenset[str] = frozenset()
    """The clusters that were handed to it."""
    sent: frozenset[str] = frozenset()
    """Those of which it may not have received yet what was sent."""
    handing: Order | None = None
    """By which a keeper hands it something now, and answers."""
    proving: Order | None = None
    """The proof that it waits for."""

    def on_its_way(self) -> frozenset[str]:
        """Return the clusters whose descriptors it may not have received yet: no process shows these meanwhile.

        To be called before anything else is sent to it, which it may leave unread.
        """
        under_way = self.handing is not None and not self.handing.done
        if self.sent and not under_way and not unread(self.connection):
            self.sent = frozenset()
        return self.sent


class Desk:
    """Answers requests. ``answer`` never raises for what a client sends."""

    def __init__(
        self,
        clusters: Sequence[Cluster],
        uids: Mapping[str, int],
        keepers: Keepers,
        watched: Mapping[Address, frozenset[int]],
        departures: Departures,
        prove: Callable[[], Order],
        stop: Callable[[], float],
    ) -> None:
        """``uids``: each cluster's owner. ``watched``: the links that are kept cut. ``prove`` returns a proof that is
        done or under way. ``stop`` begins the end, and returns for how many seconds owners are waited for."""
        self._clusters = {cluster.name: cluster for cluster in clusters}
        self._uids = uids
        self._keepers = keepers
        self._watched = watched
        self._departures = departures
        self._prove = prove
        self._stop = stop
        self._defects = Defects()
        self.ending = False
        """While it ends nothing is handed out any more."""

    def answer(self, request: Mapping[str, Any], asker: Asker) -> Mapping[str, Any] | None:
        """Return the answer; None where it takes time: then the asker has an order, by which a keeper answers, or whose
        answer ``proof`` returns."""
        try:
            return self._answer(request, asker)
        except _Refused as refused:
            told = error(refused.message, refused.hint)
            return {**told, "again": True} if refused.again else told
        except AtollError as failed:
            return error(failed.message, failed.hint)
        except OSError as failed:
            return error(failed.strerror or str(failed))
        except Exception as defect:
            found = self._defects.tell(defect, f"{printed(request.get('ask'))} uid={asker.uid}")
            return error(found.message, found.hint)

    def _answer(self, request: Mapping[str, Any], asker: Asker) -> Mapping[str, Any] | None:
        match request.get("ask"):
            case "state":
                return {"ok": True, "schema": SCHEMA, **self.state(self._own(asker))}
            case "proof":
                self._own(asker)
                asker.proving = self._prove()
                return None
            case "take":
                self._take(request.get("of"), asker)
                return None
            case "stop":
                if asker.uid != ROOT:
                    raise _Refused("only root may end the holder", "ask who runs it")
                return {"ok": True, "schema": SCHEMA, "ending": self._stop()}
            case other:
                near = get_close_matches(other, _ASKS, n=1) if isinstance(other, str) else []
                hint = f"did you mean {near[0]}?" if near else f"ask for one of: {', '.join(_ASKS)}"
                raise _Refused(f"no such request: {printed(other)}", hint)

    def _own(self, asker: Asker) -> list[Cluster]:
        """Return the clusters that a user may know of."""
        known = [c for c in self._clusters.values() if asker.uid in (ROOT, self._uids[c.name])]
        if not known:
            raise _Refused(f"nothing is held for user {asker.uid}", "a cluster's file names its owner: owner = …")
        return known

    def proof(self, proved: Mapping[str, Any], asker: Asker) -> Mapping[str, Any]:
        """Return the answer to who asked for a proof."""
        # Reasons may speak of others' devices.
        hidden = () if asker.uid == ROOT else ("reasons",)
        found = {name: value for name, value in proved.items() if name not in hidden}
        return {"ok": True, "schema": SCHEMA, **found}

    def knows(self, uid: int) -> bool:
        """Whether a user has anything to ask here: root, and owners."""
        return uid == ROOT or uid in self._uids.values()

    def cluster_of(self, address: Address) -> str | None:
        """Return the name of the held cluster that a device belongs to."""
        found = (name for name, cluster in self._clusters.items() if address in cluster.functions)
        return next(found, None)

    # -- state

    def state(self, clusters: Sequence[Cluster] | None = None) -> dict[str, Any]:
        """Return how held clusters stand."""
        shown = list(self._clusters.values()) if clusters is None else clusters
        return {"pid": os.getpid(), "ending": self.ending, "clusters": [self._shown(cluster) for cluster in shown]}

    def _shown(self, cluster: Cluster) -> dict[str, Any]:
        keeping = self._keeping(cluster)
        looks, unseen = self._looks(keeping)
        devices = []
        for address in cluster.functions:
            found = looks.get(str(address))
            if found is None:
                held = keeping is not None and address in keeping.leases and not keeping.ended
                kept = sorted(self._watched.get(address, ()))
                # What is to be watched and is not, nobody knows.
                sight = Sight.UNKNOWN if kept else None
                found = {"sight": sight, "reason": unseen if held else "not held", "links": kept, "cuts": 0}
            if reason := self._departures.reason(address):
                found = {**found, "reason": reason}
            if address in self._departures.gone:
                found = {**found, "sight": Sight.UNKNOWN}
            devices.append({"address": str(address), **found})
        return {
            "name": cluster.name,
            "owner": self._uids[cluster.name],
            "keeper": None if keeping is None or keeping.ended else keeping.pid,
            "silent_since": keeping.under_way[0].at if keeping is not None and keeping.under_way else None,
            "devices": devices,
        }

    def _keeping(self, cluster: Cluster) -> Keeping | None:
        return self._keepers.by_holder.get(holder_name(cluster.name))

    def _looks(self, keeping: Keeping | None) -> tuple[dict[str, Any], str]:
        """Return what a keeper has seen, by the device, and why it does not tell."""
        if keeping is None or keeping.ended:
            return {}, ""
        try:
            found: dict[str, Any] = keeping.order("looks", patience=LOOK_PATIENCE)["devices"]
        except VfioError as error:
            return {}, error.message
        for seen in found.values():
            del seen["registers"]
        return found, ""

    # -- handing out

    def _take(self, wanted: object, asker: Asker) -> None:
        cluster, devices = self._wanted(wanted, asker)
        if self.ending:
            raise _Refused("the holder ends: nothing is handed out any more", "wait until it runs again")
        keeping = self._keeping(cluster)
        if keeping is None or keeping.ended:
            raise _Refused(f"{cluster.name} is not held any more: its keeper has ended", "see the holder's log")
        looks, unseen = self._looks(keeping)
        if not devices:
            raise _Refused(f"nothing of {cluster.name} is held any more", "see: atoll hold --state")
        for address in devices:
            if address in self._departures.wanted:
                raise _Refused(f"{address}: {self._departures.reason(address)}", "ask again once it is gone")
        for address in cluster.functions:
            if address in self._departures.gone:
                continue
            if self._watched.get(address) and looks.get(str(address), {}).get("sight") != Sight.CUT:
                reason = looks.get(str(address), {}).get("reason", unseen or "it is not watched")
                raise _Refused(f"{address} is not seen to be cut now: {reason}", "ask again", again=True)
        reply = {"ok": True, "schema": SCHEMA, "cluster": cluster.name, "devices": [str(a) for a in devices]}
        # Noted first: a keeper that does not answer in time may hand it over later.
        asker.taken |= {cluster.name}
        asker.sent = asker.on_its_way() | {cluster.name}
        asker.handing = keeping.begin("hand", None, asker.connection.fileno(), devices=reply["devices"], reply=reply)

    def _wanted(self, wanted: object, asker: Asker) -> tuple[Cluster, list[Address]]:
        if not isinstance(wanted, str):
            raise _Refused("take of what?", 'say of which cluster or device: {"ask": "take", "of": "red"}')
        for cluster in self._clusters.values():
            keeping = self._keeping(cluster)
            # Functions that follow another (an NPU's) are not open themselves.
            opened = sorted(keeping.leases) if keeping is not None else []
            if wanted == cluster.name:
                self._check_owner(cluster, asker)
                return cluster, opened
            chosen = [address for address in opened if wanted == str(address)]
            if chosen:
                self._check_owner(cluster, asker)
                return cluster, chosen
        # The same words whether it is not there or not told: a user learns nothing of others' clusters.
        raise _Refused(f"nothing called {printed(wanted)} is held for user {asker.uid}", "see: atoll hold --state")

    def _check_owner(self, cluster: Cluster, asker: Asker) -> None:
        if asker.uid != self._uids[cluster.name]:
            if asker.uid == ROOT:
                raise _Refused(f"{cluster.name} is for user {self._uids[cluster.name]}", "its file names the owner")
            raise _Refused(f"nothing called {cluster.name!r} is held for user {asker.uid}", "see: atoll hold --state")


def error(message: str, hint: str = "") -> dict[str, Any]:
    """Return the answer to what is not granted."""
    return {"ok": False, "schema": SCHEMA, "error": message, "hint": hint}
