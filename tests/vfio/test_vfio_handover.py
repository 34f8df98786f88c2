"""An address space in another process: what is sent is enough, and closing rules hold."""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable
from typing import Any

import pytest
from fake_vfio import FakeKernel
from hypothesis import given
from hypothesis import strategies as st
from vfio_machine import FakeDevice, FakeMachine, address

from atoll.errors import AtollError, InputError
from atoll.vfio import Api, VfioError, open_space
from atoll.vfio.handover import export, receive

A, B, C = address("01:00.0"), address("02:00.0"), address("02:01.0")


def kernel() -> FakeKernel:
    devices = [FakeDevice(A, 5, bus=1), FakeDevice(B, 6, bus=2), FakeDevice(C, 6, bus=2)]
    return FakeKernel(FakeMachine(devices, cdev=True))


@pytest.mark.parametrize("api", list(Api))
def test_the_owner_drives_what_the_holder_keeps(api: Api) -> None:
    fake = kernel()
    with open_space(api, kernel=fake) as holder:
        for where in (A, B, C):
            holder.open(where)
        sent = export(holder)
        owner = receive(sent.text, [fake.duplicate(n) for n in sent.descriptors], kernel=fake)
        assert [d.address for d in owner.devices] == [A, B, C]
        owner.devices[0].region(0).write32(0, 9)
        assert holder.devices[0].region(0).read32(0) == 9
        memory = mmap.mmap(-1, 4096)
        owner.map(0x1000, memory)
        with pytest.raises(VfioError):
            holder.map(0x1000, mmap.mmap(-1, 4096))
        owner.devices[0].reset()
        owner.devices[1].hot_reset()
        owner.close()
        memory.close()
        assert fake.machine.devices[0].seen == ["open", "reset"]
        with holder.map(0x1000, mmap.mmap(-1, 4096)):
            pass
    assert fake.machine.devices[0].seen == ["open", "reset", "close"]
    assert fake.files == {}
    assert fake.references == {}


@pytest.mark.parametrize("api", list(Api))
def test_the_owner_stays_when_the_holder_ends(api: Api) -> None:
    fake = kernel()
    with open_space(api, kernel=fake) as holder:
        holder.open(A)
        holder.open(B)
        sent = export(holder, [B])
        owner = receive(sent.text, [fake.duplicate(n) for n in sent.descriptors], kernel=fake)
    assert [d.address for d in owner.devices] == [B]
    assert fake.machine.devices[0].seen == ["open", "close"]
    assert fake.machine.devices[1].seen == ["open"]
    with owner.map(0, mmap.mmap(-1, 4096)):
        owner.devices[0].close()
    owner.close()
    assert fake.files == {}
    assert fake.references == {}
    assert fake.machine.owners == {}


def test_only_what_is_open_is_sent() -> None:
    with open_space(kernel=kernel()) as space:
        with pytest.raises(VfioError, match="any device"):
            export(space)
        space.open(A)
        with pytest.raises(VfioError, match=str(B)):
            export(space, [A, B])


def one_for_two(document: dict[str, Any]) -> None:
    document["devices"][1]["descriptor"] = document["devices"][0]["descriptor"]


def one_named_twice(document: dict[str, Any]) -> None:
    document["devices"][1]["address"] = document["devices"][0]["address"]


def another_group(document: dict[str, Any]) -> None:
    document["devices"][0]["group"] = 7


@pytest.mark.parametrize(
    ("api", "change", "says"),
    [
        *((api, one_for_two, "each of which is for one thing") for api in Api),
        *((api, one_named_twice, "named twice") for api in Api),
        (Api.LEGACY, another_group, "group is missing"),
    ],
)
def test_a_text_that_does_not_fit_its_descriptors(
    api: Api, change: Callable[[dict[str, Any]], None], says: str
) -> None:
    fake = kernel()
    with open_space(api, kernel=fake) as holder:
        holder.open(A)
        holder.open(B)
        sent = export(holder)
        document = json.loads(sent.text)
        change(document)
        with pytest.raises(InputError, match=says):
            receive(json.dumps(document), [fake.duplicate(n) for n in sent.descriptors], kernel=fake)
    assert fake.files == {}


VALUES = st.none() | st.booleans() | st.integers(-2, 9) | st.text(max_size=4) | st.just("0000:01:00.0")


@given(st.sampled_from(list(Api)), st.data())
def test_any_text_leaves_nothing_open(api: Api, data: st.DataObject) -> None:
    fake = kernel()
    with open_space(api, kernel=fake) as holder:
        holder.open(A)
        holder.open(B)
        sent = export(holder)
        document: dict[str, Any] = json.loads(sent.text)
        if data.draw(st.booleans()):
            document["devices"][0][data.draw(st.sampled_from(["address", "descriptor", "group", "id"]))] = data.draw(
                VALUES
            )
        else:
            document[data.draw(st.sampled_from(sorted(document)))] = data.draw(VALUES | st.lists(VALUES, max_size=2))
        numbers = [fake.duplicate(n) for n in sent.descriptors]
        keep = data.draw(st.integers(0, len(numbers)))
        for number in numbers[keep:]:
            fake.close(number)
        said: list[str] = []
        before = set(fake.files) - set(numbers)
        try:
            receive(json.dumps(document), numbers[:keep], kernel=fake).close()
        except AtollError as error:
            said.append(error.hint)
        assert all(said)
        assert set(fake.files) == before


@pytest.mark.parametrize("text", ["", "[]", "{}", "1", '{"schema": "atoll.vfio/2"}', "[" * 100_000])
def test_no_document(text: str) -> None:
    fake = kernel()
    number = fake.open("dev/vfio/vfio")
    with pytest.raises(InputError, match="makes no sense"):
        receive(text, [number], kernel=fake)
    assert fake.files == {}
