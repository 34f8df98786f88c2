"""Windows of one device that another one reaches."""

from __future__ import annotations

import mmap

import pytest
from fake_vfio import FakeKernel, File
from vfio_machine import FakeDevice, FakeMachine, address

from atoll.vfio import Api, VfioError, open_space
from atoll.vfio.errors import Closed

A, B = address("01:00.0"), address("02:00.0")
EITHER = pytest.mark.parametrize("api", list(Api))


class Pages(mmap.mmap):
    """A mapping that starts with a page, as those of a kernel do."""

    kernel: FakeKernel
    file: File

    def close(self) -> None:
        super().close()
        self.kernel.unreference(self.file)


class PagedKernel(FakeKernel):
    """Maps regions by pages: they can be given to other devices."""

    def mmap(self, descriptor: int, size: int, offset: int, *, write: bool) -> Pages:  # type: ignore[override]
        memory = Pages(-1, size)
        memory.kernel, memory.file = self, self.file(descriptor)
        self.references[memory.file] += 1
        return memory


def machine() -> FakeKernel:
    return PagedKernel(FakeMachine([FakeDevice(A, 5, bus=1), FakeDevice(B, 6, bus=2)], cdev=True))


@EITHER
def test_a_window_that_another_device_reaches_is_unmapped_first(api: Api) -> None:
    kernel = machine()
    with open_space(api, kernel=kernel) as space:
        space.open(B)
        window = space.open(A).region(0).map()
        mapping = space.map(0x40000000, window)
        assert (mapping.size, mapping.mapped) == (window.size, True)
        window.close()
        assert not mapping.mapped
        space.map(0x40000000, space.open(A).region(0).map())
    assert kernel.files == {}
    assert kernel.references == {}


def test_a_window_whose_mapping_somebody_else_took_is_closed_all_the_same() -> None:
    kernel = machine()
    with open_space(Api.LEGACY, kernel=kernel) as space:
        region = space.open(A).region(0)
        before = dict(kernel.references)
        window = region.map()
        mapping = space.map(0x40000000, window)
        space._unmap(0x40000000, window.size)
        with pytest.raises(VfioError):
            window.close()
        assert (mapping.mapped, kernel.references) == (False, before)
        with pytest.raises(Closed):
            window.read32(0)
    assert kernel.references == {}
