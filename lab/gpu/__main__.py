"""``python -m lab.gpu ORDER``: one emulated GPU. Started by ``Gpus``, which passes the descriptors."""

from __future__ import annotations

import sys

from lab.gpu.process import Order, Process

if __name__ == "__main__":
    Process(Order.parse(sys.argv[1])).run()
