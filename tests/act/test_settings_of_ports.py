"""What ports are set to: noted as far as it is nobody else's, and not written back but for what a step had set."""

from __future__ import annotations

from act_bench import Watched, host_of

from atoll.act.rollback import roll_back
from atoll.act.running import running
from atoll.act.settings import settings_of
from atoll.act.site import Site, State
from atoll.host.fact import value_of
from atoll.plan.fingerprint import fingerprint
from atoll.plan.step import Step, StepKind
from atoll.twin import Twin


def test_of_a_port_nothing_is_noted_that_what_is_below_needs() -> None:
    """Of one without a driver either: bus mastering off there stops all that is below."""
    twin = Twin.new("random-71-multicast")
    ports = [address for address, function in host_of(twin).functions.items() if function.is_port]
    for address in ports:
        driver = value_of(host_of(twin).functions[address].driver, None)
        if driver is not None:
            twin.write(f"sys/bus/pci/drivers/{driver}/unbind", str(address).encode())
        twin.write(f"sys/bus/pci/devices/{address}/config", b"\x06", offset=4)
        assert "COMMAND" not in str(settings_of(twin, address))


def test_only_ports_have_an_overlay() -> None:
    twin = Twin.new("random-71-multicast")
    noted = {address: str(settings_of(twin, address)) for address in host_of(twin).functions}
    having = {a: f.is_port for a, f in host_of(twin).functions.items() if "MCAST" in noted[a]}
    assert {*having.values()} == {True, False}
    assert all(("ECAP_MCAST+28.l" in noted[address]) == is_port for address, is_port in having.items())


def test_a_rollback_tells_what_a_port_is_set_to_and_writes_none_of_it() -> None:
    """Its setting is the kernel's, but for ACS control, which the step of before undoes."""
    twin = Twin.new("random-87")
    host = host_of(twin)
    noted = {a: settings_of(twin, a) for a, function in host.functions.items() if function.is_port}
    port, acs = next((a, str(words[0])) for a, words in noted.items() if isinstance(words, list) and len(words) == 2)
    assert acs.startswith("ECAP_ACS+6.w=")
    step = Step("s1", StepKind.SET_ACS, port, "for a test", "none", "none", "as before", cluster="red")
    known = {port: fingerprint(host.functions[port])}
    state: State = {"acs": int(acs[-4:], 16), "settings": ["ECAP_ACS+8.l=00000001"]}
    machine = Watched(twin)
    with running(machine, "apply", known) as work:
        entry = work.journal.intend(step, {"fingerprint": known[port], **state})
        site = Site(work.machine, host, known)
        undone = roll_back(site, work, [entry], lambda: "")
    assert [told for told in undone.left if "egress control vector" in told and "setpci" in told]
    assert not [change for change in machine.changes if change.endswith("/config")]
