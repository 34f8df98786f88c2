"""The kinds of tree that a host is read from: the live machine, folders, archives, device tree blobs, memory."""
