"""Giving devices back: what other owners, and the host itself, have or need stays theirs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from act_bench import BLUE, RED, SPEC, Visited, Watched, host_of, planned, state
from release_bench import applied, give_back

from atoll.act import device
from atoll.act.executor import execute
from atoll.act.journal import read_journal
from atoll.act.machine import Lease
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
    assert twin.peek(BLUE, "bar0", 0xA00148) == blue_held
    assert {entry.step.device for entry in read_journal(twin).entries} >= {BLUE}
    assert {entry.step.cluster for entry in read_journal(twin).entries if entry.step.device == RED} == {"host"}
    assert not twin.attack(BLUE, RED).reached
    assert give_back(twin).left == ()
    assert state(twin) == state(Twin.new("ac922-4gpu"))


def test_a_running_guest_is_not_robbed() -> None:
    spec = SPEC.replace("held", "vfio")
    twin = applied(spec)
    twin.event("vm-start", [BLUE])
    before = state(twin)
    with pytest.raises(RefusedError, match=r"0004:05:00\.0 is open in process") as caught:
        give_back(twin, spec)
    assert caught.value.exit_code == 4
    assert state(twin) == before


MORE = f'[cluster.red]\ndevices = ["{RED}", "gpu[2]"]\nhandover = "vfio"\n'
LESS = MORE.replace(', "gpu[2]"', "")


def test_a_file_that_names_less_by_now_robs_nobody() -> None:
    """What its cluster was given beside is given back with it, and may be in use as well."""
    twin = applied(MORE)
    third = gpus(host_of(twin))[2]
    twin.event("vm-start", [third])
    before = state(twin)
    with pytest.raises(RefusedError, match=f"{third} is open in process"):
        give_back(twin, LESS)
    assert state(twin) == before


@pytest.mark.parametrize("handover", ["held", "vfio"])
def test_a_file_that_names_less_by_now_gives_all_of_its_cluster_back(handover: str) -> None:
    twin = applied(MORE.replace("vfio", handover))
    give_back(twin, LESS.replace("vfio", handover))
    assert state(twin) == state(Twin.new("ac922-4gpu"))
    assert read_journal(twin).entries == ()


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


def test_the_hosts_own_ends_stay_cut_as_long_as_another_cluster_stays() -> None:
    """Which of them are cut for whom, nobody has noted: they are opened with the last cluster."""
    twin = Twin.new("ac922-6gpu")
    initial = state(twin)
    cards = gpus(host_of(twin))
    red = f'[cluster.red]\ndevices = ["{cards[0]}"]\n'
    blue = f'[cluster.blue]\ndevices = ["{cards[3]}"]\n'
    host, made = planned(twin, red + blue)
    execute(twin, host, made)
    neighbours = [card for card in cards if card not in (cards[0], cards[3])]
    cut = [twin.peek(card, "bar0", 0xA00148) for card in neighbours]
    assert all(cut)
    give_back(twin, red)
    assert [twin.peek(card, "bar0", 0xA00148) for card in neighbours] == cut
    give_back(twin, blue)
    assert state(twin) == initial


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


def test_a_cluster_that_was_renamed_is_released_by_the_earlier_name() -> None:
    twin = applied(LESS)
    renamed = LESS.replace("red", "crimson")
    with pytest.raises(RefusedError, match="given to cluster red") as caught:
        give_back(twin, renamed)
    advice = f'cluster.red.devices = ["{RED}"]'
    assert caught.value.hint.endswith(advice)
    give_back(twin, advice)
    assert state(twin) == state(Twin.new("ac922-4gpu"))


def test_what_a_holder_has_open_is_given_back_by_the_holder() -> None:
    """The process that is seen to have it open is none to be killed: closed, its links would be open."""
    twin = applied()
    machine = Watched(twin)
    machine.capabilities = twin.capabilities - {"hold"}
    with pytest.raises(RefusedError, match=f"{RED} is held open for red") as caught:
        give_back(machine)
    assert "atoll hold --stop" in caught.value.hint
    assert "kill" not in caught.value.hint
    assert machine.changes == []


def test_a_held_cluster_that_was_renamed_is_released_by_the_earlier_name() -> None:
    held = LESS.replace("vfio", "held")
    twin = applied(held)
    before = state(twin)
    with pytest.raises(RefusedError, match=r"open in process .*atoll-hold:red") as caught:
        give_back(twin, held.replace("red", "crimson"))
    assert "by an earlier name: atoll release with the file that named it so" in caught.value.hint
    assert "atoll hold --stop" in caught.value.hint
    assert state(twin) == before
    give_back(twin, held)
    assert state(twin) == state(Twin.new("ac922-4gpu"))


def test_who_opens_a_device_as_soon_as_its_holder_has_closed_it_is_not_waited_for_in_the_kernel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The other tenant's cuts stay: he runs."""

    class Awaited(Watched):
        """A guest waits for its device."""

        def lease_vfio(self, address: Address, *, holder: str) -> Lease:
            lease = super().lease_vfio(address, holder=holder)
            close = lease.close

            def closed() -> None:
                close()
                if address == RED:
                    self.twin.event("vm-start", [RED])

            monkeypatch.setattr(lease, "close", closed)
            return lease

    machine = Awaited(applied())
    with pytest.raises(StepError, match=rf"{RED} is open in process .*: all else stays as it is"):
        give_back(machine)
    assert device.driver(machine, RED) == device.driver(machine, BLUE) == "vfio-pci"
    assert not [change for change in machine.changes if change.endswith("/unbind")]
    assert not machine.twin.attack(RED, BLUE).reached
    machine.twin.event("vm-stop", [RED])
    give_back(machine.twin)
    assert state(machine.twin) == state(Twin.new("ac922-4gpu"))
