"""I/O virtual addresses: which ones a cluster can use, which a peer takes, and whether a guest's memory fits.

With ``IOVA = guest physical address``, as a VMM without a virtual IOMMU maps it, an address that is reserved makes
the map fail, and one that a peer claims before the IOMMU is asked makes DMA go astray without any error.
"""

from atoll.isolation.iova.survey import ClusterIova, survey

__all__ = ["ClusterIova", "survey"]
