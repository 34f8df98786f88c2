"""GPUs that nvidia-smi shows split into instances (MIG): one PCI function each."""

from __future__ import annotations

import re

from atoll.host.links.read import read_link_records
from atoll.host.links.smi_query import parse_query
from atoll.host.links.xml import parse_xml
from host.links.link_hosts import A100, gpus, host_of, real

MIG = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-00000000-0000-0000-0000-000000000000)
  MIG 3g.20gb     Device  0: (UUID: MIG-11111111-1111-1111-1111-111111111111)
  MIG 3g.20gb     Device  1: (UUID: MIG-22222222-2222-2222-2222-222222222222)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-33333333-3333-3333-3333-333333333333)
"""


ADDRESSES = """\
index, pci.bus_id, uuid
0, 00000000:10:00.0, GPU-00000000-0000-0000-0000-000000000000
1, 00000000:11:00.0, GPU-33333333-3333-3333-3333-333333333333
"""


def test_instances_are_no_gpus() -> None:
    host = host_of(gpus(2), A100, MIG, ADDRESSES)
    (gap,) = [gap for gap in host.gaps if "MIG" in gap.what]
    assert gap.what == "instances (MIG) of 0000:10:00.0"
    assert "split in 2, which are one PCI function" in gap.why
    assert not host.links
    assert not host.links_told
    assert "instances (MIG) of GPU 0" in {gap.what for gap in host_of(gpus(3), A100, MIG).gaps}


def test_instances_in_a_query() -> None:
    text = real("nvidia-smi-qx-a100/qx-a100.xml").decode()
    assert "MIG" not in str(read_link_records({"q": text.encode()}, {}).sources)
    device = "<mig_device><index>0</index><gpu_instance_id>1</gpu_instance_id></mig_device>"
    split = text.replace("<current_mig>Disabled", "<current_mig>Enabled", 1)
    empty = read_link_records({"q": split.encode()}, {})
    assert "it is split in 0" in str(empty.sources)
    split = re.sub(
        r"<mig_devices>.*?</mig_devices>", f"<mig_devices>{device * 3}</mig_devices>", split, count=1, flags=re.S
    )
    whys = [gap.why for source in read_link_records({"q": split.encode()}, {}).sources for gap in source.gaps]
    assert len([why for why in whys if "it is split in 3" in why]) == 1
    assert len(parse_query(parse_xml(split.encode(), name="q"))) == len(parse_query(parse_xml(text.encode(), name="q")))
