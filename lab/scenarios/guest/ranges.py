"""Inside the guest: which IOVA ranges atoll says are left for a device, and which the kernel gives to who opens it."""

import json
from pathlib import Path

from verbs import DEVICES, printed

import labguest
from atoll.pci.address import Address
from atoll.vfio import VfioError, interfaces, open_space
from atoll.vfio.kernel import LiveKernel

NVME = "0x010802"


place = min(folder.name for folder in DEVICES.iterdir() if (folder / "class").read_text().strip() == NVME)
Path("/tmp/clusters.toml").write_text(f'[cluster.red]\ndevices = ["{place}"]\n')
document = json.loads(printed("iova", "/tmp/clusters.toml", "--json"))

folder = DEVICES / place
if (folder / "driver").exists():
    (folder / "driver" / "unbind").write_text(place)
(folder / "driver_override").write_text("vfio-pci")
Path("/sys/bus/pci/drivers_probe").write_text(place)

# Who may attack by interrupts is no matter here: on QEMU's AMD IOMMU the kernel finds none remapped.
unsafe = Path("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts")
if unsafe.exists():
    unsafe.write_text("1")

ranges, refused = {}, {}
for api in interfaces(LiveKernel()):
    with open_space(api) as space:
        try:
            space.open(Address.parse(place))
        except VfioError as error:
            # Linux 6.12 attaches nothing through iommufd behind an IOMMU that has a first stage only.
            refused[str(api)] = error.message
            continue
        ranges[str(api)] = [[one.first, one.last] for one in space.iova_ranges()]

unit = (folder / "iommu").resolve()
registers = {
    name: (unit / kind / name).read_text().strip()
    for kind, name in (("intel-iommu", "cap"), ("intel-iommu", "ecap"), ("amd-iommu", "features"))
    if (unit / kind / name).exists()
}
labguest.answer({"document": document, "ranges": ranges, "refused": refused, "registers": registers})
