"""Keepers: leases through another process, and what they watch."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from fake_vfio import FakeKernel
from guard_bench import BLUE, RED, Bench
from hypothesis import given
from hypothesis import strategies as st
from vfio_machine import FakeDevice, FakeMachine, address

from atoll.act.pace import Pace
from atoll.controls.nvlink_mask import VOLTA
from atoll.guard import keeping as keeping_module
from atoll.guard.keeper import Keeper, Pauses
from atoll.guard.keeper_process import serve
from atoll.guard.keepers import start_keeper
from atoll.guard.keeping import PATIENCE, Keeping
from atoll.guard.message import LONGEST, receive, send
from atoll.pci.address import Address
from atoll.twin import v100
from atoll.vfio import VfioError

MASK = 1 << 17


def looks_wait(bench: Bench) -> threading.Event:
    """Return what keeps looks at registers waiting while it is not set."""
    goes_on, read = threading.Event(), bench.kernel.pread
    goes_on.set()

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        assert goes_on.wait(20)
        return read(descriptor, size, offset)

    bench.kernel.pread = pread  # type: ignore[method-assign]
    return goes_on


def heard(keeping: Keeping, seconds: float = 10.0) -> dict[str, object]:
    """Return the next thing that a keeper tells by itself."""
    assert select.select([keeping.events], [], [], seconds)[0], "nothing was told"
    event, _ = receive(keeping.events)
    assert event is not None
    return event


def test_a_lease_reads_writes_resets_and_closes() -> None:
    with Bench() as bench:
        lease = bench.keepers.lease(RED, holder="atoll-hold:red")
        assert bench.keepers.lease(RED, holder="atoll-hold:red") is lease
        assert lease.reset_on_open
        assert lease.reset_on_close
        lease.write32(0, 0x200, 7)
        assert lease.read32(0, 0x200) == 7 == bench.peek(0, 0x200)
        lease.reset()
        lease.close()
        lease.close()
        assert bench.kernel.machine.devices[0].seen == ["open", "reset", "close"]
        bench.keepers.lease(RED, holder="atoll-hold:red")
        bench.keepers.lease(BLUE, holder="atoll-hold:blue")
        assert len(bench.keepers.by_holder) == 2
    assert [device.opened for device in bench.kernel.machine.devices] == [0, 0, 0]
    assert bench.kernel.files == {}


def test_an_open_that_fails_at_any_call_leaves_nothing_behind() -> None:
    """Its container may stay open: nothing is in it."""
    with Bench() as bench:
        kernel, order = bench.kernel, {"do": "open", "device": str(RED)}
        for at in range(1, 100):
            keeper = Keeper(lambda event: None, kernel=kernel)
            kernel.calls, kernel.fail_at = 0, {at: errno.EIO}
            answer = keeper.obey(order)
            kernel.fail_at = {}
            if "error" in answer:
                assert keeper.requests == {}, kernel.log[-1]
                assert not any(device.opened for device in kernel.machine.devices), kernel.log[-1]
                assert not [file for file in kernel.files.values() if isinstance(file, int)], kernel.log[-1]
            keeper.close()
            assert kernel.files == {}
            if kernel.calls < at:
                break
        else:
            pytest.fail("it never ends")
        assert at > 8


def test_what_the_kernel_refuses_comes_back_with_its_number() -> None:
    with Bench() as bench:
        with pytest.raises(VfioError) as caught:
            bench.keepers.lease(address("09:00.0"), holder="atoll-hold:red")
        assert caught.value.errno == errno.ENODEV
        assert caught.value.hint
        lease = bench.keepers.lease(RED, holder="atoll-hold:red")
        with pytest.raises(VfioError):
            lease.read32(0, 1 << 30)
        assert lease.read32(0, 0) == v100.BOOT_VALUE


def test_it_cuts_again_by_itself() -> None:
    with Bench() as bench:
        lease = bench.keepers.lease(RED, holder="atoll-hold:red")
        lease.watch(VOLTA, [1], interval=0.001)
        keeping = bench.keepers.by_holder["atoll-hold:red"]
        seen = keeping.order("looks")["devices"][str(RED)]
        assert (seen["sight"], seen["links"], seen["cuts"]) == ("cut", [1], 1)
        assert [0, v100.DISABLE, MASK] in seen["registers"]
        bench.poke(0, v100.DISABLE, 0)
        told = heard(keeping)
        assert (told["event"], told["device"], told["number"]) == ("cut again", str(RED), 2)
        assert bench.peek(0, v100.DISABLE) & MASK
        bench.poke(0, v100.DISABLE, 0xFFFFFFFF)
        told = heard(keeping)
        assert (told["event"], told["sight"]) == ("sight", "unknown")
        assert keeping.order("looks")["devices"][str(RED)]["registers"] == []
        lease.close()
        assert keeping.order("looks") == {"devices": {}}


def test_what_was_seen_is_no_longer_so_while_a_look_does_not_return() -> None:
    """As in a reset: the kernel keeps the look waiting, and the registers may be as nobody saw them."""
    with Bench() as bench:
        goes_on = looks_wait(bench)
        bench.keepers.lease(RED, holder="atoll-hold:red").watch(VOLTA, [1], interval=0.001)
        keeping = bench.keepers.by_holder["atoll-hold:red"]

        def seen() -> dict[str, object]:
            found: dict[str, object] = keeping.order("looks")["devices"][str(RED)]
            return found

        assert seen()["sight"] == "cut"
        goes_on.clear()
        assert Pace().until(lambda: seen()["sight"] == "unknown", seconds=20)
        assert "may be in reset" in str(seen()["reason"])
        assert seen()["registers"] == []
        goes_on.set()
        assert Pace().until(lambda: seen()["sight"] == "cut", seconds=20)


def test_what_was_seen_before_the_host_slept_is_a_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device loses in that time what it was set to; the monotonic clock stands still."""
    clock = time.clock_gettime_ns
    with Bench() as bench:
        goes_on = looks_wait(bench)
        bench.keepers.lease(RED, holder="atoll-hold:red").watch(VOLTA, [1], interval=0.001)
        goes_on.clear()
        slept = {time.CLOCK_BOOTTIME: 3600 * 10**9}
        monkeypatch.setattr(time, "clock_gettime_ns", lambda which: clock(which) + slept.get(which, 0))
        seen = bench.keepers.by_holder["atoll-hold:red"].order("looks")["devices"][str(RED)]
        assert (seen["sight"], seen["registers"]) == ("unknown", [])
        assert "it was seen last 360" in seen["reason"]
        goes_on.set()


def test_a_device_is_watched_once_however_often_that_is_ordered() -> None:
    with Bench() as bench:
        lease = bench.keepers.lease(RED, holder="atoll-hold:red")
        for links in ([1], [1, 2]):
            lease.watch(VOLTA, links, interval=0.001)
        watching = [thread for thread in threading.enumerate() if thread.name == f"watch {RED}"]
        assert len(watching) == 1
        assert bench.peek(0, v100.DISABLE) == 3 << 17
        lease.close()
        assert not watching[0].is_alive()


def test_a_keeper_that_ended_is_an_error_that_says_so() -> None:
    with Bench() as bench:
        lease = bench.keepers.lease(RED, holder="atoll-hold:red")
        keeping = bench.keepers.by_holder["atoll-hold:red"]
        keeping.orders.shutdown(2)
        with pytest.raises(VfioError, match="has ended"):
            lease.read32(0, 0)
        assert not keeping.alive()


def test_its_process_has_its_name_nothing_inherited_and_ends_with_its_holder() -> None:
    inherited, other = os.pipe()
    keeping = start_keeper("atoll-hold:red-and-more")
    try:
        with pytest.raises(VfioError):
            keeping.order("open", address("ff:1f.7"))
        process = Path(f"/proc/{keeping.pid}")
        assert (process / "comm").read_text() == "atoll-hold:red-\n"
        links = [os.readlink(link) for link in (process / "fd").iterdir() if int(link.name) > 2]
        assert len(links) == 2
        assert all(link.startswith("socket:") for link in links)
        # Ctrl-Z stops all that a terminal reaches, and owners run on meanwhile.
        assert os.getsid(keeping.pid) == os.getpgid(keeping.pid) == keeping.pid
        # What is for the holder reaches its keepers from a terminal, too: they wait for its word.
        os.kill(keeping.pid, signal.SIGTERM)
        os.kill(keeping.pid, signal.SIGINT)
        with pytest.raises(VfioError):
            keeping.order("open", address("ff:1f.7"))
        assert keeping.alive()
    finally:
        pid = keeping.pid
        keeping.end()
        os.close(inherited)
        os.close(other)
    assert not Path(f"/proc/{pid}").exists()


def test_a_keeper_that_was_killed_is_missed() -> None:
    keeping = start_keeper("atoll-hold:red")
    os.kill(keeping.pid, signal.SIGKILL)
    with pytest.raises(VfioError, match="has ended"):
        keeping.order("looks")
    keeping.end()


def begin_without_end(keeping: Keeping) -> None:
    while True:
        keeping.begin("listen")


def test_a_keeper_that_has_no_room_for_orders_is_not_waited_for_nor_missed() -> None:
    """It may be kept waiting for hours, while owners come and go."""
    keeping = start_keeper("atoll-hold:red")
    os.kill(keeping.pid, signal.SIGSTOP)
    try:
        with pytest.raises(VfioError, match="could not be told to listen") as caught:
            begin_without_end(keeping)
        assert caught.value.errno == errno.EAGAIN
        assert keeping.alive()
    finally:
        os.kill(keeping.pid, signal.SIGCONT)
    try:
        with pytest.raises(VfioError):
            keeping.order("open", address("ff:1f.7"))
        assert keeping.alive()
        assert not keeping.under_way
    finally:
        keeping.end()


def test_what_talks_no_sense_is_told_nothing_more() -> None:
    """An order to it would be waited for in vain."""
    orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with orders, theirs:
        keeping = Keeping("red", 0, orders, orders)
        theirs.send(b"no JSON")
        assert not keeping.hear()
        with pytest.raises(VfioError, match="has ended"):
            keeping.begin("listen")
        assert not keeping.under_way


@given(interval=st.floats(1e-5, 1), took=st.floats(0, 100))
def test_looks_that_cost_more_are_made_less_often(interval: float, took: float) -> None:
    pause = Pauses(interval).after(took)
    assert pause >= interval
    assert pause <= max(interval, 0.05)
    assert pause >= took * 20 or pause >= 0.05


def test_an_interrupted_order_leaves_no_answer_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.guard.keeping._STEP", 0.01)
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
    orders, theirs = pairs[0]
    calls: list[int] = []

    def interrupt() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        if len(calls) == 2:
            send(theirs, {"resets": True})

    with orders, theirs, pairs[1][0] as events, pairs[1][1]:
        keeping = Keeping("red", 0, orders, events, waiting=interrupt)
        with pytest.raises(KeyboardInterrupt):
            keeping.order("open", RED)
        if len(calls) < 2:
            send(theirs, {"resets": True})
        send(theirs, {"value": 7})
        assert keeping.order("read", RED) == {"value": 7}


def test_an_answer_that_comes_late_is_not_taken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it comes nothing is ordered, and the keeper is not told to end: it watches what others run on."""
    monkeypatch.setattr("atoll.guard.keeping._STEP", 0.01)
    orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(False)
    events, told = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with orders, theirs, events, told:
        keeping = Keeping("red", 0, orders, events)
        with pytest.raises(VfioError, match="does not answer") as caught:
            keeping.order("looks", patience=0.01)
        assert caught.value.errno == errno.ETIMEDOUT
        assert receive(theirs)[0] == {"do": "looks"}
        with pytest.raises(VfioError, match="does not answer since"):
            keeping.order("read", RED, patience=0.01)
        with pytest.raises(BlockingIOError):
            receive(theirs)
        assert keeping.alive()
        send(theirs, {"devices": {}})
        send(theirs, {"value": 7})
        assert keeping.order("read", RED) == {"value": 7}
        with pytest.raises(VfioError):
            keeping.order("looks", patience=0.01)
        theirs.close()
        with pytest.raises(VfioError, match="has ended"):
            keeping.order("read", RED)
        assert not keeping.alive()


def test_an_answer_that_is_too_long_ends_no_keeper() -> None:
    orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    class Talking(Keeper):
        def obey(self, order: dict[str, object], descriptors: tuple[int, ...] = ()) -> dict[str, object]:
            return {"value": "x" * (LONGEST if order["do"] == "looks" else 1)}

    with orders, theirs:
        thread = threading.Thread(target=serve, args=(theirs, Talking(lambda event: None)), daemon=True)
        thread.start()
        keeping = Keeping("red", 0, orders, orders)
        with pytest.raises(VfioError) as caught:
            keeping.order("looks")
        assert caught.value.errno == errno.EMSGSIZE
        assert keeping.order("read", RED) == {"value": "x"}
        orders.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize("number", [errno.EMSGSIZE, errno.ETOOMANYREFS])
def test_an_order_that_cannot_be_sent_ends_no_keeper(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """An owner who reads nothing keeps descriptors on their way, which count for all that one user has sent."""
    with Bench() as bench:
        lease = bench.keepers.lease(RED, holder="atoll-hold:red")
        keeping = bench.keepers.by_holder["atoll-hold:red"]
        with monkeypatch.context() as patch:
            if number == errno.ETOOMANYREFS:
                patch.setattr(keeping_module, "send", refuse)
            with pytest.raises(VfioError, match="could not be told to hand") as caught:
                keeping.order("hand", reply={"devices": "x" * LONGEST})
        assert caught.value.errno == number
        assert keeping.alive()
        assert lease.read32(0, 0) == v100.BOOT_VALUE


def refuse(*message: object) -> None:
    raise OSError(errno.ETOOMANYREFS, "Too many references: cannot splice")


def test_an_order_that_makes_no_sense_ends_no_keeper_and_no_watch() -> None:
    """A close that was given up, and done late all the same, leaves the holder with a lease that the keeper lacks."""
    with Bench() as bench:
        lease, other = (bench.keepers.lease(device, holder="atoll-hold:red") for device in (RED, BLUE))
        other.watch(VOLTA, [1], interval=0.001)
        keeping = bench.keepers.by_holder["atoll-hold:red"]
        keeping.order("close", RED)
        for act in (lambda: lease.read32(0, 0), lease.reset, lambda: keeping.order("dance")):
            with pytest.raises(VfioError) as caught:
                act()
            assert caught.value.errno == errno.EINVAL
        with pytest.raises(VfioError):
            keeping.order("watch", BLUE, control="none such", links=[1], interval=0.001)
        bench.poke(2, v100.DISABLE, 0)
        assert heard(keeping)["event"] in ("sight", "cut again")
        assert keeping.alive()
        assert list(keeping.order("looks")["devices"]) == [str(BLUE)]


def test_what_no_thread_can_be_had_for_is_not_watched_and_can_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    with Bench() as bench:
        lease = bench.keepers.lease(RED, holder="atoll-hold:red")
        keeping = bench.keepers.by_holder["atoll-hold:red"]

        def none(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as context:
            context.setattr(threading.Thread, "start", none)
            with pytest.raises(VfioError, match="can't start new thread"):
                lease.watch(VOLTA, [1], interval=0.001)
        assert keeping.order("looks")["devices"] == {}
        lease.close()
        assert not bench.opened(0)


def test_the_end_of_a_keeper_that_does_not_come_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What else there is to cut beside who is left waits for that as well."""
    waited: list[float] = []
    monkeypatch.setattr("atoll.guard.keeping.Pace.until", lambda _, ready, *, seconds: waited.append(seconds))
    keeping = Keeping("red", 1, *socket.socketpair())
    keeping.end()
    keeping.end()
    assert waited == [PATIENCE]


@pytest.mark.parametrize(("count", "fits"), [(126, True), (127, False)])
def test_more_devices_than_one_message_takes_are_told_apart_from_a_failure(count: int, fits: bool) -> None:
    """A container, groups and devices: of each device its group is told too."""
    devices = [FakeDevice(Address(0, bus, 0, 0), bus, bus=bus) for bus in range(1, count + 1)]
    kernel = FakeKernel(FakeMachine(devices))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    keeper = Keeper(lambda event: None, kernel=kernel)
    with ours, theirs:
        for device in devices:
            assert "error" not in keeper.obey({"do": "open", "device": str(device.address)})
        with pytest.MonkeyPatch.context() as patch:
            # The model's descriptors are none that could be sent.
            patch.setattr("atoll.guard.keeper.send", lambda to, document, numbers: send(to, document))
            order = {"do": "hand", "devices": [str(device.address) for device in devices], "reply": {}}
            answer = keeper.obey(order, (theirs.fileno(),))
            alone = keeper.obey({**order, "devices": [str(devices[0].address)]}, (theirs.fileno(),))
        keeper.close()
    assert alone == {}
    assert (answer == {}) is fits
    if not fits:
        assert "255 descriptors, and no more than 253" in answer["error"]
        assert "one by one" in answer["hint"]
