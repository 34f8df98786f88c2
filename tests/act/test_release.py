"""Giving devices back: everything as it was, in an order that opens nothing."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import pytest
from act_bench import BLUE, RED, SPEC, Resetless, Visited, Watched, host_of, lose_journal, planned, state
from regroup_bench import DEVICE as DISK
from regroup_bench import PORT, regrouping, spoiled

from atoll.act import device
from atoll.act.database import Database
from atoll.act.executor import execute
from atoll.act.journal import read_journal
from atoll.act.outcome import Outcome
from atoll.act.owed import Owed, find_owed
from atoll.act.release import release
from atoll.controls.present import present
from atoll.errors import RefusedError, StepError
from atoll.fabric.topology import Topology
from atoll.pci.address import Address
from atoll.plan.planner import plan
from atoll.plan.selector import gpus
from atoll.plan.spec import read_spec
from atoll.twin import Twin
from atoll.twin.spec import DomainKind


def give_back(machine: Watched | Twin, spec: str = SPEC, *, dry_run: bool = False) -> Outcome:
    host = host_of(machine)
    return release(machine, host, read_spec(spec, host, name="spec"), dry_run=dry_run)


def applied(spec: str = SPEC, machine: str = "ac922-4gpu", kernel: str | None = None) -> Twin:
    twin = Twin.new(machine, kernel=kernel)
    host, made = planned(twin, spec)
    execute(twin, host, made)
    return twin


@pytest.mark.parametrize("handover", ["held", "vfio"])
@pytest.mark.parametrize("machine", ["ac922-4gpu", "ac922-6gpu"])
def test_all_is_as_before(machine: str, handover: str) -> None:
    spec = SPEC.replace("held", handover)
    before = state(Twin.new(machine))
    twin = applied(spec, machine)
    assert state(twin) != before
    outcome = give_back(twin, spec)
    assert outcome.deeds
    assert outcome.left == ()
    assert state(twin) == before
    assert read_journal(twin).entries == ()
    assert twin.read("run/atoll/lock") == b""


def test_after_two_applies_it_is_as_before_the_first() -> None:
    before = state(Twin.new("ac922-4gpu"))
    twin = applied(SPEC.split("[cluster.blue]")[0])
    host, made = planned(twin)
    execute(twin, host, made)
    twin.reset(RED, "bus")
    host, made = planned(twin)
    execute(twin, host, made)
    assert give_back(twin).left == ()
    assert state(twin) == before


def test_a_kernel_driver_keeps_its_device_with_its_links_open_again() -> None:
    twin = Twin.new("dgx1v")
    gpu = gpus(host_of(twin))[0]
    number = twin.kernel.devices[gpu].group
    assert number is not None
    # A cluster is no use to a host driver in an identity domain.
    twin.kernel.groups[number].kind = DomainKind.DMA
    before = state(twin)
    driver = twin.readlink(f"sys/bus/pci/devices/{gpu}/driver").rpartition("/")[2]
    spec = SPEC.replace('handover = "held"', f'handover = "kernel"\ndriver = "{driver}"', 1)
    host, made = planned(twin, spec)
    execute(twin, host, made)
    assert twin.readlink(f"sys/bus/pci/devices/{gpu}/driver").endswith(f"/{driver}")
    assert twin.peek(gpu, "bar0", 0xA00148)
    assert give_back(twin, spec).left == ()
    assert state(twin) == before


def test_nothing_opens_to_a_tenant_that_stays() -> None:
    twin = applied()
    red = SPEC.split("[cluster.blue]")[0]
    blue_held = twin.peek(BLUE, "bar0", 0xA00148)

    class Attacked(Watched):
        """Attacked from the tenant that stays, after every change."""

        def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
            super().write(path, data, offset=offset)
            assert not self.twin.attack(BLUE, RED).reached

    give_back(Attacked(twin), red)
    assert twin.peek(RED, "bar0", 0xA00148) == 0
    assert twin.peek(BLUE, "bar0", 0xA00148) == blue_held
    assert {entry.step.device for entry in read_journal(twin).entries} >= {BLUE}
    assert RED not in {entry.step.device for entry in read_journal(twin).entries}
    assert not twin.attack(BLUE, RED).reached
    assert give_back(twin).left == ()
    assert state(twin) == state(Twin.new("ac922-4gpu"))


def test_bus_mastering_is_off_everywhere_before_the_first_lease_is_closed() -> None:
    twin = applied()
    closed: list[tuple[bool, bool]] = []
    close = twin.vfio.close

    def watched(address: object) -> None:
        closed.append(tuple(twin.kernel.hardware.functions[a].master for a in (RED, BLUE)))  # type: ignore[arg-type]
        close(address)  # type: ignore[arg-type]

    twin.vfio.close = watched  # type: ignore[method-assign]
    give_back(twin)
    assert closed == [(False, False), (False, False)]


def test_nothing_applied_is_said() -> None:
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    outcome = give_back(twin)
    assert outcome.deeds == ()
    assert "nothing to release" in outcome.left[0]
    assert state(twin) == before
    assert twin.own_files == {}


def test_a_dry_run_writes_nothing() -> None:
    twin = applied()
    machine = Watched(twin)
    outcome = give_back(machine, dry_run=True)
    assert outcome.dry_run
    assert {deed.device for deed in outcome.deeds} >= {RED, BLUE}
    assert machine.changes == []


def test_a_running_guest_is_not_robbed() -> None:
    spec = SPEC.replace("held", "vfio")
    twin = applied(spec)
    twin.event("vm-start", [BLUE])
    before = state(twin)
    with pytest.raises(RefusedError, match=r"0004:05:00\.0 is open in process") as caught:
        give_back(twin, spec)
    assert caught.value.exit_code == 4
    assert state(twin) == before


GROUP, DEVICE = "/dev/vfio/1", "anon_inode:[vfio-device]"


@pytest.mark.parametrize("files", [("/dev/vfio/vfio", GROUP, DEVICE), (DEVICE,)])
def test_an_owner_who_was_handed_a_held_device_is_not_robbed(files: tuple[str, ...]) -> None:
    twin = applied()
    before = state(twin)
    with pytest.raises(RefusedError, match=r"open in .*process .*5000 \(qemu\)") as caught:
        give_back(Visited(twin, *files))
    assert caught.value.exit_code == 4
    assert state(twin) == before
    assert give_back(Visited(twin, "/dev/null")).left == ()


def test_an_owner_who_shows_no_group_is_not_robbed() -> None:
    spec = SPEC.replace("held", "vfio")
    twin = applied(spec)

    class Enabled(Visited):
        """vfio-pci has enabled a device: somebody has it open."""

        def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
            return b"1\n" if path.endswith(f"{BLUE}/enable") else super().read(path, offset=offset, size=size)

    before = state(twin)
    with pytest.raises(RefusedError, match=rf"{BLUE} is open in .*5000 \(qemu\)"):
        give_back(Enabled(twin, DEVICE), spec)
    assert state(twin) == before
    assert give_back(Visited(twin, DEVICE), spec).left == ()


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
    journal = Database(twin)
    journal.connection.execute("UPDATE entry SET before = replace(before, '10de:1db1 at', '10de:1db5 at')")
    journal.commit()
    with pytest.raises(RefusedError, match="not the device that was planned for"):
        give_back(twin)


def test_without_a_journal_what_is_held_is_given_to_the_kernels_choice() -> None:
    twin = applied()
    lose_journal(twin)
    outcome = give_back(twin)
    assert twin.readlink(f"sys/bus/pci/devices/{RED}/driver").endswith("/nouveau")
    assert any("no journal tells" in left for left in outcome.left)
    assert not twin.vfio.holders


def test_a_kernel_that_cuts_by_itself_is_told() -> None:
    twin = applied(kernel="5.4-isolate")
    outcome = give_back(twin)
    assert any("links 0, 2, 4 of 0004:04:00.0 stay cut" in left for left in outcome.left)


def test_a_reset_that_is_listed_and_fails_keeps_no_device_from_its_driver() -> None:
    spec = SPEC.replace('"held"', '"vfio"')
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    host = host_of(twin)
    clusters = read_spec(spec, host, name="spec")
    # What stock vfio-pci resets is no proof once handed over: it is carried out all the same.
    made = plan(Topology(host), present(host), clusters, spec=spec)
    execute(twin, host, replace(made, impossible=()))
    mask = twin.peek(RED, "bar0", 0xA00148)
    assert mask
    outcome = give_back(Resetless(twin), spec)
    assert any(f"of {RED} stay cut: the reset that would open them failed: bus: " in left for left in outcome.left)
    assert twin.peek(RED, "bar0", 0xA00148) == mask
    now = state(twin)
    assert now != before
    for gpu in (RED, BLUE):
        assert twin.readlink(f"sys/bus/pci/devices/{gpu}/driver").endswith("/nouveau")
        assert twin.read(f"sys/bus/pci/devices/{gpu}/driver_override").strip() in (b"", b"(null)")


def test_an_exchanged_device_keeps_no_other_from_its_driver() -> None:
    spec = SPEC.replace('"held"', '"vfio"')
    twin = Twin.new("ac922-4gpu")
    host = host_of(twin)
    made = plan(Topology(host), present(host), read_spec(spec, host, name="spec"), spec=spec)
    execute(twin, host, replace(made, impossible=()))
    journal = Database(twin)
    other = "replace(before, '10de:1db1 at', '10de:1db5 at')"
    journal.connection.execute(f"UPDATE entry SET before = {other} WHERE before LIKE '%1db1 at %/{RED}%'")
    journal.commit()
    before = twin.readlink(f"sys/bus/pci/devices/{RED}/driver")
    outcome = give_back(twin, spec)
    assert any(f"{RED} is another device now: " in left for left in outcome.left)
    assert all(deed.device != RED for deed in outcome.deeds)
    assert twin.readlink(f"sys/bus/pci/devices/{RED}/driver") == before
    assert twin.readlink(f"sys/bus/pci/devices/{BLUE}/driver").endswith("/nouveau")
    assert all(entry.step.device != RED for entry in read_journal(twin).entries)


def test_a_number_that_names_another_clusters_gpu_by_now_gives_nothing_back() -> None:
    red = SPEC.replace('"held"', '"vfio"').split("[cluster.blue]")[0]
    twin = Twin.new("ac922-4gpu")
    host = host_of(twin)
    spec = SPEC.replace('"held"', '"vfio"')
    made = plan(Topology(host), present(host), read_spec(spec, host, name="spec"), spec=spec)
    execute(twin, host, replace(made, impossible=()))
    twin.write(f"sys/bus/pci/devices/{RED}/remove", b"1")
    before = state(twin)
    with pytest.raises(RefusedError, match=f"{BLUE} was given to cluster blue, and this file counts it to red") as told:
        give_back(twin, red)
    assert str(BLUE) in told.value.hint
    assert state(twin) == before


def test_what_another_has_done_since_it_was_looked_at_is_not_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = applied(SPEC.split("[cluster.blue]")[0])

    def slow(*arguments: Any) -> Owed:
        found = find_owed(*arguments)
        host, made = planned(twin)
        execute(twin, host, made)
        done.append(state(twin))
        return found

    done: list[dict[str, Any]] = []
    monkeypatch.setattr("atoll.act.release.find_owed", slow)
    with pytest.raises(RefusedError, match="another atoll has changed") as told:
        give_back(twin)
    assert told.value.hint == "run atoll release again"
    assert [state(twin)] == done
    monkeypatch.undo()
    assert give_back(twin).left == ()


def test_a_failure_half_way_can_be_repeated() -> None:
    twin = applied()

    class Failing(Watched):
        """The first bind fails."""

        def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
            if path.endswith("/bind"):
                raise OSError(errno.EIO, "Input/output error")
            super().write(path, data, offset=offset)

    with pytest.raises(StepError, match=r"bind of 0004:04:00\.0 failed.*Done before: ") as caught:
        give_back(Failing(twin))
    assert caught.value.exit_code == 5
    assert give_back(twin).left == ()
    assert state(twin) == state(Twin.new("ac922-4gpu"))


@pytest.mark.parametrize("driver", [None, "nouveau"])
def test_a_neighbour_whose_driver_was_never_changed_keeps_what_it_has(driver: str | None) -> None:
    """Its links were cut while it had no driver; somebody may have given it one since."""
    twin = Twin.new("ac922-4gpu")
    red = SPEC.split("[cluster.blue]")[0]
    twin.write("sys/bus/pci/drivers/nouveau/unbind", str(BLUE).encode())
    without = state(twin)
    host, made = planned(twin, red)
    assert any(step.device == BLUE for step in made.steps)
    execute(twin, host, made)
    if driver is not None:
        twin.write(f"sys/bus/pci/drivers/{driver}/bind", str(BLUE).encode())
    outcome = give_back(twin, red)
    assert outcome.left == ()
    assert device.driver(twin, BLUE) == driver
    if driver is None:
        assert state(twin) == without


@pytest.mark.parametrize("permitted", [False, True])
def test_a_neighbour_that_the_host_needs_by_now_is_left_as_it_is(permitted: bool) -> None:
    """Its links were cut for a cluster; by now it shows the console, and opening them would reset it."""
    twin = Twin.new("ac922-4gpu")
    initial = state(twin)
    red = SPEC.split("[cluster.blue]")[0]
    host, made = planned(twin, red)
    assert any(step.device == BLUE for step in made.steps)
    execute(twin, host, made)
    before = state(twin)["functions"][str(BLUE)]
    needed = replace(host_of(twin), essential={BLUE: "console"})
    spec = f'{red}\n[policy]\nessential = ["{BLUE}"]\n' if permitted else red
    outcome = release(twin, needed, read_spec(spec, needed, name="spec"), spec=spec)
    if permitted:
        assert outcome.left == ()
        assert state(twin) == initial
        return
    assert outcome.left == (f"{BLUE} stays as it is: by now the host itself needs it (console)",)
    assert state(twin)["functions"][str(BLUE)] == before
    assert device.driver(twin, RED) == initial["devices"][str(RED)]["driver"]
    assert {entry.step.device for entry in read_journal(twin).entries} == {BLUE}
    assert give_back(twin, red).left == ()
    assert state(twin) == initial
