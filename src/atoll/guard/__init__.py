"""Keeping devices open and cut while their owners drive them: the holder.

``keeper`` is the process that has one cluster's devices, ``watch`` what it does with each; ``keepers`` is how the
holder's own process uses it as leases, ``service`` what others may ask, ``client`` how they ask. See docs/hold.md.
"""
