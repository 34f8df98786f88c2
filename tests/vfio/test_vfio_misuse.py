"""Used wrongly: an error that says so, nothing done that was not asked for, and all let go of in the end."""

from __future__ import annotations

import errno
import gc
import mmap
from collections.abc import Callable

import pytest
from fake_vfio import FakeKernel
from vfio_machine import FakeDevice, FakeMachine, address

from atoll.vfio import Api, IrqIndex, VfioError, open_space
from atoll.vfio.errors import Closed, NotBound
from atoll.vfio.handover import Handover, export
from atoll.vfio.uapi.irq import IrqSet
from atoll.vfio.uapi.region import RegionInfo

A = address("01:00.0")
EITHER = pytest.mark.parametrize("api", list(Api))


def machine() -> FakeKernel:
    return FakeKernel(FakeMachine([FakeDevice(A, 5)], cdev=True))


class Groupless(FakeMachine):
    """Without an IOMMU: no driver of VFIO takes a device then."""

    def files(self) -> dict[str, Callable[[], bytes] | str]:
        return {path: content for path, content in super().files().items() if not path.endswith("/iommu_group")}


@EITHER
def test_without_an_iommu_that_is_told_and_not_to_bind_a_driver(api: Api) -> None:
    kernel = FakeKernel(Groupless([FakeDevice(A, 5, driver=None)], cdev=True))
    with open_space(api, kernel=kernel) as space, pytest.raises(NotBound, match="in no IOMMU group"):
        space.open(A)


def refused(call: Callable[[], object], why: str) -> None:
    """As wrong use (EINVAL)."""
    with pytest.raises(VfioError, match=why) as caught:
        call()
    assert caught.value.errno == errno.EINVAL


@EITHER
def test_numbers_that_no_field_holds_are_not_cut_to_ones_that_it_does(api: Api) -> None:
    with open_space(api, kernel=machine()) as space:
        device = space.open(A)
        msi = device.interrupt(IrqIndex.MSI)
        with device.event() as event:
            msi.signal([event])
            wrong: list[Callable[[], object]] = [
                lambda: device.region(1 << 32),
                lambda: device.region(-1),
                lambda: device.interrupt((1 << 32) + 1),
                lambda: msi.trigger(1 << 32),
                lambda: msi.trigger(0, (1 << 32) + 1),
                lambda: msi.signal([None], start=1 << 32),
            ]
            for call in wrong:
                refused(call, "cannot be")
            assert event.take() == 0


def test_a_layout_keeps_what_it_holds() -> None:
    info = RegionInfo(index=7, size=(1 << 64) - 1)
    info.index = 8
    assert (info.index, info.size) == (8, (1 << 64) - 1)
    with pytest.raises(VfioError, match="size of vfio_region_info cannot be 0x10000000000000000"):
        info.size = 1 << 64
    with pytest.raises(VfioError, match="start of vfio_irq_set cannot be -0x1"):
        IrqSet(start=-1)


@EITHER
def test_no_vector_at_all_does_not_mean_to_switch_off(api: Api) -> None:
    with open_space(api, kernel=machine()) as space:
        device = space.open(A)
        msi = device.interrupt(IrqIndex.MSI)
        with device.event() as event:
            msi.signal([event])
            nothing: list[Callable[[], None]] = [
                lambda: msi.trigger(0, 0),
                lambda: msi.signal([]),
                lambda: msi.mask(0, 0),
                lambda: msi.unmask(0, 0),
            ]
            for call in nothing:
                refused(call, "no vector")
            msi.trigger()
            assert event.take() == 1
            msi.disable()
            msi.disable()
            device.interrupt(IrqIndex.MSIX).disable()
            device.close()
            with pytest.raises(Closed):
                msi.disable()


@EITHER
def test_waiting_longer_than_poll_can(api: Api) -> None:
    with open_space(api, kernel=machine()) as space, space.open(A).event() as event:
        for seconds in (3e6, 1e300, float("inf")):
            event.signal()
            assert event.wait(seconds) == 1


@EITHER
def test_an_address_as_text(api: Api) -> None:
    kernel = machine()
    with open_space(api, kernel=kernel) as space:
        assert space.open("0000:01:00.0") is space.open(A)
        with pytest.raises(ValueError, match="not a PCI address"):
            space.open("gpu0")
    assert kernel.files == {}


def test_an_interface_as_text() -> None:
    with open_space("iommufd", kernel=machine()) as space:  # type: ignore[arg-type]
        assert space.api is Api.IOMMUFD
    with pytest.raises(ValueError, match="newest"):
        open_space("newest", kernel=machine())  # type: ignore[arg-type]


@EITHER
def test_a_window_with_a_slice_is_closed_for_use(api: Api) -> None:
    with open_space(api, kernel=machine()) as space:
        window = space.open(A).region(0).map()
        taken = window.words[:4]
        with pytest.raises(BufferError):
            window.close()
        with pytest.raises(Closed):
            window.read32(0)
        taken.release()
        window.close()


@EITHER
def test_what_things_show_of_themselves(api: Api) -> None:
    with open_space(api, kernel=machine()) as space:
        assert repr(space).endswith(": no devices>")
        device = space.open(A)
        bar = device.region(0)
        window = bar.map(0x1000)
        mapping = space.map(0x10000, mmap.mmap(-1, 4096))
        shown = [repr(each) for each in (device, bar, window, mapping)]
        assert shown == [
            "<Device 0000:01:00.0>",
            "<Region BAR0 of 0000:01:00.0, 0x4000 bytes>",
            "<Window of BAR0 of 0000:01:00.0, 0x3000 bytes from 0x1000>",
            "<Mapping of 0x1000 bytes at 0x10000>",
        ]
        assert str(A) in repr(space)
    assert [repr(each).endswith("closed>") for each in (space, device, window)] == [True] * 3
    assert repr(mapping).endswith(", unmapped>")


@EITHER
@pytest.mark.filterwarnings("ignore:.*was never closed:ResourceWarning")
def test_what_nobody_has_any_more_is_closed(api: Api) -> None:
    kernel = machine()

    def forget() -> None:
        space = open_space(api, kernel=kernel)
        space.open(A)
        space.map(0x10000, mmap.mmap(-1, 4096))

    forget()
    gc.collect()
    assert kernel.files == {}
    with open_space(api, kernel=kernel) as space:
        space.open(A)


@EITHER
@pytest.mark.filterwarnings("ignore:.*was never closed:ResourceWarning")
def test_what_is_to_be_handed_over_stays_open_until_then(api: Api) -> None:
    kernel = machine()

    def exported() -> Handover:
        space = open_space(api, kernel=kernel)
        space.open(A)
        return export(space)

    sent = exported()
    gc.collect()
    assert set(sent.descriptors) <= kernel.files.keys()
    del sent
    gc.collect()
    assert kernel.files == {}


def test_what_is_forgotten_is_told() -> None:
    kernel = machine()
    left = [open_space(Api.LEGACY, kernel=kernel)]
    with pytest.warns(ResourceWarning, match="container was never closed"):
        left.clear()
