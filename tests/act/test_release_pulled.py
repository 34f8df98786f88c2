"""Giving devices back: one that was pulled or exchanged keeps nobody from getting the others."""

from __future__ import annotations

import errno
from contextlib import closing
from dataclasses import replace

import pytest
from act_bench import BLUE, RED, SPEC, Watched, host_of
from regroup_bench import DEVICE as DISK
from regroup_bench import PORT, regrouping, spoiled
from release_bench import applied, give_back

from atoll.act.database import Database
from atoll.act.executor import execute
from atoll.act.journal import read_journal
from atoll.act.release import release
from atoll.controls.present import present
from atoll.errors import RefusedError
from atoll.fabric.topology import Topology
from atoll.pci.address import Address
from atoll.plan.planner import plan
from atoll.plan.spec import read_spec
from atoll.twin import Twin


class Pulled(Watched):
    """A function that has gone after it was looked at a number of times."""

    def __init__(self, twin: Twin, address: Address, looks: int) -> None:
        super().__init__(twin)
        self.path = f"sys/bus/pci/devices/{address}"
        self.looks = looks

    def _look(self, path: str) -> None:
        if path.startswith(self.path):
            self.looks -= 1
            if self.looks < 0:
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)

    def list(self, path: str) -> tuple[str, ...]:
        self._look(path)
        return super().list(path)

    def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
        self._look(path)
        return super().read(path, offset=offset, size=size)

    def readlink(self, path: str) -> str:
        self._look(path)
        return super().readlink(path)


BOX = f'[cluster.red]\ndevices = ["{DISK}"]\n'


@pytest.mark.parametrize("looks", range(12))
def test_a_device_that_is_pulled_before_anything_is_given_back_is_refused(looks: int) -> None:
    twin = spoiled()
    made = regrouping(twin)
    twin.write(f"sys/bus/pci/drivers/{made.steps[0].driver}/unbind", str(DISK).encode())
    unbound = replace(made.steps[0], driver=None)
    execute(twin, host_of(twin), replace(made, steps=(unbound, made.steps[1], made.steps[5])))
    host = host_of(twin)
    told: list[str] = []
    try:
        told += release(Pulled(twin, DISK, looks), host, read_spec(BOX, host, name="spec")).left
    except RefusedError as error:
        told.append(error.message)
    assert any(str(DISK) in text for text in told)


@pytest.mark.parametrize("looks", range(2, 10))
def test_a_port_that_is_pulled_meanwhile_keeps_nobody_from_getting_the_others_back(looks: int) -> None:
    twin = spoiled()
    execute(twin, host_of(twin), regrouping(twin))
    host = host_of(twin)
    outcome = release(Pulled(twin, PORT, looks), host, read_spec(BOX, host, name="spec"))
    assert f"{PORT} has vanished meanwhile: it is not given back" in outcome.left
    # What is below is given back as far as it is there.
    assert any(deed.kind == "bind" and deed.device == DISK for deed in outcome.deeds)
    assert {entry.step.device for entry in read_journal(twin).entries} == {PORT}


def test_another_device_is_refused() -> None:
    twin = applied()
    with closing(Database(twin)) as journal:
        journal.connection.execute("UPDATE entry SET before = replace(before, '10de:1db1 at', '10de:1db5 at')")
        journal.commit()
    with pytest.raises(RefusedError, match="not the device that was planned for"):
        give_back(twin)


def test_an_exchanged_device_keeps_no_other_from_its_driver() -> None:
    spec = SPEC.replace('"held"', '"vfio"')
    twin = Twin.new("ac922-4gpu")
    host = host_of(twin)
    made = plan(Topology(host), present(host), read_spec(spec, host, name="spec"), spec=spec)
    execute(twin, host, replace(made, impossible=()))
    other = "replace(before, '10de:1db1 at', '10de:1db5 at')"
    with closing(Database(twin)) as journal:
        journal.connection.execute(f"UPDATE entry SET before = {other} WHERE before LIKE '%1db1 at %/{RED}%'")
        journal.commit()
    before = twin.readlink(f"sys/bus/pci/devices/{RED}/driver")
    outcome = give_back(twin, spec)
    assert any(f"{RED} is another device now: " in left for left in outcome.left)
    assert all(deed.device != RED for deed in outcome.deeds)
    assert twin.readlink(f"sys/bus/pci/devices/{RED}/driver") == before
    assert twin.readlink(f"sys/bus/pci/devices/{BLUE}/driver").endswith("/nouveau")
    assert all(entry.step.device != RED for entry in read_journal(twin).entries)
