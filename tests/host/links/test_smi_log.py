"""``nvidia-smi -q`` as text tells what ``-q -x`` does."""

from __future__ import annotations

from textwrap import indent

import pytest

from atoll.host.links.smi_log import parse_smi_log
from atoll.host.links.smi_query import QueriedGpu, parse_query
from atoll.host.model import LinkKind
from atoll.host.records.content import read_record
from atoll.host.together import read_together
from atoll.pci.address import Address

_LOG = """\
==============NVSMI LOG==============

Timestamp                                 : Thu Nov 14 15:35:07 2024
Driver Version                            : 550.54.14

Attached GPUs                             : 2
GPU 00000000:AD:00.0
    Product Name                          : NVIDIA H100 80GB HBM3
    MIG Mode
        Current                           : Disabled
        Pending                           : Enabled
    GPU UUID                              : GPU-806f8ea2
    GPU Operation Mode
        Current                           : N/A
    GPU C2C Mode                          : Enabled
    PCI
        Bus                               : 0xAD
        Base Classcode                    : 0x3
        Sub Classcode                     : 0x2
        Device Id                         : 0x233010DE
        Bus Id                            : 00000000:AD:00.0
        Sub System Id                     : 0x16C110DE
        GPU Link Info
            PCIe Generation
                Max                       : 5
    Fabric
        State                             : Completed
        Status                            : Success
        CliqueId                          : 7
        ClusterUUID                       : c0ffee
        Health
            Bandwidth                     : Full
    Processes                             : None

GPU 00000000:AE:00.0
    Product Name                          : NVIDIA H100 80GB HBM3
    MIG Mode
        Current                           : Enabled
        Pending                           : Enabled
    MIG Device
        Index                             : 0
        GPU Instance ID                   : 1
    MIG Device
        Index                             : 1
    GPU UUID                              : GPU-db6d02a2
    GPU C2C Mode                          : Disabled
    PCI
        Device Id                         : 0x233010DE
        Bus Id                            : 00000000:AE:00.0
    Fabric
        State                             : In Progress
        Status                            : N/A
"""
_FIRST, _SECOND = Address(0, 0xAD, 0, 0), Address(0, 0xAE, 0, 0)
_PRODUCT = "NVIDIA H100 80GB HBM3"


@pytest.mark.parametrize("text", [_LOG, indent(_LOG, "    "), f"$ nvidia-smi -q\n{_LOG}\n$ exit\n"])
def test_the_gpus_of_a_log(text: str) -> None:
    root = parse_smi_log(text)
    assert root is not None
    assert parse_query(root) == (
        QueriedGpu(0, _FIRST, "GPU-806f8ea2", _PRODUCT, True, "NVLink fabric c0ffee clique 7", ""),
        QueriedGpu(1, _SECOND, "GPU-db6d02a2", _PRODUCT, False, None, "", 2),
    )


def test_a_log_without_its_beginning_numbers_none() -> None:
    for text in (
        _LOG.partition("Attached")[2].partition("\n")[2],
        _LOG.replace("GPUs                             : 2", "GPUs : 3"),
    ):
        root = parse_smi_log(text)
        assert root is not None
        assert [gpu.index for gpu in parse_query(root)] == [None, None]


def test_a_log_is_a_host_of_gpus() -> None:
    record = read_record(_LOG.encode(), name="q.txt")
    assert record.host is not None
    assert record.links is not None
    gpu = record.host.functions[_FIRST]
    assert (gpu.vendor, gpu.device, gpu.class_code) == (0x10DE, 0x2330, 0x030200)


def test_a_log_beside_lspci_in_one_text() -> None:
    lspci = "ad:00.0 3D controller [0302]: NVIDIA Corporation X [10de:2330] (rev a1)\n\tKernel driver in use: nvidia\n"
    record = read_record((lspci + _LOG).encode(), name="both.txt")
    assert record.host is not None
    assert set(record.host.functions) == {_FIRST, _SECOND}


def test_links_of_a_log() -> None:
    host = read_together([read_record(_LOG.encode(), name="q.txt")])
    assert {link.kind for link in host.links} == {LinkKind.NVLINK, LinkKind.C2C}
    assert {link.source for link in host.links} == {"nvidia-smi -q (q.txt)"}
