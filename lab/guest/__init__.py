"""What boots in the lab: an initial RAM file system with busybox, Python, atoll, a kernel's modules and a scenario."""
