"""What the kernel wants back is let go, cut off from the others, once its owner has let go."""

from __future__ import annotations

import errno
import os

import pytest
from guard_bench import RED, RED2, STOLEN
from guard_service import Served, taken, wait
from guard_service import serving as serving

from atoll.guard.client import NotGranted
from atoll.guard.owners import Tenant
from atoll.pci.address import Address
from atoll.twin import v100


def test_what_the_kernel_wants_back_is_let_go_and_the_rest_is_held(served: Served) -> None:
    bench = served.bench
    bench.want_back(0)
    wait(lambda: not bench.opened(0))
    assert served.cut_off == [RED]
    assert bench.opened(1)
    assert bench.opened(2)
    with served.client(1001) as client:
        first, second = client.state()["clusters"][0]["devices"]
        assert (first["sight"], second["sight"]) == ("unknown", None)
        assert first["reason"] == "the kernel wanted it back, and it was let go"
        with pytest.raises(NotGranted):
            client.take(str(RED))
        # What is left of the cluster can be taken still.
        assert taken(client, "red") == STOLEN
        assert taken(client, str(RED2)) == STOLEN
    with served.client(1002) as client:
        assert taken(client, "blue") == STOLEN


def test_what_is_pulled_together_is_let_go_together(served: Served) -> None:
    served.silent = True
    served.bench.want_back(0)
    with served.client(0) as root:
        wait(lambda: "not seen to be cut" in root.state()["clusters"][0]["devices"][0]["reason"])
        assert served.bench.opened(0)
        served.users[RED2] = (Tenant(4711, "qemu", certain=True),)
        served.bench.want_back(1)
        wait(lambda: "qemu" in root.state()["clusters"][0]["devices"][1]["reason"])
        # One that its owner has open stays, hence so does what is not cut from it.
        assert served.bench.opened(0)
    served.users.clear()
    wait(lambda: not served.bench.opened(0) and not served.bench.opened(1))


def test_what_an_owner_has_open_is_kept_and_cut_until_he_lets_go(served: Served) -> None:
    bench = served.bench
    served.users[RED] = (Tenant(4711, "qemu", certain=True),)
    with served.client(1001) as owner, served.client(1002) as other:
        assert taken(owner, "red") == STOLEN
        assert taken(other, "blue") == STOLEN
        bench.want_back(0)
        assert owner.hear() is None
        assert owner.wanted == {str(RED)}
        first = owner.state()["clusters"][0]["devices"][0]
        assert (first["sight"], first["reason"]) == (
            "cut",
            "the kernel wants it back, and waits for process 4711 (qemu)",
        )
        with pytest.raises(NotGranted, match="the kernel wants it back"):
            owner.take("red")
        assert taken(owner, str(RED2)) == STOLEN
        for _ in range(2):
            # It is asked for again and again; nobody is told twice.
            bench.want_back(0)
            bench.poke(0, v100.DISABLE, 0)
            wait(lambda: bool(bench.peek(0, v100.DISABLE)))
        assert bench.opened(0)
        assert served.cut_off == []
        served.users.clear()
        wait(lambda: not bench.opened(0))
        assert other.state()["ok"]
        assert other.wanted == set()
    assert owner.wanted == {str(RED)}


def test_once_an_owner_has_gone_the_kernel_asks_the_holder_again(served: Served) -> None:
    bench = served.bench
    event = bench.kernel.machine.devices[2].events[4, 0]
    mine = os.eventfd(0)
    with served.client(1002) as owner:
        assert taken(owner, "blue") == STOLEN
        # Who drives a device may have the kernel ask himself: it is one and the same setting.
        bench.kernel.machine.devices[2].events[4, 0] = mine
    wait(lambda: bench.kernel.machine.devices[2].events[4, 0] == event)
    os.close(mine)
    bench.want_back(2)
    wait(lambda: not bench.opened(2))
    with served.client(1002) as client, pytest.raises(NotGranted):
        client.take("blue")


@pytest.mark.parametrize("seam", ["users", "cut_off"])
def test_where_owners_are_not_seen_or_links_not_cut_nothing_is_let_go_and_that_is_told_once(
    served: Served, caplog: pytest.LogCaptureFixture, seam: str
) -> None:
    asked: list[Address] = []

    def fails(address: Address, *leaving: object) -> tuple[Tenant, ...]:
        asked.append(address)
        raise OSError(errno.EPERM, "hidden")

    setattr(served.departures, seam, fails)
    served.bench.want_back(0)
    with served.client(0) as client:
        wait(lambda: "hidden" in client.state()["clusters"][0]["devices"][0]["reason"])
    wait(lambda: len(asked) > 3)
    assert served.bench.opened(0)
    told = [record.getMessage() for record in caplog.records if "unreleased" in record.getMessage()]
    assert len(told) == 1
    assert "hidden" in told[0]
