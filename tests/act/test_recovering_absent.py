"""Recovering a release whose cluster file counts GPUs of which one is gone since."""

from __future__ import annotations

import pytest
from act_bench import BLUE, RED, host_of, planned, state
from deaths import deaths

from atoll.act import device
from atoll.act.executor import execute
from atoll.act.journal import read_journal
from atoll.act.machine import Machine
from atoll.act.recover import Fate, recover
from atoll.act.release import release
from atoll.pci.address import Address
from atoll.plan.spec import read_spec
from atoll.twin import Twin

LAST = Address.parse("0035:04:00.0")


def release_of(machine: Machine, spec: str) -> None:
    host = host_of(machine)
    release(machine, host, read_spec(spec, host, name="spec"), spec=spec)


@pytest.mark.parametrize("red", ['"gpu[0]"', '"gpu[0]", "gpu[1]"', '"gpu[0:2]"', f'"gpu[0]", "{BLUE}"'])
@pytest.mark.parametrize("pulled", [RED, LAST])
def test_a_release_that_died_needs_no_device_that_is_not_there_any_more(red: str, pulled: Address) -> None:
    """Its file counts GPUs: by the journal the others are given back, whatever a number names by now."""
    spec = f'[cluster.red]\ndevices = [{red}]\n[cluster.blue]\ndevices = ["gpu[3]"]\n'
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    host, made = planned(twin, spec)
    execute(twin, host, made)
    given = [address for address in (RED, BLUE, LAST) if device.driver(twin, address) == "vfio-pci"]
    died = [
        death
        for death in deaths(
            twin, {}, lambda machine: release_of(machine, spec), wanted=lambda number: number in (40, 60, 80)
        )
        if read_journal(death.twin).dead
    ]
    assert died
    for death in died:
        owed = any(entry.step.device == pulled for entry in read_journal(death.twin).entries)
        death.twin.write(f"sys/bus/pci/devices/{pulled}/remove", b"1")
        (found,) = recover(death.twin).runs
        assert found.fate is Fate.COMPLETED, (death.what, found.left)
        assert (f"{pulled} is not there" in "; ".join(found.left)) == owed, death.what
        for address in set(given) - {pulled}:
            there = state(death.twin)["devices"][str(address)]
            assert there["driver"] == before["devices"][str(address)]["driver"] == "nouveau", death.what
        assert not read_journal(death.twin).dead
