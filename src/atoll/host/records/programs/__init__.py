"""Records in which other programs tell of functions: udev, libvirt, hwloc, rdma_topo, Proxmox VE, NCCL, nvidia-smi."""
