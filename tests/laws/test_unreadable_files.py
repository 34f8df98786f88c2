"""Files that are missing or cannot be read, as without privileges: every verb answers, and never better than before."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import pytest
from shaken import shake, some_twin
from test_hidden_facts import foreseen

from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.fabric.answer import Answer, Policy
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.host.model import Host
from atoll.host.tree import Tree
from atoll.isolation.reach import Reach
from atoll.pci.address import Address
from atoll.twin import Twin
from atoll.twin.error import TwinError
from fuzz.answers import Answers, answers
from fuzz.targets.trees import Broken, whole

ERRORS = (errno.EACCES, errno.EIO, errno.ENOENT, errno.ENODEV, errno.EPERM, errno.EINVAL)
ORDER = ("blocked", "iommu", "possible", "direct")
OPEN = ("possible", "direct")


@dataclass(frozen=True)
class Seen:
    """What the verbs say of a tree."""

    host: Host
    told: Answers

    def answer(self, one: Address, other: Address) -> tuple[str, str]:
        """Access and identity in the words of ``explain A B``."""
        found = next(a for a in self.told["explain A B"]["answers"] if (a["from"], a["to"]) == (str(one), str(other)))
        return found["answer"], found["identity"]["answer"]


def seen(tree: Tree, pair: tuple[Address, Address]) -> Seen:
    host = read_host(tree, registers=registers)
    return Seen(host, answers(host, tree, pair=pair))


def broken(rng: Random, tree: Tree, paths: tuple[str, ...], much: float) -> Broken:
    """Let files, and now and then whole folders, answer with errors; their names stay in the folders above."""
    errors = {}
    for path in paths:
        if rng.random() < much:
            errors[path] = rng.choice(ERRORS)
        if rng.random() < much / 40:
            errors[path.rpartition("/")[0]] = rng.choice(ERRORS)
    return Broken(tree, errors)


def not_better(before: Seen, after: Seen, one: Address, other: Address) -> None:
    """Each verb's document on what is left says nothing that is safer than on the whole."""
    if not {one, other} <= after.host.functions.keys():
        return
    was, now = before.told, after.told
    for first, second in ((one, other), (other, one)):
        for old, new in zip(before.answer(first, second), after.answer(first, second), strict=True):
            assert not (old in OPEN and new not in OPEN), ("explain A B", first, second, old, new)
    assert before_is_kept(was["explain A"], now["explain A"]), "explain A"
    companions_are_kept(was, now, one)
    in_one_group_still(was["forum"], now["forum"], one, other)
    if "prove" in was and "prove" in now:
        for name in ("verdict", "handed_over"):
            old, new = was["prove"][name], now["prove"][name]
            old, new = (old["verdict"], new["verdict"]) if name == "handed_over" else (old, new)
            assert not (old == "violated" and new == "proven"), ("prove", name, old, new)
        for trigger, count in was["prove"]["weakest"].items():
            if now["prove"]["verdict"] == "proven" and count is not None:
                left = now["prove"]["weakest"][trigger]
                assert left is not None, ("resilience", trigger)
    if "iova" in was and "iova" in now:
        for old, new in zip(was["iova"]["clusters"], now["iova"]["clusters"], strict=True):
            claimed = [part for part in old["polluted"] if open_to(part, new)]
            assert new["unknown"] or not claimed, ("iova", claimed, new["usable"])


def before_is_kept(was: dict[str, Any], now: dict[str, Any]) -> bool:
    left = {entry["address"]: entry for entry in now["neighbours"]}
    for entry in was["neighbours"]:
        found = left.get(entry["address"])
        for way in ("there", "back", "identity") if found is not None else ():
            assert found is not None
            if entry[way]["answer"] in OPEN and found[way]["answer"] not in OPEN:
                return False
    return True


def companions_are_kept(was: dict[str, Any], now: dict[str, Any], one: Address) -> None:
    """Who shares the recorded group is not lost without a word."""
    old, new = was["explain A"]["grouping"], now["explain A"]["grouping"]
    if old is None or new is None or not (old["recorded"] and new["recorded"]):
        return
    shown = {function["address"] for function in now["show"]["functions"]}
    lost = set(old["members"]) & shown - set(new["members"])
    assert not lost, (one, "companions", lost)


def in_one_group_still(was: list[str], now: list[str], one: Address, other: Address) -> None:
    if now[:1] and now[0].startswith("#"):
        return
    old, new = listed(was), listed(now)
    names = {str(one), str(one).partition(":")[2]}, {str(other), str(other).partition(":")[2]}
    first, second = (next((old[n] for n in found if n in old), None) for found in names)
    if first is None or first != second:
        return
    left = [next((new[n] for n in found if n in new), None) for found in names]
    assert None in left or left[0] == left[1], ("forum", one, other, left)


def listed(lines: list[str]) -> dict[str, str]:
    found, group = {}, ""
    for line in lines:
        if line.startswith("IOMMU Group"):
            group = line
        elif line.startswith("\t"):
            found[line.split()[0]] = group
    return found


def open_to(part: dict[str, str], cluster: dict[str, Any]) -> bool:
    """Whether addresses that a peer claims are called usable."""
    return any(
        int(free["start"], 16) <= int(part["end"], 16) and int(part["start"], 16) <= int(free["end"], 16)
        for free in cluster["usable"] or ()
    )


@pytest.mark.parametrize("seed", range(10))
def test_an_unreadable_device_tree_never_improves_an_answer(seed: int) -> None:
    rng = Random(7000 + seed)
    twin = some_twin(rng, "ac922-4gpu", "ac922-6gpu")
    shake(rng, twin)
    host = read_host(twin, registers=registers)
    linked = [a for a, f in host.functions.items() if (f.vendor, f.device) in ((0x10DE, 0x1DB1), (0x1014, 0x04EA))]
    one, other = rng.sample(linked, 2)
    paths = paths_of(twin.blueprint.name, twin.blueprint.kernel.label)
    half = broken(rng, twin, tuple(path for path in paths if "devicetree" in path), rng.choice((0.01, 0.05, 0.2)))
    not_better(seen(twin, (one, other)), seen(half, (one, other)), one, other)


@cache
def paths_of(name: str, kernel: str) -> tuple[str, ...]:
    return tuple(whole(Twin.new(name, kernel=kernel)))


@pytest.mark.parametrize("seed", [*range(40), 51])
def test_unreadable_files_of_a_twin_never_improve_an_answer(seed: int) -> None:
    rng = Random(3000 + seed)
    twin = some_twin(rng)
    shake(rng, twin)
    host = read_host(twin, registers=registers)
    one, other = rng.sample([a for a, f in host.functions.items() if not f.is_port and a not in host.essential], 2)
    before = seen(twin, (one, other))
    paths = paths_of(twin.blueprint.name, twin.blueprint.kernel.label)
    after = seen(broken(rng, twin, paths, rng.choice((0.005, 0.02, 0.1, 0.5))), (one, other))
    not_better(before, after, one, other)
    try:
        reached = twin.attack(one, other).reached
    except TwinError:
        return
    groups = {f.group for a, f in host.functions.items() if a in (one, other)}
    if reached and len(groups) == 2 and {one, other} <= after.host.functions.keys():
        reach = Reach(Topology(after.host), present(after.host), Policy.STRICT)
        assert foreseen(reach, one, other) > Answer.IOMMU, (one, other)
        assert after.told.get("prove", {"verdict": "unknown"})["verdict"] != "proven"
