"""Lists of IOMMU groups, as scripts, sysfs and tables print them."""
