"""The words of assumptions on which single answers rest: a policy or a path brings these in by their ids."""

from __future__ import annotations

from atoll.fabric.answer import Question
from atoll.fabric.links import NPU_UNCONFIGURED
from atoll.fabric.pcie import TRANSLATED_WITHOUT_ATS
from atoll.fabric.statement import VENDOR_STATEMENT
from atoll.isolation.identity import INTEGRATED_IDENTITY, SIBLING_IDENTITY

__all__ = ["TEXTS"]

TEXTS = {
    Question.ROOT_COMPLEX.value: "root complexes do not route between their ports without translation (policy trusted)",
    Question.MULTIFUNCTION.value: "functions of a device without ACS do not reach one another inside it (policy)",
    Question.PORT_BAR.value: "a port that redirects requests also redirects those to its own BARs (policy)",
    Question.VIRTUAL_FUNCTION.value: "virtual functions of one device do not reach one another inside it (policy)",
    Question.HONEST_ATS.value: "devices with ATS send as translated only what the IOMMU told them (policy trusted)",
    VENDOR_STATEMENT: "functions without ACS isolate as their vendors told Linux (drivers/pci/quirks.c)",
    NPU_UNCONFIGURED: "an NPU that this kernel does not configure lets no request of its GPUs through",
    SIBLING_IDENTITY: "functions of one device send requests under their own ids only (SrcValid compares bus numbers)",
    TRANSLATED_WITHOUT_ATS: "functions whose ATS is off mark no request as translated (DirectTrans would let it pass)",
    INTEGRATED_IDENTITY: "root complex integrated endpoints send requests under their own requester id only",
}
