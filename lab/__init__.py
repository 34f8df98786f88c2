"""The lab: real Linux kernels in an emulator, with emulated devices, as the judge of what atoll says and does.

Not part of the installed package: ``python -m lab`` runs it from a clone. Everything that it needs is fetched from
Debian into a cache of its own, without root and without touching the system.
"""
