"""Which links a holder keeps cut."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from act_bench import Filed, host_of
from guard_bench import BLUE, RED, RED2, Bench

from atoll.act.journal import read_journal
from atoll.act.pace import Pace
from atoll.act.running import running
from atoll.controls.registry import link_control
from atoll.guard.cuts import Cuts
from atoll.guard.keeper import DEFAULT_INTERVAL
from atoll.host.fact import Known
from atoll.host.model import EndKind, Host, Link, LinkEnd, LinkKind
from atoll.twin import v100
from atoll.vfio.errors import VfioError

ENDS = [LinkEnd(EndKind.FUNCTION, address, number) for address, number in ((RED, 0), (RED2, 3), (RED2, 1), (BLUE, 2))]
LINKS = [Link(LinkKind.NVLINK, ENDS[n], ENDS[n + 1], None, "test") for n in (0, 2)]


def linked(twin: Filed) -> Host:
    """Two of one cluster, and one of another, in a row."""
    gpu = next(function for function in host_of(twin).functions.values() if link_control(function) is not None)
    functions = {address: replace(gpu, address=address) for address in (RED, RED2, BLUE)}
    return Host("bench", functions, Known({}), links=tuple(LINKS), links_told=frozenset(functions))


def test_what_was_watched_is_so_still_where_no_thread_can_be_had_for_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = Filed(tmp_path)
    host = linked(twin)
    with Bench() as bench, running(twin, "hold", {}, stays=True):
        cuts = Cuts(twin, bench.keepers, interval=DEFAULT_INTERVAL, allow_assumed=False)
        bench.keepers.lease(RED, holder="atoll-hold:red")
        bench.keepers.lease(RED2, holder="atoll-hold:red")
        bench.keepers.lease(BLUE, holder="atoll-hold:blue")
        cuts.cut_off(host, BLUE, {BLUE})
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", none_left)
            with pytest.raises(VfioError, match="no thread"):
                cuts.cut_off(host, RED, {RED})
        cuts.cut_off(host, BLUE, {BLUE})
        bench.poke(1, v100.DISABLE, 0)
        assert Pace().until(lambda: bool(bench.peek(1, v100.DISABLE)), seconds=20)
        looks = bench.keepers.by_holder["atoll-hold:red"].order("looks")["devices"]
        assert {device: seen["links"] for device, seen in looks.items()} == {str(RED2): [1]}


def none_left(thread: threading.Thread) -> None:
    raise RuntimeError("no thread")


def test_what_stays_held_is_cut_from_what_leaves(tmp_path: Path) -> None:
    twin = Filed(tmp_path)
    host = linked(twin)
    ends, links, told = ENDS, LINKS, host.links_told
    with Bench() as bench, running(twin, "hold", {}, stays=True):
        cuts = Cuts(twin, bench.keepers, interval=DEFAULT_INTERVAL, allow_assumed=False)
        for address, cluster in ((RED, "red"), (RED2, "red"), (BLUE, "blue")):
            bench.keepers.lease(address, holder=f"atoll-hold:{cluster}")
        cuts.links[RED2] = frozenset({1})
        cuts.cut_off(host, RED, {RED})
        assert cuts.links == {RED2: {1, 3}}
        looks = bench.keepers.by_holder["atoll-hold:red"].order("looks")["devices"]
        assert {device: seen["links"] for device, seen in looks.items()} == {str(RED2): [1, 3]}
        written = {write.target: json.loads(write.value) for write in read_journal(twin).writes}
        assert written == {f"{RED2} links": [1, 3]}
        # Neither do ways that nothing can cut let it go.
        nameless = replace(links[0], b=replace(ends[1], number=None))
        chip = LinkEnd(EndKind.SWITCH, None, None, name="chip 0")
        over_chip = tuple(replace(link, b=chip) for link in (links[0], replace(links[1], a=ends[1])))
        # Its own end counts as open, cut as it is: whoever has it then opens it.
        cuts.links[RED] = frozenset({0})
        for other, words in (
            (replace(host, links=(nameless,)), "may reach it"),
            (replace(host, links=over_chip), "both have a link to switch chip 0"),
            (replace(host, links_told=told - {RED, RED2}), f"no source told the links of {RED2} or {RED}"),
        ):
            cuts.links[RED2] = frozenset({1})
            with pytest.raises(VfioError, match=words):
                cuts.cut_off(other, RED, {RED})
            cuts.cut_off(other, RED, {RED, RED2, BLUE})
        # What cannot be seen as cut lets nothing go.
        bench.poke(1, v100.DISABLE, 0xFFFFFFFF)
        watched = bench.keepers.by_holder["atoll-hold:red"]
        assert Pace().until(lambda: watched.order("looks")["devices"][str(RED2)]["sight"] != "cut", seconds=20)
        with pytest.raises(VfioError, match="are not seen to be cut"):
            cuts.cut_off(host, RED, {RED})
        watched.order("close", RED2)
        with pytest.raises(VfioError, match="are not seen to be cut: it is not watched"):
            cuts.cut_off(host, RED, {RED})
        # Pulled together, neither stays.
        cuts.cut_off(host, RED, {RED, RED2})
