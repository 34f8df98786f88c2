"""What stands beside a VMD, and what becomes of what is behind it: reach and plans, with packets as the measure."""

from __future__ import annotations

from dataclasses import replace

from atoll.controls.present import present
from atoll.controls.registry import registers
from atoll.fabric.answer import Answer
from atoll.fabric.topology import Topology
from atoll.host import read_host
from atoll.isolation.reach import Reach
from atoll.pci.address import Address
from atoll.pci.header import PortType
from atoll.plan.planner import plan
from atoll.plan.spec import read_spec
from atoll.twin import Twin
from atoll.twin.machines import vmd
from atoll.twin.machines.intel import PORT_ACS
from atoll.twin.machines.records import root_complex
from atoll.twin.spec import DomainKind, Routing
from twin.bench import at
from twin.small import bridge, card, small

VMD, BESIDE, DRIVE = "0000:00:0e.5", "0000:00:0e.0", "10000:e1:00.0"


def machine() -> Twin:
    """Return a machine where an endpoint shares its slot, without ACS, with a VMD."""
    place = Address(0, 0, 0x0E, 5)
    segment = vmd.segment(0, 0xE0, place, Routing.DIRECT, 0)
    inside = [bridge("10000:e0:01.0", PortType.ROOT_PORT, (0xE1, 0xE1), PORT_ACS), card(DRIVE)]
    device = vmd.device(segment, inside, ids=0x201D, iommu="dmar0", multifunction=True)
    beside = card("00:0e.0", PortType.ROOT_INTEGRATED, multifunction=True)
    made = small(device, beside, *inside, domain=DomainKind.DMA, behind=(segment,)).blueprint
    bridges = tuple(replace(each, routing=Routing.TRANSLATED) if each.vmd is None else each for each in made.bridges)
    twin = Twin(replace(made, bridges=bridges, files=(root_complex(bridges, "test"),)))
    twin.kernel.boot()
    return twin


def test_what_reaches_its_bars_reaches_what_is_behind() -> None:
    twin = machine()
    host = read_host(twin, registers=registers)
    reach = Reach(Topology(host), present(host))
    assert twin.attack(at(BESIDE), at(DRIVE)).reached
    assert reach.answer(at(BESIDE), at(VMD)).answer is Answer.POSSIBLE
    found = reach.answer(at(BESIDE), at(DRIVE))
    assert found.answer is Answer.POSSIBLE
    assert found.path[-1].at == VMD


def test_a_plan_takes_no_driver_off_a_vmd_with_something_behind() -> None:
    twin = machine()
    host = read_host(twin, registers=registers)
    text = f'[cluster.red]\ndevices = ["{VMD}", "{DRIVE}"]\n'
    made = plan(Topology(host), present(host), read_spec(text, host, name="red.toml"), spec=text)
    assert made.impossible
    assert any("is a VMD" in entry.reason and DRIVE in entry.reason for entry in made.impossible)
