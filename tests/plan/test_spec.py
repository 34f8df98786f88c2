"""Cluster files: what they come to, and what each mistake in one says."""

from __future__ import annotations

import functools

import pytest

from atoll.controls.registry import registers
from atoll.errors import RefusedError
from atoll.events.trigger import Trigger
from atoll.host import read_host
from atoll.host.model import Host
from atoll.isolation.clusters import Cluster, Clusters, Handover
from atoll.plan.cluster_file import SpecError
from atoll.plan.spec import read, read_spec
from atoll.twin import Twin


@functools.cache
def host(kernel: str | None = None) -> Host:
    return read_host(Twin.new("ac922-4gpu", kernel=kernel), registers=registers)


def clusters(text: str, kernel: str | None = None) -> Clusters:
    return read_spec(text, host(kernel), name="f.toml")


def names(cluster: Cluster) -> list[str]:
    return list(map(str, cluster.functions))


def test_a_whole_file() -> None:
    found = clusters(
        """
        [cluster.red]
        devices = ["gpu[1]", "0004:04:00.0"]
        handover = "held"

        [cluster.blue]
        devices = ["0035:03:00.0"]
        driver = "nouveau"
        handover = "kernel"

        [policy]
        survive = { tenant = 1, machine = 2 }
        assumed = true
        """
    )
    red, blue = found.named
    assert (red.name, names(red), red.handover, red.driver) == (
        "red",
        ["0004:04:00.0", "0004:05:00.0"],
        Handover.HELD,
        "vfio-pci",
    )
    assert (blue.handover, blue.driver) == (Handover.KERNEL, "nouveau")
    assert found.survive == {Trigger.TENANT: 1, Trigger.MACHINE: 2}
    assert found.allow_assumed


def test_defaults() -> None:
    found = clusters('[cluster.red]\ndevices = ["gpu[0]"]\n')
    assert found.named[0].handover is Handover.VFIO
    assert found.named[0].driver == "vfio-pci"
    assert not found.survive
    assert not found.allow_assumed


def test_npu_functions_follow_their_gpu() -> None:
    bricks = {str(b.function) for b in host("5.4").npu_bricks if str(b.gpu) == "0004:04:00.0"}
    assert bricks
    assert set(names(clusters('[cluster.red]\ndevices = ["gpu[0]"]', "5.4").named[0])) == {"0004:04:00.0", *bricks}
    brick = min(bricks)
    for mistake in (
        f'[cluster.red]\ndevices = ["{brick}"]',
        f'[cluster.red]\ndevices = ["gpu[0]"]\n[cluster.blue]\ndevices = ["{brick}"]',
    ):
        with pytest.raises(SpecError, match=f"{brick} is an NPU function of the GPU 0004:04:00.0"):
            clusters(mistake, "5.4")
    both = clusters(f'[cluster.red]\ndevices = ["gpu[0]", "{brick}"]', "5.4").named[0]
    assert sorted(names(both)) == sorted({"0004:04:00.0", *bricks})


RED = '[cluster.red]\ndevices = ["gpu[0]"]\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.toml:1: no clusters"),
        ("[cluster]\n", "f.toml:1: no clusters"),
        ("[clusters.red]\n", "f.toml:1: clusters: no such table, expected cluster or policy"),
        ("\n[cluster.red]\ndevice = []", "f.toml:3: cluster.red.device: no such key, expected one of devices, driver"),
        ("[cluster.red]\n", "f.toml:1: cluster.red: no devices"),
        ("[cluster.red]\ndevices = []", "f.toml:2: cluster.red.devices: empty"),
        ("[cluster.red]\ndevices = 'gpu[0]'", "f.toml:2: cluster.red.devices: found a string, expected an array"),
        ("[cluster.red]\ndevices = [\n 1]", "f.toml:3: cluster.red.devices[0]: found an integer, expected a string"),
        ("[cluster]\nred = 1", "f.toml:2: cluster.red: found an integer, expected a table"),
        ("[[cluster]]\nred = 1", "f.toml:1: cluster: found an array, expected a table"),
        ("[cluster.host]\ndevices = ['gpu[0]']", "f.toml:1: cluster.host: 'host' is the name of the trusted rest"),
        ("[cluster.'a b']\ndevices = ['gpu[0]']", "f.toml:1: cluster.a b: not a cluster's name"),
        (
            "[cluster.red]\ndevices = [\n'gpu[0]',\n'0004:99:00.0']",
            "f.toml:4: cluster.red.devices[1]: no function 0004:99:00.0 on this host",
        ),
        ("[cluster.red]\ndevices = ['GPU0']", "f.toml:2: cluster.red.devices[0]: 'GPU0' is no selector"),
        ("[cluster.red]\ndevices = ['gpu[7]']", "f.toml:2: cluster.red.devices[0]: 'gpu[7]' matches nothing"),
        ("[cluster.red]\ndevices = ['0004:00:00.0']", "names the port 0004:00:00.0"),
        (
            RED + "[cluster.blue]\ndevices = ['gpu[:2]']",
            "f.toml:4: cluster.blue.devices[0]: 0004:04:00.0 belongs to cluster red already (line 2)",
        ),
        (
            "[cluster.red]\ndevices = ['gpu[0]',\n'10de:1db1']",
            "f.toml:3: cluster.red.devices[1]: 0004:04:00.0 is named twice, first in line 2",
        ),
        (RED + "handover = 'hold'", "f.toml:3: cluster.red.handover: found 'hold', expected vfio, held, broker"),
        (RED + "handover = 3", "f.toml:3: cluster.red.handover: found an integer"),
        (RED + "handover = 'kernel'", "f.toml:1: cluster.red.driver: missing, expected the host driver"),
        (RED + "handover = 'kernel'\ndriver = 'vfio-pci'", "f.toml:4: cluster.red.driver: found 'vfio-pci'"),
        (RED + "driver = 'nvidia'", "f.toml:3: cluster.red.driver: found 'nvidia', expected vfio-pci"),
        (RED + "driver = '../x-vfio'", "f.toml:3: cluster.red.driver: '../x-vfio' is no driver's name"),
        (RED + "driver = 1.5", "f.toml:3: cluster.red.driver: found a float"),
        (RED + "owner = 'alice'", "f.toml:3: cluster.red.owner: found an owner, expected none, because handover is"),
        (RED + "handover = 'held'\nowner = true", "f.toml:4: cluster.red.owner: found a boolean, expected a user's"),
        (RED + "handover = 'held'\nowner = -1", "f.toml:4: cluster.red.owner: -1 is no user id, expected 0 to 42949"),
        (RED + "handover = 'held'\nowner = 4294967295", "cluster.red.owner: 4294967295 is no user id"),
        (RED + "handover = 'held'\nowner = ''", "f.toml:4: cluster.red.owner: '' is no user's name"),
        (RED + "handover = 'held'\nowner = 'a:b'", "f.toml:4: cluster.red.owner: 'a:b' is no user's name"),
        ("[policy]\nsurvive = { guest = 1 }\n" + RED, "f.toml:2: policy.survive.guest: no such key"),
        (
            "[policy]\nsurvive = { tenant = 0 }\n" + RED,
            "f.toml:2: policy.survive.tenant: found 0, expected a number of events, 1 or more",
        ),
        ("[policy.survive]\nhost = true\n" + RED, "f.toml:2: policy.survive.host: found a boolean"),
        ("[policy]\nassumed = 'yes'\n" + RED, "f.toml:2: policy.assumed: found a string, expected true or false"),
        ("[policy]\nessential = ['gpu[0]']\n" + RED, "f.toml:2: policy.essential[0]: not a PCI address"),
        ("[policy]\nessential = ['0009:00:00.0']\n" + RED, "no function 0009:00:00.0"),
        ("policy = 1\n" + RED, "f.toml:1: policy: found an integer, expected a table"),
    ],
)
def test_mistakes_are_said_with_file_line_and_key(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        clusters(text)
    assert message in caught.value.message
    assert caught.value.exit_code == 2


def test_near_misses_are_guessed() -> None:
    for text, guess in (("[clutser.red]", "cluster"), (RED + "handover = 'brokre'", "broker")):
        with pytest.raises(SpecError) as caught:
            clusters(text)
        assert guess in caught.value.hint


def test_what_the_host_needs_is_given_away_only_by_name() -> None:
    address, reason = next((a, r) for a, r in host().essential.items() if not host().functions[a].is_port)
    text = f'[cluster.red]\ndevices = ["{address}"]\n'
    with pytest.raises(RefusedError) as caught:
        clusters(text)
    assert reason in caught.value.message
    assert caught.value.message.startswith("f.toml:2: ")
    assert caught.value.exit_code == 4
    with pytest.raises(RefusedError):
        clusters(f'[policy]\nessential = ["0004:04:00.0"]\n{text}')
    permitted = read(f'[policy]\nessential = ["{address}"]\n{text}', host(), name="f.toml")
    assert permitted.essential == {address}
    assert permitted.clusters.named[0].functions == (address,)
