"""What a capture holds of a device tree."""

from __future__ import annotations

from atoll.host.attribute import target
from atoll.host.capture.collector import Collector, Progress
from atoll.host.devicetree import find_device_tree

__all__ = ["take_device_tree"]

_NODE_PROPERTIES_NAMES = """
    class-code compatible device-id device_type ibm,chip-id ibm,device-tgt-addr ibm,gpu ibm,link-speed
    ibm,links ibm,npcq ibm,npu ibm,npu-group-id ibm,npu-index ibm,npu-lane-mask ibm,npu-link-index
    ibm,npu-links ibm,nvlink ibm,nvlink-peers ibm,nvlink-speed ibm,opal-phbid ibm,phb-index ibm,phbid
    ibm,slot-label iommu-map iommus linux,pci-domain linux,phandle memory-region model msi-map name
    nvidia,link-speed phandle reg vendor-id
"""
_NODE_PROPERTIES = frozenset(_NODE_PROPERTIES_NAMES.split())
_NODES_LEFT_OUT = ("/vpd", "/ibm,opal", "/cpus", "/ibm,hostboot", "/ibm,firmware-versions")
"""Vital product data, LEDs by location code, processors: no part in who reaches whom, and full of serial numbers."""
_NODE_DEPTH = 32
_NOT_THERE = "its folder lists it, and it is not there"


def take_device_tree(take: Collector, progress: Progress) -> None:
    """Take the name of the board, and on bare-metal POWER the nodes of buses and links."""
    root = find_device_tree(take.tree)
    if root is None:
        return
    take.folder(root)
    compatible = take.file(f"{root}/compatible") or b""
    take.file(f"{root}/model")
    if b"ibm,powernv" not in compatible.split(b"\0"):
        return
    waiting = [("", 0)]
    count = 0
    while waiting:
        node, depth = waiting.pop()
        progress("device tree", count, count + len(waiting) + 1)
        count += 1
        take.folder(f"{root}{node}")
        for name in take.names(f"{root}{node}"):
            below = f"{node}/{name}"
            if name in _NODE_PROPERTIES:
                if take.file(f"{root}{below}") is None:
                    take.refused(f"{root}{below}", _NOT_THERE)
            elif depth < _NODE_DEPTH and not below.startswith(_NODES_LEFT_OUT) and _is_node(take, f"{root}{below}"):
                waiting.append((below, depth + 1))


def _is_node(take: Collector, path: str) -> bool:
    # A property is a file, which is no folder. What answers otherwise may be a node that cannot be listed.
    try:
        take.tree.list(path)
    except NotADirectoryError:
        return False
    except FileNotFoundError:
        take.refused(path, _NOT_THERE)
        return False
    except OSError:
        return bool(take.names(path))
    return target(take.tree, path) is None
