"""What ``atoll show`` says of links that groups share: in few words, and nothing where nothing is shared."""

from __future__ import annotations

from running import Run

from atoll.isolation.contention import Contention, SharedKind
from atoll.pci.address import Address
from atoll.report.contention import shared_lines
from atoll.report.style import Style


def test_shared_uplinks_are_shown_with_what_they_carry(run: Run) -> None:
    told = run("show", "--host", "twin:dgx1v", "--json").json["contention"]
    assert [(one["kind"], one["what"], len(one["users"])) for one in told] == [
        ("uplink", port, 3) for port in ("0000:00:02.0", "0000:00:03.0", "0000:80:02.0", "0000:80:03.0")
    ]
    assert {one["bytes_per_second"] for one in told} == {15_753_846_144}, "16 lanes at 8 GT/s, 128 of 130 bits"
    text = run("show", "--host", "twin:dgx1v").out
    assert "the link below 0000:00:02.0, 15.75 GB/s each way: 3 groups" in text


def test_where_there_is_much_the_most_shared_is_told_and_the_rest_counted() -> None:
    users = [{f"group {n}": (Address(0, place + 1, n, 0),) for n in range(2 + place)} for place in range(12)]
    found = [Contention(SharedKind.UPLINK, f"0000:00:{place:02x}.0", who, 10**9) for place, who in enumerate(users)]
    brief, whole = ("\n".join(shared_lines(found, Style(), verbose=more)) for more in (False, True))
    assert brief.count("the link below") == 8
    assert "the link below 0000:00:0b.0, 1 GB/s each way: 13 groups" in brief
    assert "and 9 more)" in brief
    assert "the link below 0000:00:00.0" not in brief
    assert "and 4 more; see: atoll show -v" in brief
    assert whole.count("the link below") == 12
    assert "atoll show -v" not in whole


def test_a_host_that_shares_nothing_says_nothing(run: Run) -> None:
    one = next(
        name
        for name in (f"twin:random-{seed}" for seed in (8, 0))
        if not run("show", "--host", name, "--json").json["contention"]
    )
    assert "Shared" not in run("show", "--host", one).out
