"""What Arm's SMMU does with requests under ids that no driver set up: aborts them, or lets them pass untranslated.

Source: ``disable_bypass`` of drivers/iommu/arm/arm-smmu and of arm-smmu-v3. The first is as the kernel was built
(``CONFIG_ARM_SMMU_DISABLE_BYPASS_BY_DEFAULT``, commit 954a03be033c "iommu/arm-smmu: Break insecure users by disabling
bypass by default", in v5.2) and off before; the second is on, and gone since commit 734554fdfce6 "iommu/arm-smmu-v3:
Retire disable_bypass parameter" (in v6.10). Each driver obeys its own only, and a kernel can have both built in.
"""

from __future__ import annotations

from atoll.fabric.answer import Answer
from atoll.fabric.default_domain import shows_amd_iommu
from atoll.host.command_line import parameters, truth
from atoll.host.fact import Known, value_of
from atoll.host.kernel import smmu_drivers
from atoll.host.model import Host, Platform

__all__ = ["ids_of_nobody"]

_NEWER = "arm_smmu_v3"
_ABORTED = Answer.BLOCKED, ""
_SURE = (5, 2)
"""The first release of which it is known here that SMMUv3's driver aborts unless told otherwise."""
_RETIRED = (6, 10)
"""The first release whose SMMUv3 driver cannot be told otherwise."""
_FILE = "sys/module/arm_smmu/parameters/disable_bypass"


def ids_of_nobody(host: Host) -> tuple[Answer, str]:
    """Return what becomes of requests under such ids, and why: ``direct``, ``possible``, ``blocked``."""
    smmu = [unit.name for unit in host.iommu_units if unit.kind == "smmu"]
    maybe = host.platform is Platform.UNKNOWN and not host.iommu_units and not shows_amd_iommu(host)
    if host.platform in (Platform.X86, Platform.POWERNV) or not (smmu or maybe or host.platform is Platform.ARM):
        return _ABORTED
    drivers = smmu_drivers(host.iommu_units)
    aborts, word = _told(host, drivers)
    if aborts is False:
        return Answer.DIRECT, f"{word}: what it was told nothing of passes"
    newer = bool(smmu) and drivers == (_NEWER,)
    if aborts or (newer and _since(host, _SURE)):
        return _ABORTED
    if maybe:
        return Answer.POSSIBLE, "which kind of IOMMU it is was not read: Arm's may let pass what it was told nothing of"
    return Answer.POSSIBLE, f"whether it lets pass what it was told nothing of was not read: {_FILE}"


def _told(host: Host, drivers: tuple[str, ...]) -> tuple[bool | None, str]:
    """Whether such requests are aborted, as the modules say or the command line asks, and where it is told."""
    if isinstance(host.smmu_aborts, Known):
        return host.smmu_aborts.value, f"{host.smmu_aborts.source} is off"
    told: tuple[bool | None, str] = (None, "")
    for word in parameters(value_of(host.command_line, "")):
        name, _, value = word.lower().partition("=")
        driver, _, option = name.partition(".")
        if option != "disable_bypass" or driver not in drivers or (driver == _NEWER and _since(host, _RETIRED)):
            continue
        if truth(value) is False:
            return False, word
        # What the newer is told says nothing of the older, which may be there too.
        if driver == drivers[0]:
            told = True, word
    return told


def _since(host: Host, first: tuple[int, int]) -> bool:
    release = value_of(host.kernel, None)
    return release is not None and (release.major, release.minor) >= first
