"""Numbers and layouts of the kernel's interface: include/uapi/linux/vfio.h and include/uapi/linux/iommufd.h.

Values are those of Linux 7.3; the layouts start with those of every kernel since 6.1, which takes what it
knows of a longer one. Fields, flags and requests bear the header's names.
"""
