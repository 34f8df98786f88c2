"""Why two functions share a group or reach one another, and what would change it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from reach_hosts import CLOSED, OFF, acs, at, endpoint, gpu, links, machine, port, scene, slots, switch

from atoll.fabric.answer import Answer
from atoll.host.fact import Fact, Known, Unknown
from atoll.host.groups import BEHIND_XEN
from atoll.host.model import EndKind, Function, Host, KernelRelease
from atoll.isolation.explain import Explanation, explain
from atoll.isolation.groups import predict
from atoll.isolation.reach import Reach
from atoll.pci.acs import AcsFlag
from atoll.pci.address import Address
from atoll.pci.ats import Ats
from atoll.pci.header import PortType
from atoll.report.explain import explain_lines, summary
from atoll.report.names import Names
from atoll.report.style import Style
from atoll.twin import MACHINES, Twin


def told(host: Host, one: str = "03:00.0", other: str = "04:00.0") -> Explanation:
    return explain(scene(host).reach(), at(one), at(other))


def together(*functions: Function) -> Host:
    return machine(*(replace(f, group=Known(7)) if not f.is_port else f for f in functions))


def test_nothing_to_change() -> None:
    found = told(machine(*switch(CLOSED, CLOSED)))
    assert (found.same_group, found.remedies, found.why) == (False, (), ())
    assert found.there.finding.answer is found.back.finding.answer is Answer.IOMMU


def test_what_acs_would_change() -> None:
    found = told(machine(*switch(OFF, CLOSED)))
    assert found.there.finding.answer is Answer.DIRECT
    assert found.back.finding.answer is Answer.IOMMU
    (remedy,) = found.remedies
    assert remedy.how == "pci=config_acs=xx111x1@0000:02:00.0"


def test_another_slot_for_virtual_functions_of_one_card() -> None:
    made = [endpoint(f"01:10.{n}", "00:01.0", physical="01:00.0") for n in (0, 2)]
    owner = endpoint("01:00.0", "00:01.0")
    host = together(port("00:01.0", 1, acs=None), owner, *made, port("00:02.0", 2))
    (remedy,) = told(host, "01:10.0", "01:10.2").remedies
    assert remedy.what == "nothing that can be set separates them; another slot would"
    assert remedy.effect == "0000:01:10.0 is predicted into a group of its own below 0000:00:02.0"


def test_what_redirects_peer_to_peer_traffic() -> None:
    """Who finds NCCL slow or hanging asks which port sends it up, and how to let it turn in the switch."""
    host = machine(*switch(CLOSED, CLOSED))
    found = told(host)
    assert found.redirecting == (at("02:00.0"), at("02:01.0"))
    lines = explain_lines(host, found, names=Names(), style=Style(False))
    assert "        setpci -s 0000:02:00.0 ECAP_ACS+6.w=0000:000c" in lines
    assert any("pci=disable_acs_redir=0000:02:00.0;0000:02:01.0" in line for line in lines)
    assert told(machine(*switch(OFF, CLOSED))).redirecting == (at("02:01.0"),)
    assert told(machine(*switch(OFF, OFF))).redirecting == ()
    assert told(machine(*slots(CLOSED, CLOSED)), "01:00.0", "02:00.0").redirecting == (), "a root complex is no switch"


def test_both_ports_where_both_are_open() -> None:
    (remedy,) = told(machine(*switch(OFF, OFF))).remedies
    assert remedy.how == "pci=config_acs=xx111x1@0000:02:00.0;xx111x1@0000:02:01.0"


def test_what_acs_would_do_to_a_group() -> None:
    found = told(together(*switch(OFF, OFF, root=CLOSED)))
    assert found.same_group is True
    assert found.groups == (7, 7)
    assert found.why
    assert any("separate groups" in remedy.effect for remedy in found.remedies)


def test_a_group_that_nothing_separates() -> None:
    pair = [endpoint(f"01:00.{n}", "00:01.0", multifunction=True) for n in range(2)]
    found = told(together(port("00:01.0", 1), *pair), "01:00.0", "01:00.1")
    assert [remedy.what for remedy in found.remedies] == ["nothing that can be set separates them"]


def test_the_firmware_parts_what_a_vmd_serves() -> None:
    vmd = endpoint("00:0e.0", port_type=PortType.ROOT_INTEGRATED, ids=(0x8086, 0x201D))
    disks = [endpoint(f"10000:0{n}:00.0", f"10000:00:0{n}.0") for n in (1, 2)]
    host = together(vmd, *(port(f"10000:00:0{n}.0", n) for n in (1, 2)), *disks, port("00:1c.0", 3))
    for one, other in (("10000:01:00.0", "10000:02:00.0"), ("00:0e.0", "10000:01:00.0")):
        (remedy,) = told(host, one, other).remedies
        assert remedy.what.startswith("turn VMD off in the firmware's setup")


def test_what_masks_would_change() -> None:
    functions = [*slots(CLOSED, CLOSED)[::2], gpu("01:00.0", "00:01.0"), gpu("02:00.0", "00:02.0")]
    wires = links("01:00.0", "02:00.0", (0, 3), (2, 5))
    found = told(machine(*functions, links=wires), "01:00.0", "02:00.0")
    assert [remedy.how for remedy in found.remedies] == [
        "nvlink-mask-v100 mask 0x50000",
        "nvlink-mask-v100 mask 0x280000",
    ]
    half = told(machine(*functions, links=wires, masks={"01:00.0": 0x10000}), "01:00.0", "02:00.0")
    assert [remedy.how for remedy in half.remedies] == [
        "nvlink-mask-v100 mask 0x40000",
        "nvlink-mask-v100 mask 0x200000",
    ]
    cut = told(machine(*functions, links=wires, masks={"01:00.0": 0x50000}), "01:00.0", "02:00.0")
    assert cut.remedies == ()


def _over_a_chip(*numbers: int | None, **changes: object) -> Host:
    """Two GPUs in slots that ACS keeps apart, each with links of these numbers to one NVSwitch."""
    pair = [replace(gpu(f"0{n}:00.0", f"00:0{n}.0"), **changes) for n in (1, 2)]  # type: ignore[arg-type]
    wires = [
        link
        for n in (1, 2)
        for number in numbers
        for link in links(f"0{n}:00.0", EndKind.SWITCH, (number, None), name="NVSwitch 2")
    ]
    return machine(*slots(CLOSED, CLOSED)[::2], *pair, links=wires)


def test_links_to_a_switch_that_both_have_are_cut_as_well() -> None:
    found = told(_over_a_chip(0, 3), "01:00.0", "02:00.0")
    assert found.there.finding.answer is Answer.DIRECT
    assert [remedy.how for remedy in found.remedies] == ["nvlink-mask-v100 mask 0x90000"] * 2


def test_links_without_numbers_or_without_a_control() -> None:
    remedies = told(_over_a_chip(None), "01:00.0", "02:00.0").remedies
    assert [r.what for r in remedies] == [
        f"cut the links of 0000:0{n}:00.0, whose numbers no record tells" for n in (1, 2)
    ]
    assert all("nvlink -R" in remedy.effect and not remedy.how for remedy in remedies)
    hopper = told(_over_a_chip(0, device=0x2330), "01:00.0", "02:00.0").remedies
    assert [r.what for r in hopper] == [f"no control of this version cuts the links of 0000:0{n}:00.0" for n in (1, 2)]
    assert all("Fabric Manager" in remedy.effect for remedy in hopper)


def test_another_slot_ends_no_link() -> None:
    """Links that no source told: a slot is not what is missing."""
    functions = [*slots(CLOSED, CLOSED, CLOSED)[::2], gpu("01:00.0", "00:01.0"), gpu("02:00.0", "00:02.0")]
    found = told(machine(*functions), "01:00.0", "02:00.0")
    assert found.there.finding.answer is Answer.POSSIBLE
    (remedy,) = found.remedies
    assert remedy.what == "not known: no record tells all links of 0000:01:00.0 and 0000:02:00.0"


def test_another_slot_is_no_promise_where_the_root_complex_may_route() -> None:
    host = machine(*slots(None, None), port("00:03.0", 3, acs=CLOSED))
    found = told(host, "01:00.0", "02:00.0")
    assert (found.same_group, found.there.finding.answer) == (False, Answer.POSSIBLE)
    (remedy,) = found.remedies
    assert "another slot would is not known" in remedy.effect


def test_groups_that_were_not_read() -> None:
    host = machine(*switch(CLOSED, CLOSED))
    missing = {a: replace(f, group=Unknown("not captured")) for a, f in host.functions.items()}
    without = replace(host, functions=missing, groups=Unknown("not captured"))
    assert told(without).same_group is False, "as predicted"
    half = replace(host, functions={**host.functions, at("03:00.0"): missing[at("03:00.0")]})
    assert told(half).same_group is False
    pair = [endpoint(f"01:00.{n}", "00:01.0", multifunction=True, group=Unknown("?")) for n in range(2)]
    assert told(machine(port("00:01.0", 1), *pair), "01:00.0", "01:00.1").same_group is True, "the kernel's rules tell"


@pytest.mark.parametrize("name", MACHINES)
def test_remedies_do_what_they_say(name: str) -> None:
    """Apply the control words of every remedy: no answer gets worse, and some answer or the group gets better."""
    found = scene(Twin.new(name))
    reach = found.reach()
    for one, other in pairwise(found.topology.endpoints):
        explanation = explain(reach, one, other)
        settings = found.settings
        for remedy in explanation.remedies:
            if not remedy.how.startswith("pci=config_acs="):
                continue
            for part in remedy.how.removeprefix("pci=config_acs=").split(";"):
                bits, _, place = part.partition("@")
                address = Address.parse(place)
                on = AcsFlag(sum(1 << n for n, bit in enumerate(reversed(bits)) if bit == "1"))
                settings = settings.with_acs(address, (settings.acs.get(address) or AcsFlag(0)) | on)
        after = Reach(found.topology, settings)
        ways = ((one, other), (other, one))
        answers = [(after.answer(*way).answer, reach.answer(*way).answer) for way in ways]
        answers += [(after.identity(*way).answer, reach.identity(*way).answer) for way in ways]
        assert all(now <= before for now, before in answers)
        if settings != found.settings:
            words = {address: word for address, word in settings.acs.items() if word is not None}
            groups = predict(found.host, acs_control=words).groups
            apart = not any({one, other} <= set(members) for members in groups)
            assert apart or any(now < before for now, before in answers), (one, other)


def test_what_older_kernels_have() -> None:
    old = replace(machine(*switch(OFF, CLOSED)), kernel=Known(KernelRelease(6, 1, "6.1")))
    (remedy,) = told(old).remedies
    assert remedy.how == "setpci -s 0000:02:00.0 ECAP_ACS+6.w=001d:001d"
    assert "reset" in remedy.effect


def with_ats(*functions: Function, ats: bool | None = True) -> Host:
    """The function 03:00.0 may send requests that it marks as translated; no fact: whether it uses ATS was not read."""
    known: Fact[Ats | None] = Unknown("not shown") if ats is None else Known(Ats(ats, 0x1B0))
    return machine(*(replace(f, ats=known) if f.address == at("03:00.0") else f for f in functions))


def test_translated_requests_are_blocked_at_a_port_that_can() -> None:
    found = told(with_ats(*switch(CLOSED, CLOSED)))
    assert (found.there.finding.answer, found.back.finding.answer) == (Answer.DIRECT, Answer.IOMMU)
    (remedy,) = found.remedies
    assert remedy.what == "set TransBlk+ at 0000:02:00.0"
    assert remedy.how == "pci=config_acs=xx11111@0000:02:00.0"
    assert "ATS no longer works" in remedy.effect
    old = replace(with_ats(*switch(CLOSED, CLOSED)), kernel=Known(KernelRelease(6, 1, "6.1")))
    assert told(old).remedies[0].how == "setpci -s 0000:02:00.0 ECAP_ACS+6.w=001f:001f"
    (remedy,) = told(with_ats(*switch(CLOSED, CLOSED), ats=None)).remedies
    assert remedy.what == "set TransBlk+ at 0000:02:00.0"


def test_redirection_and_blocking_where_it_takes_both() -> None:
    (remedy,) = told(with_ats(*switch(OFF, CLOSED))).remedies
    assert remedy.how == "pci=config_acs=xx11111@0000:02:00.0"
    bits = "SrcValid+ ReqRedir+ CmpltRedir+ UpstreamFwd+"
    assert remedy.what == f"set {bits} at 0000:02:00.0; TransBlk+ at 0000:02:00.0"


def test_no_ats_where_no_port_can_block_it() -> None:
    bare = acs("SV RR CR UF", "SV RR CR UF")
    (remedy,) = told(with_ats(*switch(bare, bare, root=bare))).remedies
    assert (remedy.what, remedy.how) == ("let 0000:03:00.0 use no ATS", "pci=noats")


def test_letting_the_iommu_translate() -> None:
    host = machine(*slots(CLOSED, CLOSED), kind="identity")
    found = told(host, "01:00.0", "02:00.0")
    assert found.there.finding.answer > Answer.IOMMU
    assert [remedy.what for remedy in found.remedies] == [
        "let the IOMMU translate for 0000:01:00.0",
        "let the IOMMU translate for 0000:02:00.0",
    ]


def test_the_answer_in_one_sentence() -> None:
    both = "0000:03:00.0 and 0000:04:00.0"
    neither = "neither reaches the other but by the IOMMU's mappings."
    for host, expected in (
        (machine(*switch(OFF, OFF)), f"{both} are in different groups, yet reach one another directly."),
        (
            machine(*switch(OFF, CLOSED)),
            f"{both} are in different groups, yet 0000:03:00.0 reaches 0000:04:00.0 directly.",
        ),
        (machine(*switch(CLOSED, CLOSED)), f"{both} are in different groups, and {neither}"),
        (together(*switch(CLOSED, CLOSED)), f"{both} share group 7, though {neither}"),
        (together(*switch(OFF, OFF)), f"{both} share group 7 and reach one another directly."),
    ):
        assert summary(host, told(host)) == expected


def _without_groups(*functions: Function, why: str = "the text shows no IOMMU groups") -> Host:
    host = machine(*functions)
    lost = Unknown(why)
    bare = {address: replace(function, group=lost, iommu=lost) for address, function in host.functions.items()}
    return replace(host, functions=bare, groups=lost, iommu_units=())


def test_groups_that_are_not_recorded_are_no_fact() -> None:
    host = _without_groups(*switch(CLOSED, CLOSED))
    found = told(host)
    assert found.same_group is False
    assert not found.recorded
    assert any("whether an IOMMU serves it" in missing for missing in found.missing)
    assert "may be in different groups, as guessed from a record that does not tell all, " in summary(host, found)
    text = "\n".join(explain_lines(host, found, names=Names.load(), style=Style()))
    assert "The kernel: not recorded; predicted into different groups\n  ? it rests on" in text
    assert "none and none" not in text
    host = _without_groups(*switch(OFF, OFF, root=OFF))
    joined = told(host)
    assert joined.same_group
    assert "may share a group, as guessed from a record that does not tell all, " in summary(host, joined)


def test_on_xen_the_groups_are_those_of_another_boot() -> None:
    host = _without_groups(*switch(CLOSED, CLOSED), why=BEHIND_XEN)
    found = told(host)
    assert "would be in different groups if Linux had booted without Xen" in summary(host, found)
    text = "\n".join(explain_lines(host, found, names=Names.load(), style=Style()))
    assert "The kernel: none on Xen; Linux without it would form different groups" in text


def test_where_ports_were_not_read_nothing_is_said_to_be_impossible() -> None:
    unread = Unknown("cut")
    functions = [replace(f, acs=unread, port_type=unread) if f.is_port else f for f in switch(OFF, OFF)]
    (remedy,) = told(machine(*functions)).remedies
    assert remedy.what.startswith("not known")
    assert "lspci -nnvvv" in remedy.effect


def test_without_an_iommu_one_has_to_come_first() -> None:
    host = machine(*slots(CLOSED, CLOSED))
    functions = {a: replace(f, group=Known(None)) for a, f in host.functions.items()}
    bare = replace(host, functions=functions, groups=Known({}), iommu_units=())
    (remedy,) = told(bare, "01:00.0", "02:00.0").remedies
    assert remedy.what == "have an IOMMU in use that translates for 0000:01:00.0 and 0000:02:00.0"
    assert "VT-d" in remedy.effect
