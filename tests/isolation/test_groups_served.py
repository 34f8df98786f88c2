"""Which functions an IOMMU serves, as far as a record tells."""

from __future__ import annotations

from groups_hosts import at

from atoll.host.records.pasted.text import read_text
from atoll.isolation.groups import predict
from atoll.report.lacking import lacking

TEXT = """\
00:00.0 Host bridge [0600]: Intel Corporation Some Bridge [8086:191f] (rev 07)
\tControl: I/O- Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx-

00:02.0 VGA compatible controller [0300]: Intel Corporation Some Display [8086:1912] (rev 06)
\tControl: I/O+ Mem+ BusMaster+ SpecCycle- MemWINV- VGASnoop- ParErr- Stepping- SERR- FastB2B- DisINTx+

IOMMU Group 0 00:00.0
IOMMU Group 1 00:02.0
IOMMU Group 2 00:02.0
"""


def test_a_function_of_whose_group_records_disagree_is_open() -> None:
    prediction = predict(read_text(TEXT.encode(), name="paste"))
    assert at("00:02.0") in prediction.index()
    assert "in group 1 and in group 2" in prediction.open_about(at("00:02.0"))
    assert not prediction.open_about(at("00:00.0"))


def test_a_function_whose_group_the_record_lacks_may_be_in_that_of_others() -> None:
    """It is cut off, or the list is a part of one: the kernel has 01:00.1 in the group of the function beside it."""
    listed = "IOMMU Group 3 01:00.0\n"
    text = TEXT.replace("IOMMU Group 2 00:02.0\n", listed) + "".join(
        f"\n01:00.{n} Audio device [0403]: Some Sound [1002:ab3{n}]\n\tControl: I/O- Mem+ BusMaster+\n"
        for n in range(2)
    )
    prediction = predict(read_text(text.encode(), name="paste"))
    assert at("01:00.1") in prediction.index()
    assert "whether an IOMMU serves it" in prediction.open_about(at("01:00.1"))
    assert prediction.open_about(at("01:00.0"))
    assert not prediction.open_about(at("00:02.0"))


def test_that_a_list_is_a_part_of_one_is_told_once_however_many_it_lacks() -> None:
    lacked = "".join(
        f"\n00:1{n}.0 Audio device [0403]: Some Sound [1002:ab3{n}]\n\tControl: I/O- Mem+ BusMaster+\n"
        for n in range(3)
    )
    prediction = predict(read_text((TEXT.replace("IOMMU Group 2 00:02.0\n", "") + lacked).encode(), name="paste"))
    told = lacking(prediction.open_about(at(f"00:1{n}.0")) for n in range(3))
    assert len([line for line in told if "whether an IOMMU serves it" in line]) == 1


def test_the_host_bridge_beside_amds_iommu_has_no_group_and_others_may() -> None:
    """Whole lists lack it, but not those that stand for the parts of a processor."""
    control = "\tControl: I/O- Mem- BusMaster-\n\tStatus: Cap- >SERR- <PERR- INTx-\n"
    text = "".join(
        f"00:{place} X [{class_}]: X [1022:{device}]\n{control}\n"
        for place, class_, device in (
            ("00.0", "0600", "1480"),
            ("00.2", "0806", "1481"),
            ("18.0", "0600", "1440"),
            ("18.1", "0600", "1441"),
        )
    )
    prediction = predict(read_text(f"{text}IOMMU Group 3 00:18.0\n".encode(), name="paste"))
    assert prediction.groups == ((at("00:18.0"), at("00:18.1")),)
    assert "00:18.1: whether an IOMMU serves it" in prediction.open_about(at("00:18.0"))
