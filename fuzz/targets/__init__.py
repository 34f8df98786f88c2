"""All targets, by name."""

from __future__ import annotations

from fuzz.target import Target
from fuzz.targets.amd import AMD
from fuzz.targets.archives import ARCHIVES
from fuzz.targets.documents import DOCUMENTS
from fuzz.targets.functions import FUNCTIONS
from fuzz.targets.holder import HOLDER
from fuzz.targets.records import RECORDS
from fuzz.targets.together import TOGETHER
from fuzz.targets.trees import TREES
from fuzz.targets.vfio import VFIO

__all__ = ["TARGETS"]

_ALL = (*FUNCTIONS, *RECORDS, *TOGETHER, *ARCHIVES, *TREES, *AMD, *DOCUMENTS, *HOLDER, *VFIO)
TARGETS: dict[str, Target] = {target.name: target for target in _ALL}
