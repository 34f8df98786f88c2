"""What errors say: who has it, what stands in the way, what to do."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from fake_vfio import FakeKernel
from vfio_machine import FakeDevice, FakeMachine, address

from atoll.errors import AtollError
from atoll.host.fact import Known, Unknown
from atoll.vfio import open_space
from atoll.vfio.diagnosis import map_failed
from atoll.vfio.errors import Busy, LockedMemory, NotPermitted, VfioError

A = address("01:00.0")


class FakeProcesses(FakeMachine):
    """A machine that shows processes, too."""

    processes: dict[int, tuple[str, list[str]]] = {}

    def files(self) -> dict[str, Callable[[], bytes] | str]:
        found = super().files()
        for pid, (name, opened) in self.processes.items():
            found[f"proc/{pid}/comm"] = lambda name=name: name.encode()  # type: ignore[misc]
            for number, target in enumerate(opened):
                found[f"proc/{pid}/fd/{number}"] = target
        return found


def opened_twice(processes: dict[int, tuple[str, list[str]]]) -> Busy:
    machine = FakeProcesses([FakeDevice(A, 5)])
    machine.processes = processes
    fake = FakeKernel(machine)
    with open_space(kernel=fake) as space, open_space(kernel=fake) as other:
        space.open(A)
        with pytest.raises(Busy) as caught:
            other.open(A)
    return caught.value


def test_who_has_it() -> None:
    error = opened_twice({1: ("init", ["/dev/null"]), 77: ("qemu", ["/dev/vfio/vfio", "/dev/vfio/5"])})
    assert "process 77 (qemu) has it" in error.message
    assert isinstance(error.holders, Known)
    assert [h.pid for h in error.holders.value] == [77]


def test_who_has_it_is_not_known() -> None:
    error = opened_twice({})
    assert "unknown" in error.message
    assert isinstance(error.holders, Unknown)


def test_nobody_shows_it() -> None:
    error = opened_twice({1: ("init", ["/dev/null"]), 77: ("qemu", ["/dev/vfio/9"])})
    assert "no process shows it" in error.message


@pytest.mark.parametrize(("user", "words"), [(0, "device cgroup"), (1000, "run as root")])
def test_no_permission_for_a_node(monkeypatch: pytest.MonkeyPatch, user: int, words: str) -> None:
    monkeypatch.setattr("atoll.vfio.diagnosis.os.geteuid", lambda: user)
    fake = FakeKernel(FakeMachine([FakeDevice(A, 5)], unopenable={"dev/vfio/5": errno.EACCES}))
    with open_space(kernel=fake) as space, pytest.raises(NotPermitted, match="/dev/vfio/5") as caught:
        space.open(A)
    assert words in caught.value.hint


@pytest.mark.parametrize(
    ("limit", "words", "hint"),
    [(8 << 20, "RLIMIT_MEMLOCK of this process is 8192 KiB", "LimitMEMLOCK="), (-1, "no memory left", "free memory")],
)
def test_what_lacks_where_memory_cannot_be_locked(
    monkeypatch: pytest.MonkeyPatch, limit: int, words: str, hint: str
) -> None:
    monkeypatch.setattr("atoll.vfio.diagnosis.resource.getrlimit", lambda which: (limit, limit))
    error = map_failed(OSError(errno.ENOMEM, "Cannot allocate memory"), 0, 4096)
    assert isinstance(error, LockedMemory)
    assert words in error.message
    assert hint in error.hint.partition(";")[0]
    assert "MemoryMax=" in error.hint


def test_an_error_is_both() -> None:
    error = Busy("it is in use", hint="wait")
    assert isinstance(error, AtollError)
    assert isinstance(error, OSError)
    assert (error.errno, error.strerror, str(error)) == (errno.EBUSY, "it is in use", "it is in use")


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_any_number_of_any_call_is_told(number: int) -> None:
    for count in range(1, 9):
        fake = FakeKernel(FakeMachine([FakeDevice(A, 5)]))
        fake.fail_at = {count: number}
        try:
            with open_space(kernel=fake) as space:
                space.open(A)
        except VfioError as error:
            said = (error.message, error.hint, error.errno)
            assert all(said)
        assert fake.files == {}
