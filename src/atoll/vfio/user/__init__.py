"""The vfio-user protocol: a PCI device served by one process to another over a Unix socket.

``protocol`` has numbers and framing, ``payload`` the bodies, ``connection`` the socket; ``server`` serves a
``device.Device`` with ``memory`` (what the client opened for DMA) and ``interrupts``; ``client`` owns a served device.

Source throughout: QEMU ``docs/interop/vfio-user.rst`` (protocol 0.x), and what QEMU 11.1 was seen to send. Neither
side trusts the other: what cannot be right is answered with an error, or the connection ends.
"""
