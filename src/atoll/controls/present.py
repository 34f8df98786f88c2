"""The settings of a host as they were read."""

from __future__ import annotations

from atoll.controls.registry import link_control
from atoll.fabric.domains import cpu_link_domains, domains
from atoll.fabric.settings import Settings
from atoll.fabric.statement import perhaps_open
from atoll.host.fact import Known, value_of
from atoll.host.model import Host

__all__ = ["present"]


def present(host: Host, *, allow_assumed: bool = False) -> Settings:
    """Return what every control is set to now; a cut that is only assumed to work counts as unknown unless allowed."""
    functions = host.functions
    acs, enhanced, egress, ats, cut = {}, {}, {}, {}, {}
    for address, function in functions.items():
        if isinstance(function.acs, Known) and function.acs.value is not None:
            acs[address] = function.acs.value.control
            if function.acs.value.enhanced is not None:
                enhanced[address] = function.acs.value.enhanced
            egress[address] = function.acs.value.egress_vector
        if isinstance(function.ats, Known) and function.ats.value is not None:
            ats[address] = function.ats.value.enabled
        control = link_control(function)
        if control is not None:
            links = value_of(control.state(host, address), None)
            assumed = control.is_assumed and not allow_assumed
            cut[address] = None if links and assumed else links
    kernel = value_of(host.kernel, None)
    return Settings(
        acs=acs,
        enhanced=enhanced,
        perhaps_open=frozenset(a for a, function in functions.items() if perhaps_open(function, kernel)),
        egress=egress,
        command={address: value_of(function.command, None) for address, function in functions.items()},
        ats=ats,
        cut=cut,
        domain=domains(host),
        cpu_links=cpu_link_domains(host),
    )
