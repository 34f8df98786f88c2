"""Records that people paste: lspci texts and dumps, lists of IOMMU groups, boot logs."""
