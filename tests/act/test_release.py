"""Giving devices back: everything as it was, in an order that opens nothing."""

from __future__ import annotations

import errno
import os
from dataclasses import replace

import pytest
from act_bench import BLUE, RED, SPEC, Resetless, Watched, host_of, lose_journal, planned, state
from release_bench import applied, give_back

from atoll.act import device
from atoll.act.executor import execute
from atoll.act.journal import read_journal
from atoll.controls.present import present
from atoll.errors import StepError
from atoll.fabric.topology import Topology
from atoll.pci.address import Address
from atoll.plan.document import from_document, to_document
from atoll.plan.planner import plan
from atoll.plan.selector import gpus
from atoll.plan.spec import read_spec
from atoll.twin import Twin
from atoll.twin.spec import DomainKind


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


@pytest.mark.parametrize("name", ["green", "tenant-a", "a" * 32])
def test_a_cluster_whose_name_is_cut_in_its_holders(name: str) -> None:
    """What stands for a long name in the name of a process is read back from plans and from the journal."""
    spec = SPEC.replace("cluster.red", f"cluster.{name}")
    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin, spec)
    execute(twin, host, from_document(to_document(made)))
    assert {entry.step.cluster for entry in read_journal(twin).entries} >= {name, "blue"}
    assert give_back(twin, spec).left == ()
    assert state(twin) == state(Twin.new("ac922-4gpu"))


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


def test_what_was_cut_before_is_what_was_cut_before_the_first_apply() -> None:
    """Between two of them somebody reset the device and cut a link: that is no state to go back to."""
    spec = SPEC.replace("held", "vfio")
    before = state(Twin.new("ac922-4gpu"))
    twin = applied(spec)
    twin.reset(RED, "bus")
    for offset, value in ((0x12004C, 4), (0x122204, 2), (0x200, twin.peek(RED, "bar0", 0x200) | 0x02000000)):
        twin.poke(RED, "bar0", offset, value)
    twin.poke(RED, "bar0", 0xA00148, 0x10000)
    host, made = planned(twin, spec)
    execute(twin, host, made)
    assert twin.peek(RED, "bar0", 0xA00148) == 0x150000
    assert give_back(twin, spec).left == ()
    assert state(twin) == before


def test_a_device_that_may_still_act_is_not_as_before() -> None:
    """Taken from vfio-pci by hand it has no driver, as before, and has its bus mastering still."""
    twin = Twin.new("pcie-box")
    address = Address.parse("0000:03:00.0")
    here = f"sys/bus/pci/devices/{address}"
    twin.write(f"{here}/driver/unbind", str(address).encode())
    spec = f'[cluster.red]\ndevices = ["{address}"]\n'
    host, made = planned(twin, spec)
    execute(twin, host, made)
    twin.write("sys/bus/pci/drivers/vfio-pci/unbind", str(address).encode())
    twin.write(f"{here}/driver_override", b"\n")
    twin.write(f"{here}/config", (0x0006).to_bytes(2, "little"), offset=4)
    outcome = give_back(twin, spec)
    assert ("quiesce", address) in [(deed.kind, deed.device) for deed in outcome.deeds]
    assert not twin.read(f"{here}/config", offset=4, size=1)[0] & 4


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


def test_a_driver_that_does_not_come_keeps_nobody_else_from_getting_his_device_back() -> None:
    twin = applied()

    class Failing(Watched):
        """A driver refuses the first of the devices."""

        def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
            if path.endswith("/bind") and data.decode().strip() == str(RED):
                raise OSError(errno.ENODEV, "No such device")
            super().write(path, data, offset=offset)

    with pytest.raises(StepError, match=rf"^bind of {RED} failed: .*No such device\. Done before: ") as caught:
        give_back(Failing(twin))
    done = caught.value.message.partition("Done before: ")[2].split(", ")
    assert f"bind {BLUE}" in done
    assert len(done) == len({*done})
    assert device.driver(twin, BLUE) == "nouveau"
    assert {entry.step.device for entry in read_journal(twin).entries} == {RED}
    assert give_back(twin).left == ()
    assert state(twin) == state(Twin.new("ac922-4gpu"))


def test_nor_does_one_that_the_kernel_chooses() -> None:
    twin = applied()
    lose_journal(twin)

    class Failing(Watched):
        """The first of the devices is refused."""

        def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
            if path.endswith("drivers_probe") and data.decode().strip() == str(RED):
                raise OSError(errno.ENODEV, "No such device")
            super().write(path, data, offset=offset)

    with pytest.raises(StepError, match=rf"^bind of {RED} failed: .*No such device\. Done before: .*bind {BLUE}"):
        give_back(Failing(twin))
    assert device.driver(twin, BLUE) == "nouveau"
    assert {entry.step.device for entry in read_journal(twin).entries} == {RED}
    give_back(twin)
    assert device.driver(twin, RED) == "nouveau"


@pytest.mark.parametrize("hangs", [RED, BLUE])
def test_where_the_kernel_does_not_return_from_a_driver_no_other_comes_after_it(hangs: Address) -> None:
    """It has locks meanwhile that the next one may need."""
    twin = applied()
    tried = []

    class Hanging(Watched):
        """Neither device is taken: of one the kernel does not even say so."""

        def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
            if path.endswith("/bind"):
                tried.append(data.decode().strip())
                number = errno.ETIMEDOUT if tried[-1] == str(hangs) else errno.ENODEV
                raise OSError(number, os.strerror(number))
            super().write(path, data, offset=offset)

    with pytest.raises(StepError) as caught:
        give_back(Hanging(twin))
    assert tried == ([str(RED)] if hangs == RED else [str(RED), str(BLUE)])
    assert all(f"bind of {address} failed" in caught.value.message for address in tried)
    assert give_back(twin).left == ()
    assert state(twin) == state(Twin.new("ac922-4gpu"))


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
