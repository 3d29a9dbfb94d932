"""Host lists, slurm.conf, topology.conf and sinfo: what is read, and a cluster section that a scenario takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.cli.main import main
from hpcsim.cluster.slurm import cluster_section, expand_hosts, fold_hosts, read_sinfo, read_slurm_conf, read_topology
from hpcsim.scenario.load import load

CONF = """
# a site
ClusterName=site
Include other.conf
NodeName=DEFAULT Sockets=2 CoresPerSocket=16 \\
         ThreadsPerCore=1
NodeName=cn[001-030] RealMemory=192000 Feature=skylake   # plain
NodeName=cn[031-032] RealMemory=192000 Feature=skylake State=DOWN
NodeName=big1 CPUs=64 RealMemory=1500000
NodeName=gpu[1-4] RealMemory=384000 Gres=gpu:a100:4(S:0-1),nvme:1 Feature=a100
NodeSet=fast Feature=a100
PartitionName=DEFAULT MaxTime=3-00:00:00
PartitionName=general Nodes=cn[001-032],big1 Default=YES
PartitionName=gpu Nodes=fast MaxTime=1-00:00:00 OverSubscribe=EXCLUSIVE PriorityTier=5
PartitionName=everything Nodes=ALL,ghost[1-2]
"""
TREE = "SwitchName=l[1-2] Nodes=x\nSwitchName=l1 Nodes=cn[001-016]\nSwitchName=l2 Nodes=cn[017-032]\nSwitchName=top Switches=l[1-2]\n"


def test_a_slurm_conf() -> None:
    machine = read_slurm_conf(CONF, TREE)
    assert len(machine.nodes) == 37
    assert (machine.nodes["cn007"].cpus, machine.nodes["big1"].cpus) == (32, 64)
    assert machine.nodes["gpu4"].gpus == (("a100", 4),)
    general, gpu, everything = machine.partitions
    assert len(general.nodes) == 33
    assert general.default
    assert (general.max_time, gpu.max_time) == ("3-00:00:00", "1-00:00:00")
    assert gpu.nodes == ("gpu1", "gpu2", "gpu3", "gpu4")
    assert gpu.exclusive
    assert gpu.priority_tier == 5
    assert len(everything.nodes) == 37
    assert any("Include other.conf" in note for note in machine.notes)
    assert any("2 nodes of partition everything are not defined" in note for note in machine.notes)


def test_its_section_is_one_that_a_scenario_takes(tmp_path: Path) -> None:
    section, notes = cluster_section(read_slurm_conf(CONF, TREE), link="hdr")
    groups = section["nodes"]
    assert {name: group["count"] for name, group in groups.items()} == {"cn": 30, "big": 1, "gpu": 4}
    assert groups["gpu"] == {"count": 4, "cores": 32, "memory": "384000 MiB", "accelerator": "a100", "per_node": 4}
    assert section["fabric"]["down"] == [16, 2]
    assert any("cn[031-032]" in note for note in notes)
    whole, _ = cluster_section(read_slurm_conf(CONF), all_states=True)
    assert whole["nodes"]["cn"]["count"] == 32
    assert "fabric" not in whole
    del section["nodes"]["gpu"]["accelerator"], section["nodes"]["gpu"]["per_node"]
    scenario = load(
        {
            "schema": 1,
            "name": "site",
            "question": "q",
            "cluster": section,
            "workload": {"jobs": {"synthetic": {"load": 0.5, "duration": "1 day"}, "nodes": "cn"}},
        }
    )
    assert scenario.cluster.nodes["cn"].memory == 192000 * 2**20


def test_sinfo() -> None:
    text = (
        "Mon Jan 01 10:00:00 2024\nNODELIST   NODES PARTITION       STATE CPUS    S:C:T MEMORY TMP_DISK WEIGHT AVAIL_FE REASON\n"
        "cn001          1  general*        idle   32   2:16:1 192000        0      1  skylake none\n"
        "cn002          1  general*       down*   32   2:16:1 192000        0      1  skylake not responding\n"
    )
    machine = read_sinfo(text)
    assert machine.nodes["cn002"].state == "DOWN"
    assert machine.partitions[0].default
    assert cluster_section(machine)[0]["nodes"] == {"cn": {"count": 1, "cores": 32, "memory": "192000 MiB"}}
    bars = read_sinfo("NODELIST|CPUS|MEMORY|GRES|PARTITION|TIMELIMIT\ngpu[1-2]|64|512000+|gpu:h100:8|gpu|1-00:00:00\n")
    assert bars.nodes["gpu2"].gpus == (("h100", 8),)
    assert bars.partitions[0].max_time == "1-00:00:00"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("n[1-3", "slurm-hostlist"),
        ("n]1[", "slurm-hostlist"),
        ("n[a-b]", "slurm-hostlist"),
        ("n[3-1]", "slurm-hostlist"),
        ("n[1-99999999]", "slurm-hostlist"),
    ],
)
def test_what_is_no_host_list(text: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        expand_hosts(text)
    assert caught.value.problems[0].code == code


@given(st.lists(st.tuples(st.sampled_from(["n", "gpu-", "r1c"]), st.integers(0, 300), st.integers(1, 4)), max_size=40, unique=True))
def test_folding_and_expanding_are_inverse(parts: list[tuple[str, int, int]]) -> None:
    hosts = list(dict.fromkeys(f"{prefix}{number:0{width}d}" for prefix, number, width in parts))
    assert sorted(expand_hosts(fold_hosts(hosts))) == sorted(hosts)


def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text, code in (
        ("SwitchName=a Switches=b\nSwitchName=b Switches=a\n", "slurm-topology"),
        ("SwitchName=a\n", "slurm-topology"),
        ("what is this\n", "slurm-conf"),
    ):
        with pytest.raises(InputError) as caught:
            read_topology(text)
        assert caught.value.problems[0].code == code
    path = tmp_path / "slurm.conf"
    path.write_text("PartitionName=p Nodes=ALL\n")
    assert main(["machine", str(path)]) == 2
    assert "[slurm-no-nodes]" in capsys.readouterr().err
    path.write_text("hello\n")
    assert main(["machine", str(path)]) == 2
    assert main(["machine", str(tmp_path / "none")]) == 2
    path.write_text(CONF)
    tree = tmp_path / "topology.conf"
    tree.write_text(TREE)
    capsys.readouterr()
    assert main(["machine", str(path), "--topology", str(tree), "--link", "hdr", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["cluster"]["fabric"]["down"] == [16, 2]
    assert main(["machine", str(path)]) == 0
    out = capsys.readouterr()
    assert "count: 30" in out.out
    assert "out of service" in out.err
