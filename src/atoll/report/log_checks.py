"""What the complaints of a kernel's log or of QEMU mean, and a silent device, and what to do: one check a kind and
function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from atoll.host.complaint import Complaint, ComplaintKind
from atoll.host.fact import value_of
from atoll.host.model import Host
from atoll.host.silent import silent
from atoll.pci.address import Address
from atoll.report.check import Check, Status, Subject
from atoll.report.interrupt_checks import WITHOUT_REMAPPING

__all__ = ["complaint_checks", "complaints", "troubles"]


@dataclass(frozen=True, slots=True)
class _Words:
    """What is said of a complaint; ``{it}`` is the function, ``{detail}`` what the message says besides."""

    status: Status
    found: str
    why: str
    do: str


_SILENT = (
    "write 1 to its remove file and to /sys/bus/pci/rescan; where that does not help, take the machine's power off"
)
_WORDS: Mapping[ComplaintKind, _Words] = {
    ComplaintKind.BAR_TAKEN: _Words(
        Status.FAIL,
        "the memory {detail} of {it} is in use by the host",
        "a guest gets no such BAR (no picture, Code 43); mostly the console of the boot (efifb, simpledrm) has it",
        "see who: /proc/iomem; boot with initcall_blacklist=sysfb_init, or with another card as the firmware's display",
    ),
    ComplaintKind.NOT_BACK: _Words(
        Status.FAIL,
        "{it} did not come back after a reset ({detail})",
        "nothing reaches it until it is without power once; what waits for it may hang",
        "take the machine's power off; then reset it otherwise: reset_method beside it in /sys lists and sets how",
    ),
    ComplaintKind.SILENT: _Words(
        Status.FAIL,
        "{it} does not answer: its registers read all ones",
        "it lost power or its link, or did not survive a reset; neither host nor guest can use it",
        f"{_SILENT}; where it goes silent when idle: vfio-pci's option disable_idle_d3=1",
    ),
    ComplaintKind.INTERRUPT: _Words(
        Status.WARN,
        "interrupt remapping blocked an interrupt of {it}",
        "it is not one that its driver set up: left from before a reset, or forged",
        "nothing was reached; where it goes on, reset the device or look who has it",
    ),
    ComplaintKind.NO_GROUP: _Words(
        Status.FAIL,
        "VFIO did not take {it}",
        "as a rule it is in no IOMMU group: no IOMMU is in use, or none serves it",
        "switch on VT-d, AMD-Vi or the SMMU in the firmware, and intel_iommu=on where the kernel needs it; then see "
        "that vfio-pci is loaded",
    ),
    ComplaintKind.RESET_SPREADS: _Words(
        Status.WARN,
        "{it} was not reset: that would reset group {detail} too",
        "it has no reset of its own, and one of its bus hits others' devices: what one guest left the next finds",
        "give both groups to one guest, or put the card where it is alone below its port; see: atoll explain",
    ),
    ComplaintKind.NO_RESET: _Words(
        Status.WARN,
        "{it} was not reset: there is no way to",
        "what one guest left in it, the next one finds; many do not start a second time",
        "see its reset methods: atoll show -v; without any, take the machine's power off between guests",
    ),
    ComplaintKind.NOT_VIABLE: _Words(
        Status.FAIL,
        "VFIO did not give away the group of {it}",
        "drivers of the host have functions of the same group: each of them has to go to vfio-pci, or to no driver",
        "see which: lspci -nnk, beside a list of the groups, for atoll explain",
    ),
    ComplaintKind.BUSY: _Words(
        Status.FAIL,
        "/dev/vfio/{detail} is open elsewhere already",
        "a group goes to one owner at a time: another guest or program has this device, or one of its group",
        "see who: fuser -v /dev/vfio/{detail}, or atoll doctor on that host, as root",
    ),
    ComplaintKind.NO_NODE: _Words(
        Status.FAIL,
        "there is no /dev/vfio/{detail}",
        "no driver of VFIO's has a device of this group, or groups have other numbers since this boot",
        "bind it to vfio-pci; see: atoll explain",
    ),
    ComplaintKind.NOT_PERMITTED: _Words(
        Status.FAIL,
        "/dev/vfio/{detail} may not be opened",
        "its user or the container's rules do not allow it, or the group is not viable",
        "give the file to the user (udev, chown), let the container have the device; see: atoll explain",
    ),
    ComplaintKind.NO_DOMAIN: _Words(
        Status.FAIL,
        "VFIO did not get the IOMMU for {it} ({detail})",
        "the kernel refused: no interrupt remapping, memory that firmware keeps mapped for it (RMRR), another space "
        "than the rest of its group, or vfio_iommu_type1 is not loaded",
        "the kernel's log of that moment says which: give dmesg from the boot on",
    ),
    ComplaintKind.NOT_OPENED: _Words(
        Status.FAIL,
        "VFIO has the group of {it} and did not open it ({detail})",
        "another driver than vfio-pci has it, or none (No such device); another guest (busy); or it did not start",
        "see lspci -nnk, and what the kernel's log says of it at that moment",
    ),
    ComplaintKind.OFF: _Words(
        Status.FAIL,
        "the kernel uses no IOMMU",
        "without one nothing can be given to a guest, and every device can read and write all of memory",
        "take amd_iommu=off, intel_iommu=off and iommu=off off the command line; Intel: boot with intel_iommu=on, and "
        "where that changes nothing, switch on VT-d in the firmware; AMD: switch on the IOMMU (AMD-Vi) in the "
        "firmware; Arm: the firmware has to describe an SMMU",
    ),
    ComplaintKind.NOT_DESCRIBED: _Words(
        Status.FAIL,
        "the firmware describes no IOMMU ({detail})",
        "it is switched off there, or the machine has none: without one nothing can be given to a guest",
        "switch on VT-d, AMD-Vi (IOMMU) or the SMMU in the firmware; no parameter of the kernel does it",
    ),
    ComplaintKind.BROKEN_TABLE: _Words(
        Status.FAIL,
        "the firmware's table of IOMMUs ({detail}) is broken: it names one where none is",
        "as a rule the kernel uses none then: nothing can be given to a guest, and every device can read and write all "
        "of memory",
        "update the firmware; switching VT-d off and on again in it may help",
    ),
    ComplaintKind.STALLED: _Words(
        Status.FAIL,
        "an IOMMU did not carry out its commands in time",
        "as a rule it waits for a device with ATS that hangs, lost its power or is in a reset; requests of others wait "
        "with it",
        "the log names the device before that or in lines of IOTLB_INV_TIMEOUT; take the machine's power off; where it "
        "comes back, boot with pci=noats",
    ),
    ComplaintKind.NO_VIRTUAL: _Words(
        Status.FAIL,
        "{it} did not get virtual functions",
        "the firmware left too few addresses, or numbers of buses, for them: the log says which",
        "switch on SR-IOV, Above 4G Decoding and ARI in the firmware; addresses: boot with pci=realloc; buses: with "
        "pci=assign-busses, or take another slot",
    ),
    ComplaintKind.ERRATUM: _Words(
        Status.FAIL,
        "interrupts are not remapped: the chipset has an erratum",
        "the kernel leaves it off there whatever the firmware says, so VFIO refuses devices by default",
        WITHOUT_REMAPPING,
    ),
    ComplaintKind.NOT_INVALIDATED: _Words(
        Status.FAIL,
        "{it} did not confirm to the IOMMU that it forgot translations (ATS)",
        "it hangs or was in a reset; until it has been reset it may use memory that was taken from it, and the IOMMU "
        "waits for it, up to a lockup of the host",
        "reset it or take the machine's power off; where it comes back, boot with pci=noats",
    ),
}
_UNMAPPED = "VFIO did not map memory ({detail})"
_OF_MAPPING = {
    "Cannot allocate memory": _Words(
        Status.FAIL,
        "VFIO did not map memory: too much would be locked",
        "all of a guest's memory stays in place while it has a device",
        "raise the limit (ulimit -l, LimitMEMLOCK=) above the guest's memory",
    ),
    "Invalid argument": _Words(
        Status.FAIL,
        _UNMAPPED,
        "the addresses lie beyond the IOMMU's reach, or where firmware or interrupts have them",
        "see where a guest's memory fits: atoll iova SPEC --guest-memory SIZE",
    ),
}
_OTHERWISE = _Words(
    Status.FAIL, _UNMAPPED, "the guest's devices do not reach that memory", "see the kernel's log as well"
)


_REFUSED = ("Operation not permitted", "IOMMU type", "")
_WITHOUT_S = "interrupts are not remapped: VFIO gives no device away then, unless it is told to"
_FIRMWARE_S = "the firmware keeps memory mapped for it (RMRR), as the kernel's log says: the kernel gives it to nobody"


def complaints(s: Subject) -> Iterator[Check]:
    """What the record's messages say went wrong."""
    for one in troubles(s.host):
        yield from complaint_checks(s.host, one)


def troubles(host: Host) -> tuple[Complaint, ...]:
    """Return what messages complain of, and the functions that were asked and did not answer."""
    told = {one.function for one in host.complaints if one.kind is ComplaintKind.SILENT}
    unsaid = (Complaint(ComplaintKind.SILENT, address) for address in silent(host) if address not in told)
    return (*host.complaints, *unsaid)


def complaint_checks(host: Host, one: Complaint) -> Iterator[Check]:
    """Return what complaints of one kind about one function mean."""
    if one.kind is ComplaintKind.FAULT:
        yield _fault(host, one)
        return
    if one.kind is ComplaintKind.NO_IOAPIC:
        yield _no_ioapic(one)
        return
    # Why memory was not mapped, and which group it is about, is another question each time.
    details = one.details or ("",)
    for detail in details if one.function is None else details[:1]:
        words = _WORDS[one.kind] if one.kind in _WORDS else _OF_MAPPING.get(detail, _OTHERWISE)
        refused = one.kind is ComplaintKind.NO_DOMAIN and detail in _REFUSED
        if refused and value_of(host.interrupt_remapping, None) is False:
            words = replace(words, why=_WITHOUT_S, do="see interrupt-remapping")
        if one.kind is ComplaintKind.NO_DOMAIN and one.function in host.refused:
            words = replace(words, why=_FIRMWARE_S, do="see firmware-memory")
        it = "a device" if one.function is None else str(one.function)
        parts = {"it": it, "detail": detail or "as the log has it"}
        found, why, do = (text.format(**parts) for text in (words.found, words.why, words.do))
        origin = "log-" if one in host.complaints else ""
        yield Check(f"{origin}{one.kind.value}", words.status, found, why, do)


def _fault(host: Host, one: Complaint) -> Check:
    """Tell where a request that the IOMMU blocked was to go."""
    it = "a device" if one.function is None else str(one.function)
    places = [int(detail, 16) for detail in one.details]
    hits = (_bar_at(host, place, one.function) for place in places)
    peer = next((hit for hit in hits if hit is not None), None)
    where = "" if not places else f" to {(places[0] if peer is None else peer.place):#x}"
    if peer is None:
        return Check(
            "log-fault",
            Status.WARN,
            f"the IOMMU blocked a request of {it}{where}",
            "nothing is mapped for it there: the IOMMU does its work, and what the device asked for was not done",
            "a guest's device: its memory is not there; the host's: see its driver, and firmware that goes on using it",
        )
    return Check(
        "log-fault",
        Status.WARN,
        f"the IOMMU blocked a request of {it}{where}, which is BAR {peer.bar} of {peer.function}",
        "traffic between devices (GPU peer-to-peer, NCCL) by bus addresses, which no mapping leads to: copies hang or "
        "come out empty",
        "boot with iommu.passthrough=1 (host devices are then apart no more), or do without (NCCL_P2P_DISABLE=1)",
    )


def _no_ioapic(one: Complaint) -> Check:
    """Tell which interrupt controllers firmware leaves out; the southbridge's is at 00:14.0 (``IOAPIC_SB_DEVID``)."""
    left_out = one.details or ("ID",)
    return Check(
        "log-no-ioapic",
        Status.FAIL,
        f"firmware's table for the IOMMU (IVRS) leaves out I/O APIC {', '.join(left_out)}",
        "the kernel then remaps no interrupts, so VFIO refuses devices by default",
        f"update the firmware; until it is mended, boot with ivrs_ioapic[{left_out[0]}]=00:14.0, where the "
        "southbridge's is, and so for each; the functions of others (00:00.1, 00:00.2) the log tells with "
        "amd_iommu_dump=1",
    )


@dataclass(frozen=True, slots=True)
class _Hit:
    """An address in a BAR of another function than the sender."""

    place: int
    function: Address
    bar: int


def _bar_at(host: Host, place: int, sender: Address | None) -> _Hit | None:
    for address, function in host.functions.items():
        for bar in value_of(function.bars, ()):
            if address != sender and bar.memory and bar.start <= place < bar.start + bar.size:
                return _Hit(place, address, bar.index)
    return None
