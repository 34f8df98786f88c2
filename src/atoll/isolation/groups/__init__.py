"""The IOMMU groups that this kernel forms, predicted from what the record shows.

A prediction follows the kernel's own rules, be they right or wrong about the hardware: it says what the kernel
*claims*. What the hardware lets through is :mod:`atoll.isolation.reach`.
"""

from atoll.isolation.groups.predict import predict
from atoll.isolation.groups.prediction import Prediction

__all__ = ["Prediction", "predict"]
