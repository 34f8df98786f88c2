"""A device under watch: cut again after resets, and never called cut where that was not seen."""

from __future__ import annotations

from guard_bench import RED, HeldGpu
from hypothesis import given
from hypothesis import strategies as st

from atoll.controls.nvlink_mask import VOLTA
from atoll.guard.watch import Cut, Sight, Watch
from atoll.twin import v100

LINKS = frozenset({1, 3})
MILLISECOND = 1_000_000


class Clock:
    """Nanoseconds: each look at it takes one."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 1
        return self.now


def watched(gpu: HeldGpu) -> Watch:
    return Watch(RED, VOLTA, LINKS, gpu, clock=Clock())


def test_nothing_is_seen_before_the_first_look() -> None:
    assert watched(HeldGpu()).sight is Sight.UNKNOWN


def test_what_is_cut_is_left_alone_and_one_register_is_read() -> None:
    gpu = HeldGpu()
    watch = watched(gpu)
    watch.look()
    gpu.stores = gpu.loads = 0
    assert watch.look() is None
    assert (watch.sight, gpu.stores, gpu.loads) == (Sight.CUT, 0, 1)


def test_after_a_reset_it_is_cut_again_and_told() -> None:
    gpu = HeldGpu()
    watch = watched(gpu)
    first = watch.look()
    gpu.reset()
    second = watch.look()
    assert isinstance(first, Cut)
    assert isinstance(second, Cut)
    assert (second.links, second.number, gpu.cut) == ((1, 3), 2, LINKS)
    assert second.began < second.seen < second.cut
    assert watch.sight is Sight.CUT


def test_what_else_its_owner_cut_stays_cut() -> None:
    gpu = HeldGpu()
    watch = watched(gpu)
    watch.look()
    v100.cut(gpu.registers, 1 << (16 + 5))
    watch.look()
    assert gpu.cut == LINKS | {5}


def test_all_ones_are_neither_cut_nor_open() -> None:
    gpu = HeldGpu()
    watch = watched(gpu)
    watch.look()
    gpu.silent, gpu.stores = True, 0
    assert watch.look() is None
    assert (watch.sight, gpu.stores) == (Sight.UNKNOWN, 0)
    assert "all ones" in watch.reason
    gpu.silent = False
    gpu.reset()
    assert watch.look() is not None


def test_a_unit_that_does_not_answer_is_not_written_to() -> None:
    gpu = HeldGpu()
    watch = watched(gpu)
    watch.look()
    gpu.registers[v100.DISABLE], gpu.stores = 0xBADF5040, 0
    watch.look()
    assert (watch.sight, gpu.stores) == (Sight.UNKNOWN, 0)


def test_another_chip_is_not_touched() -> None:
    class Other(HeldGpu):
        def read32(self, bar: int, offset: int) -> int:
            return 0x170000A1 if not offset else super().read32(bar, offset)

    gpu = Other()
    watch = watched(gpu)
    watch.look()
    assert (watch.sight, gpu.stores) == (Sight.UNKNOWN, 0)


def test_decoding_that_stays_off_is_switched_on_to_look() -> None:
    gpu = HeldGpu()
    clock = Clock()
    watch = Watch(RED, VOLTA, LINKS, gpu, clock=clock)
    watch.look()
    gpu.reset()
    gpu.decoding = False
    assert watch.look() is None
    assert (watch.sight, watch.reason, gpu.decoding) == (Sight.UNKNOWN, "its owner has memory decoding off", False)
    clock.now += 2 * MILLISECOND
    watch.look()
    assert gpu.decoding
    assert watch.look() is not None
    # Who does so again and again is waited for longer, so that nobody is disturbed for ever.
    gpu.decoding = False
    watch.look()
    clock.now += int(1.5 * MILLISECOND)
    watch.look()
    assert not gpu.decoding


def test_a_device_that_sleeps_is_not_woken() -> None:
    class Asleep(HeldGpu):
        def _answer(self, bar: int) -> None:
            raise OSError(5, "Input/output error")

    gpu = Asleep()
    clock = Clock()
    watch = Watch(RED, VOLTA, LINKS, gpu, clock=clock)
    for _ in range(3):
        watch.look()
        clock.now += 10_000 * MILLISECOND
    assert watch.sight is Sight.UNKNOWN


class Resetting(HeldGpu):
    """Its owner resets it while it is being cut, some times."""

    times = 3

    def write32(self, bar: int, offset: int, value: int) -> None:
        super().write32(bar, offset, value)
        if offset == v100.DISABLE and self.times:
            self.times -= 1
            self.reset()


def test_resets_while_it_cuts_are_cut_again_in_the_same_look() -> None:
    gpu = Resetting()
    watch = watched(gpu)
    assert watch.look() is not None
    assert gpu.cut == LINKS


def test_one_that_cannot_be_cut_shows_as_open() -> None:
    gpu = Resetting()
    gpu.times = 1000
    watch = watched(gpu)
    assert watch.look() is None
    assert watch.sight is Sight.OPEN
    assert watch.registers == {}


ACTS = st.lists(
    st.one_of(
        st.sampled_from(["look", "reset", "silent", "answers", "decode off", "later"]),
        st.tuples(
            st.sampled_from([v100.DISABLE, v100.ENABLE, v100.RING_COMMAND, v100.RING_DECODE]),
            st.integers(0, 0xFFFFFFFF),
        ),
    ),
    max_size=40,
)


@given(acts=ACTS)
def test_cut_is_said_only_of_what_is_cut(acts: list[str | tuple[int, int]]) -> None:
    gpu = HeldGpu()
    clock = Clock()
    watch = Watch(RED, VOLTA, LINKS, gpu, clock=clock)
    for act in acts:
        match act:
            case "look":
                watch.look()
                assert watch.sight is not Sight.CUT or gpu.cut >= LINKS
            case "reset":
                gpu.reset()
            case "silent":
                gpu.silent = True
            case "answers":
                gpu.silent = False
            case "decode off":
                gpu.decoding = False
            case "later":
                clock.now += 2000 * MILLISECOND
            case (int(offset), int(value)):
                v100.write(gpu.registers, offset, value)
    gpu.silent, gpu.decoding = False, True
    watch.look()
    assert watch.sight is Sight.CUT
    assert gpu.cut >= LINKS
