"""Simulated machines: the second opinion on fabric and isolation.

A twin has the files, registers and reset behaviour of a real machine, and traffic. It is written from the
kernel's and the specification's rules alone and shares nothing with the code that it checks.
"""

from atoll.twin.attack import Attack, Attempt
from atoll.twin.error import TwinError
from atoll.twin.machines import MACHINES, RANDOM
from atoll.twin.packet import Hop
from atoll.twin.twin import Twin

__all__ = ["MACHINES", "RANDOM", "Attack", "Attempt", "Hop", "Twin", "TwinError"]
