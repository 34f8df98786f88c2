"""Inside the guest: two clusters whose devices share a group, taken apart by ``atoll apply`` and put back."""

import json
import os
from pathlib import Path

from verbs import DEVICES, atoll, groups

import labguest
from labguest import check, checks, until

asked = json.loads(Path("/scenario/asked.json").read_text())
facts: dict[str, object] = {}


def state() -> dict[str, object]:
    """Return groups, drivers and overrides."""
    drivers = {path.name: os.path.basename(os.path.realpath(path / "driver")) for path in sorted(DEVICES.iterdir())}
    overrides = {path.name: (path / "driver_override").read_text() for path in sorted(DEVICES.iterdir())}
    return {"groups": groups(), "drivers": drivers, "overrides": overrides}


def group_of(device: str) -> list[str]:
    """Return the members of a function's group."""
    return next(members for members in groups() if device in members)


def case(name: str, red: list[str], blue: list[str], possible: bool) -> None:
    """``possible``: whether the ports between them can redirect."""
    Path("/spec.toml").write_text(
        "".join(
            f'[cluster.{cluster}]\ndevices = {json.dumps(devices)}\nhandover = "vfio"\n'
            for cluster, devices in (("red", red), ("blue", blue))
        )
    )
    before = state()
    together = group_of(red[0])
    check(f"{name}: both clusters are in one group", {*red, *blue} <= set(together), together)
    ran = atoll("plan", "/spec.toml", "-o", "/plan.json")
    check(f"{name}: planned for what it is", ran.returncode == (0 if possible else 1), ran)
    steps = json.loads(Path("/plan.json").read_text())["steps"]
    predicted = [step["group"] for step in steps if step["kind"] == "rescan"]
    ran = atoll("apply", "/spec.toml")
    if not possible:
        check(f"{name}: not applied", ran.returncode not in (0, 5), ran)
        check(f"{name}: nothing is changed", state() == before, (before, state()))
        facts[name] = {"before": together, "said": (ran.stdout + ran.stderr).splitlines()[:3]}
        return
    check(f"{name}: applied", ran.returncode == 0, ran)
    after = groups()
    check(f"{name}: found again", predicted, steps)
    check(f"{name}: the groups are those predicted", all(group in after for group in predicted), (predicted, after))
    ours, theirs = [group_of(device) for device in red], [group_of(device) for device in blue]
    check(f"{name}: the clusters share none", not any(group in theirs for group in ours), (ours, theirs))
    ran = atoll("release", "/spec.toml")
    check(f"{name}: released", ran.returncode == 0, ran)
    check(
        f"{name}: groups, drivers and overrides are as before",
        # A driver may bind after what asked for it has returned.
        until(lambda: state() == before),
        state(),
    )
    facts[name] = {"before": together, "predicted": predicted, "after": [*ours, *theirs]}


for each in asked:
    case(each["name"], each["red"], each["blue"], each["possible"])
labguest.answer({"release": os.uname().release, "checks": checks, "facts": facts})
