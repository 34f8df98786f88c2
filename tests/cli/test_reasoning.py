"""explain, atoms, prove and plan: their fixed forms and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running import CAPTURES, Run

GPUS = ("0004:04:00.0", "0004:05:00.0", "0035:03:00.0", "0035:04:00.0")
TWIN = "twin:ac922-4gpu"


def clusters(folder: Path, *members: tuple[str, ...], handover: str = "held") -> Path:
    path = folder / "clusters.toml"
    names = ("red", "blue", "green", "grey")
    path.write_text(
        "".join(
            f"[cluster.{name}]\ndevices = {json.dumps(devices)}\nhandover = {handover!r}\n"
            for name, devices in zip(names, members, strict=False)
        )
    )
    return path


def test_explain_two(run: Run) -> None:
    ran = run("explain", GPUS[0], GPUS[1], "--host", TWIN, "--json")
    assert ran.code == 0
    assert ran.json["host"] == TWIN
    assert ran.json["same_group"] is False
    ways = {(answer["from"], answer["to"]): answer for answer in ran.json["answers"]}
    assert ways.keys() == {(GPUS[0], GPUS[1]), (GPUS[1], GPUS[0])}
    assert all(answer["answer"] == "direct" and answer["path"] for answer in ways.values())
    assert any("0x150000" in (remedy["how"] or "") for remedy in ran.json["remedies"])
    assert "What would change it" in run("explain", GPUS[0], GPUS[1], "--host", TWIN).out


def test_explain_one(run: Run) -> None:
    ran = run("explain", GPUS[0], "--host", TWIN, "--json")
    assert ran.json["host"] == TWIN
    assert {neighbour["address"] for neighbour in ran.json["neighbours"]} > set(GPUS[1:])
    answer = " ".join(run("explain", GPUS[0], "--host", TWIN).out.split())
    first, told = answer.split(" Not isolated: ")
    assert first.startswith(f"{GPUS[0]} is alone in group"), "the kernel's claim, and at once what it is worth"
    assert told.startswith("as the hardware is set now, it directly reaches ")
    assert GPUS[1] in told.partition(", outside of its group (how: below). ")[0]
    assert "What would change that: atoll explain" in told


def test_explain_what_is_not_there(run: Run) -> None:
    assert run("explain", "0009:00:00.0", "--host", TWIN).code == 2
    elsewhere = run("explain", GPUS[0].partition(":")[2], "--host", TWIN)
    assert elsewhere.err.splitlines()[1] == f"  did you mean {GPUS[0]}?", "forums leave the segment out"
    assert run("explain", GPUS[0], GPUS[0], "--host", TWIN).code == 2


@pytest.mark.parametrize("capture", CAPTURES[:3], ids=lambda path: path.name)
def test_explain_and_atoms_of_records(run: Run, capture: Path) -> None:
    functions = [f["address"] for f in run("show", "--host", capture, "--json").json["functions"] if not f["port"]]
    assert run("explain", functions[1], functions[2], "--host", capture).code == 0
    assert run("explain", functions[1], "--host", capture).code == 0
    found = run("atoms", "--host", capture, "--json").json["atoms"]
    assert sorted(address for atom in found for address in atom["functions"]) == functions
    assert max(map(len, run("atoms", "--host", capture).out.splitlines())) <= 100


def test_atoms(run: Run) -> None:
    atoms = {tuple(atom["functions"]): atom for atom in run("atoms", "--host", TWIN, "--json").json["atoms"]}
    assert [cut["mask"] for cut in atoms[GPUS[:1]]["cuts"]] == ["0x150000"]
    assert atoms[GPUS[:1]]["domains"] == {GPUS[0]: "identity"}
    assert f"needs IOMMU translation for {GPUS[0]} (now identity" in run("atoms", "--host", TWIN).out


def test_what_is_open_joins_atoms_and_is_told_to(run: Run) -> None:
    """Where little is known of a root complex one atom has nearly all: nobody should take that for the answer."""
    capture = next(c for c in CAPTURES if "amd-204" in c.name)
    strict, trusted = (run("atoms", "--host", capture, "--policy", policy).out for policy in ("strict", "trusted"))
    count = trusted.partition(" ")[0]
    assert int(strict.partition(" ")[0]) < int(count)
    told = " ".join(strict.split())
    assert f"there are {count}: atoll atoms --policy trusted" in told
    assert "--policy" not in trusted
    assert "--policy" not in run("atoms", "--host", TWIN).out


def test_prove_now(run: Run, tmp_path: Path) -> None:
    ran = run("prove", clusters(tmp_path, GPUS[:1], GPUS[1:]), "--host", TWIN, "--json")
    assert ran.code == 1
    document = ran.json
    assert document["verdict"] == "violated"
    assert document["checked"]["pairs"] > 0
    violation = document["violations"][0]
    assert {"from", "to", "clusters", "answer", "path"} <= violation.keys()
    assert {"at", "via", "because"} == violation["path"][0].keys()
    assert document["resilience"].keys() == {"tenant", "host", "machine"}
    assert document["handed_over"]["verdict"] == "violated"
    text = run("prove", clusters(tmp_path, GPUS[:1], GPUS[1:]), "--host", TWIN)
    assert text.out.startswith("VIOLATED now")


def test_prove_after_a_plan(run: Run, tmp_path: Path) -> None:
    spec = clusters(tmp_path, GPUS[:1], GPUS[1:])
    plan = tmp_path / "plan.json"
    made = run("plan", spec, "--host", TWIN, "-o", plan, "--json")
    assert made.code == 0
    assert json.loads(plan.read_text()) == made.json
    masks = {step["device"]: step["mask"] for step in made.json["steps"] if step["kind"] == "cut-links"}
    assert masks == {GPUS[0]: "0x150000", GPUS[1]: "0x150000"}
    ran = run("prove", spec, "--after", plan, "--host", TWIN, "--json")
    assert (ran.code, ran.json["verdict"], ran.json["handed_over"]["verdict"]) == (0, "proven", "proven")
    assert ran.json["resilience"]["tenant"] == 2
    assert ran.json["moment"] == f"after {plan}"


def test_stock_vfio_loses_the_cut(run: Run, tmp_path: Path) -> None:
    spec = clusters(tmp_path, GPUS[:1], GPUS[1:], handover="vfio")
    ran = run("plan", spec, "--host", TWIN, "--json")
    assert ran.code == 1
    assert any("held" in entry["remedy"] for entry in ran.json["unachievable"])
    told = run("plan", spec, "--host", TWIN).out
    assert "not all is achieved, see the end" in told.splitlines()[0]
    assert "Not achieved" in told


def test_without_link_records_nothing_is_proven(run: Run, tmp_path: Path) -> None:
    silent = tmp_path / "silent.twin"
    assert run("twin", "new", "ac922-4gpu", silent, "--without-links").code == 0
    spec = clusters(tmp_path, GPUS[:1], GPUS[1:])
    plan = tmp_path / "plan.json"
    assert run("plan", spec, "--host", silent, "-o", plan).code in (1, 3)
    after = run("prove", spec, "--host", silent, "--after", plan)
    assert after.code in (1, 3)
    assert "PROVEN" not in after.out


@pytest.mark.parametrize("verb", ["prove", "plan"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[cluster.red",
        b"[cluster.red]\ndevices = ['0009:00:00.0']\n",
        b'[cluster.red]\ndevices = ["0004:04:00.0"]\ndriveer = "x"\n',
        b"\xff\xfe",
        b'{"schema": "atoll.plan/1"}',
        b"[cluster.red]\ndevices = [4]\n",
        b'[cluster.red]\ndevices = ["gpu[0]"]\ndriver = 5\n',
        b'[cluster."a b"]\ndevices = ["gpu[0]"]\n',
        b'[cluster.red]\ndevices = ["gpu[0]"]\n[policy]\nsurvive = { tenant = -1 }\n',
        b"cluster = 5\n",
        b'[cluster.red]\ndevices = ["gpu[0:9]"]\n',
    ],
)
def test_a_cluster_file_with_mistakes(run: Run, tmp_path: Path, verb: str, content: bytes) -> None:
    spec = tmp_path / "clusters.toml"
    spec.write_bytes(content)
    ran = run(verb, spec, "--host", TWIN)
    assert (ran.code, ran.out) == (2, "")
    assert str(spec) in ran.err
    assert len(ran.err.splitlines()) == 2
    assert "--help" not in ran.err, "the options are not what is wrong"


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"schema": "atoll.plan/2"}'])
def test_a_plan_with_mistakes(run: Run, tmp_path: Path, content: str) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(content)
    ran = run("prove", clusters(tmp_path, GPUS[:1], GPUS[1:]), "--after", plan, "--host", TWIN)
    assert (ran.code, ran.out) == (2, "")
    assert len(ran.err.splitlines()) == 2


def test_what_the_host_needs_is_refused(run: Run, tmp_path: Path) -> None:
    needed = run("show", "--host", TWIN, "--json").json["essential"]
    assert needed
    ran = run("plan", clusters(tmp_path, (next(iter(needed)),)), "--host", TWIN)
    assert (ran.code, ran.out) == (4, "")
