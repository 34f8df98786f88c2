"""Drivers are taken off and given as planned: what another has meanwhile is not touched."""

from __future__ import annotations

import pytest
from act_bench import RED, SPEC, apply, host_of, planned, state
from deaths import after, deaths

from atoll.act import device
from atoll.act.executor import execute
from atoll.act.failure import Failure
from atoll.act.recover import Fate, recover
from atoll.act.release import release
from atoll.act.steps.drivers import bind
from atoll.errors import RefusedError, StepError
from atoll.plan.spec import read_spec
from atoll.twin import Twin

HERE = f"sys/bus/pci/devices/{RED}"
DRIVERS = "sys/bus/pci/drivers"


def test_another_driver_than_planned_keeps_its_device() -> None:
    twin = Twin.new("ac922-4gpu")
    host, made = planned(twin)
    twin.write(f"{DRIVERS}/nouveau/unbind", str(RED).encode())
    twin.write(f"{HERE}/driver_override", b"vfio-pci\n")
    twin.write(f"{DRIVERS}/vfio-pci/bind", str(RED).encode())
    before = state(twin)
    told = f"unbind {RED}.*: {RED} is bound to vfio-pci, not to nouveau as planned. Nothing was done"
    with pytest.raises(RefusedError, match=told):
        execute(twin, host, made)
    assert state(twin) == before
    assert not recover(twin).runs


def test_no_driver_pushes_another_away() -> None:
    twin = Twin.new("ac922-4gpu")
    bind(twin, RED, "nouveau")
    with pytest.raises(Failure, match="is bound to nouveau, not free for vfio-pci"):
        bind(twin, RED, "vfio-pci")
    assert device.driver(twin, RED) == "nouveau"


def test_a_driver_that_is_not_loaded_is_named() -> None:
    twin = Twin.new("ac922-4gpu")
    twin.write(f"{DRIVERS}/nouveau/unbind", str(RED).encode())
    with pytest.raises(Failure, match="the driver nvidia is not loaded") as caught:
        bind(twin, RED, "nvidia")
    assert caught.value.hint == "modprobe nvidia"
    assert device.driver(twin, RED) is None


@pytest.mark.parametrize("handover", ["vfio", "held"])
def test_what_a_driver_leaves_enabled_is_given_back_all_the_same(handover: str) -> None:
    """Otherwise it looked as if somebody whom no process shows had it open."""
    twin = Twin.new("ac922-4gpu")
    before = state(twin)
    twin.kernel.devices[RED].enabled = True
    spec = SPEC.replace("held", handover)
    apply(twin, spec)
    host = host_of(twin)
    assert not host.opened - set(twin.kernel.open_devices)
    release(twin, host, read_spec(spec, host, name="spec"), spec=spec)
    assert state(twin) == before


@pytest.mark.parametrize("dies", [False, True])
def test_what_was_enabled_by_hand_is_so_again(dies: bool) -> None:
    twin = Twin.new("ac922-4gpu")
    twin.write(f"{DRIVERS}/nouveau/unbind", str(RED).encode())
    twin.write(f"{HERE}/enable", b"1")
    twin.write(f"{HERE}/config", b"\x02\x00", offset=4)
    before = state(twin)
    if dies:
        twin = after(deaths(twin, {}, apply), "BAR0")
        assert [run.fate for run in recover(twin).runs] == [Fate.ROLLED_BACK]
    else:
        apply(twin)
        host = host_of(twin)
        release(twin, host, read_spec(SPEC, host, name="spec"), spec=SPEC)
    assert state(twin) == before


def test_what_does_not_let_itself_be_disabled_gets_no_vfio_driver() -> None:
    class Stubborn(Twin):
        def read(self, path: str, *, offset: int = 0, size: int | None = None) -> bytes:
            return b"1\n" if path == f"{HERE}/enable" else super().read(path, offset=offset, size=size)

        def write(self, path: str, data: bytes, *, offset: int = 0) -> None:
            if path != f"{HERE}/enable":
                super().write(path, data, offset=offset)

    twin = Stubborn.new("ac922-4gpu")
    before = state(twin)
    with pytest.raises(StepError, match=f"bind {RED}.*still enabled"):
        apply(twin)
    assert state(twin) == before
