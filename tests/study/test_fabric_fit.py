"""Logs of nccl-tests and OSU: read as printed, and fitted back to the terms that made them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import Catalog, default
from hpcsim.cost.collectives import Fabric, bus_factor
from hpcsim.evidence.collective_logs import is_collective_log, read_collective_log
from hpcsim.study.calibrate import calibrate
from hpcsim.workload.calibrated import calibrated_fabric
from hpcsim.workload.link_kinds import fabric_of

HEAD = """# nccl-tests version 2.17.1 nccl-headers=22803 nccl-library=22803
# Collective test starting: {tool}
# nThread 1 nGpus 1 minBytes 1024 maxBytes 8589934592 step: 2(factor) warmup iters: 5 iters: 20 agg iters: 1 validation: 1 graph: 0
#
# Using devices
{devices}
#
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
"""
TAIL = "# Out of bounds values : 0 OK\n# Avg bus bandwidth    : 123.4\n#\n"


def devices(ranks: int, per_node: int, name: str = "NVIDIA H100 80GB HBM3") -> str:
    return "\n".join(
        f"#  Rank {r:2d} Group  0 Pid  12{r:02d} on    node{r // per_node} device  {r % per_node} [0000:{r:02x}:00] {name}"
        for r in range(ranks)
    )


def nccl_log(
    fabric: Fabric, ranks: int, per_node: int, tool: str = "all_reduce_perf", collective: str = "all-reduce", noise: float = 0.0
) -> str:
    rng = np.random.default_rng(5)
    text = HEAD.format(tool=tool, devices=devices(ranks, per_node))
    for size in 2 ** np.arange(10, 34):
        seconds = float(fabric.collective_s(collective, float(size), ranks, inside=per_node)) * float(np.exp(noise * rng.normal()))
        rate = size / seconds / 1e9
        bus = rate * float(bus_factor(collective, ranks))
        text += f"{size:12d} {size // 4:12d}     float     sum      -1 {seconds * 1e6:8.2f} {rate:7.2f} {bus:7.2f}      0 {seconds * 1e6:8.2f} {rate:7.2f} {bus:7.2f}      0\n"
    return text + TAIL


def h100(rate: float = 50e9, out: str = "infiniband") -> Fabric:
    return fabric_of(scale_up="nvlink4", scale_up_bytes_per_s=450e9, domain=8, scale_out=out, scale_out_bytes_per_s=rate)


def test_a_log_of_nccl_tests_says_what_ran_where(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_text("node0:12:34 [0] NCCL INFO NET/IB : Using [0]mlx5_0:1/IB [RO]; OOB eth0\n" + nccl_log(h100(), 16, 8))
    log = read_collective_log(path)
    assert (log.tool, log.collective, log.ranks, log.per_node, log.network) == ("nccl-tests", "all-reduce", 16, 8, "infiniband")
    assert log.device == "NVIDIA H100 80GB HBM3"
    assert [t.size_bytes for t in log.times] == [float(s) for s in 2 ** np.arange(10, 34)]
    assert log.times[0].seconds == pytest.approx(float(h100().collective_s("all-reduce", 1024.0, 16, inside=8)), rel=1e-3)


def test_the_collective_follows_from_the_bandwidths_where_no_name_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.txt"
    path.write_text(nccl_log(h100(), 8, 8).replace("all_reduce_perf", "(lost)"))
    assert read_collective_log(path).collective == "all-reduce"


def test_osu_states_one_rank_s_block(tmp_path: Path) -> None:
    path = tmp_path / "osu.out"
    path.write_text(
        "mpirun -np 8 --map-by ppr:4:node ./osu_alltoall\n\n# OSU MPI All-to-All Personalized Exchange Latency Test v5.9\n# Size       Avg Latency(us)\n1                      12.46\n2                      12.05\n1048576               519.90\n"
    )
    log = read_collective_log(path)
    assert (log.tool, log.collective, log.ranks, log.per_node, log.on_devices) == ("osu", "all-to-all", 8, 4, False)
    assert [t.size_bytes for t in log.times] == [8.0, 16.0, 8388608.0]
    assert [t.seconds for t in log.times] == pytest.approx([12.46e-6, 12.05e-6, 519.9e-6])
    path.write_text(
        "# hpcsim: ranks=4 per_node=2 link=hdr\n# OSU MPI-CUDA Allreduce Latency Test v7.2\n# Size  Avg Latency(us)\n4  9.5\n8 9.6\n"
    )
    log = read_collective_log(path)
    assert (log.collective, log.ranks, log.on_devices, log.times[0].size_bytes) == ("all-reduce", 4, True, 4.0)


def test_what_is_no_log_is_no_log() -> None:
    assert not is_collective_log("a,b,c\n1,2,3\n")


def test_all_that_is_wrong_with_a_log_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.log"
    path.write_text("# hpcsim: rnks=4 ports=none\n# OSU MPI Allgather Latency Test v7.2\n# Size  Avg Latency(us)\n4  fast\n8 9.6\n")
    with pytest.raises(InputError) as found:
        read_collective_log(path)
    codes = [p.code for p in found.value.problems]
    assert codes == ["collective-log-key", "collective-log-line", "collective-log-line", "collective-log-unsaid", "collective-log-unsaid"]


@pytest.mark.parametrize(
    ("content", "code"),
    [("hello", "collective-log-unknown"), (HEAD.format(tool="all_reduce_perf", devices=devices(8, 8)), "collective-log-empty")],
)
def test_other_files_are_refused(tmp_path: Path, content: str, code: str) -> None:
    path = tmp_path / "x.log"
    path.write_text(content)
    with pytest.raises(InputError) as found:
        calibrate(path)
    assert code in [p.code for p in found.value.problems]
    with pytest.raises(InputError, match="no such log"):
        calibrate(tmp_path / "none.log")


def test_a_slower_machine_is_found_from_its_log(tmp_path: Path) -> None:
    """One node whose calls start 30 µs later and whose rings reach 0.7 of the line: the fit finds both, and left-out errors say so."""
    usual = h100()
    slow = dataclasses.replace(usual, scale_up=dataclasses.replace(usual.scale_up, startup_s=45e-6, in_switch_frac=0.55))
    path = tmp_path / "slow.log"
    path.write_text(nccl_log(slow, 8, 8, noise=0.03))
    found = calibrate(path)
    summary = found.results.summary
    assert summary["raw_median_abs_error_frac"] > 0.15
    assert summary["fitted_median_abs_error_frac"] < 0.05
    assert summary["left_out_median_abs_error_frac"] < 0.06
    fit = found.results.tables["fit"].set_index("term")
    assert fit.loc["start-up of a call", "fitted"] == pytest.approx(45e-6, rel=0.15)
    assert fit.loc["share in the switch", "fitted"] == pytest.approx(0.55, rel=0.05)


def test_the_network_s_terms_are_told_from_the_node_s(tmp_path: Path) -> None:
    usual = h100(25e9)
    slow = dataclasses.replace(usual, scale_out=dataclasses.replace(usual.scale_out, latency_s=12e-6, efficiency_frac=0.8))
    path = tmp_path / "two.log"
    path.write_text("# hpcsim: link=infiniband-hdr ports=8\n" + nccl_log(slow, 32, 8))
    found = calibrate(path)
    assert found.results.summary["fitted_median_abs_error_frac"] < 0.05 < found.results.summary["raw_median_abs_error_frac"]
    fit = found.results.tables["fit"]
    outer = fit[fit.entry == "infiniband-hdr"].set_index("term")
    assert outer.loc["share of the line rate", "fitted"] == pytest.approx(0.8, rel=0.06)
    assert outer.loc["latency of a step", "fitted"] == pytest.approx(12e-6, rel=0.25)
    file = found.write(tmp_path / "mine.yaml")
    entry = Catalog([file]).link("infiniband-hdr")
    assert entry.sustained_frac == pytest.approx(outer.loc["share of the line rate", "fitted"], rel=1e-3)
    assert entry.step_latency_s == pytest.approx(outer.loc["latency of a step", "fitted"], rel=1e-3)
    assert default().link("infiniband-hdr").step_latency_s is None


def test_a_run_over_a_network_nobody_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.log"
    path.write_text(nccl_log(h100(), 16, 8))
    with pytest.raises(InputError) as found:
        calibrate(path)
    assert [p.code for p in found.value.problems] == ["collective-log-network"]


def test_an_osu_log_fits_by_the_mpi_form(tmp_path: Path) -> None:
    true = fabric_of(scale_up="none", scale_up_bytes_per_s=1e12, domain=1, scale_out="infiniband", scale_out_bytes_per_s=25e9)
    true = dataclasses.replace(true, scale_out=dataclasses.replace(true.scale_out, efficiency_frac=0.6, latency_s=8e-6))
    sizes = 2.0 ** np.arange(2, 24)
    lines = "".join(f"{int(s):<12d} {float(true.mpi_s('all-reduce', s, 8, inside=1)) * 1e6:10.3f}\n" for s in sizes)
    path = tmp_path / "osu.txt"
    path.write_text(
        "# hpcsim: ranks=8 per_node=1 link=infiniband-hdr\n# OSU MPI Allreduce Latency Test v7.2\n# Size       Avg Latency(us)\n" + lines
    )
    found = calibrate(path)
    fit = found.results.tables["fit"].set_index("term")
    assert fit.loc["share of the line rate", "fitted"] == pytest.approx(0.6, rel=0.1)
    assert fit.loc["latency of a step", "fitted"] == pytest.approx(8e-6, rel=0.1)


@pytest.mark.parametrize(
    ("domain", "link", "touched"),
    [(72, "nvlink-5", False), (72, "nvlink-5-nvl72", True), (8, "nvlink-5", True), (8, "nvlink-5-nvl72", False)],
)
def test_what_a_board_sustains_does_not_touch_a_rack(domain: int, link: str, touched: bool) -> None:
    """NVLink 5 behind a rack's switches is a link of its own: an overlay of one says nothing of the other."""
    group = SimpleNamespace(accelerator=SimpleNamespace(scale_up_link="nvlink-5"), domain=domain)
    catalog = Catalog([{"links": {link: {"sustained": 0.5}}}])
    usual = fabric_of(scale_up="nvlink-5", scale_up_bytes_per_s=900e9, domain=domain, scale_out="none", scale_out_bytes_per_s=1e9)
    found = calibrated_fabric(usual, group, SimpleNamespace(fabric=None), catalog)  # type: ignore[arg-type]
    assert (float(np.asarray(found.scale_up.efficiency_frac)) == 0.5) is touched


def test_a_log_of_a_rack_is_fitted_to_the_rack_s_link(tmp_path: Path) -> None:
    rack = fabric_of(scale_up="nvlink-5", scale_up_bytes_per_s=900e9, domain=72, scale_out="none", scale_out_bytes_per_s=1e9)
    slow = dataclasses.replace(rack, scale_up=dataclasses.replace(rack.scale_up, in_switch_frac=0.4))
    path = tmp_path / "rack.log"
    lines = []
    for size in 2 ** np.arange(10, 34):
        seconds = float(slow.collective_s("all-reduce", float(size), 72, inside=72))
        rate = size / seconds / 1e9
        lines.append(
            f"{size:12d} {size // 4:12d} float sum -1 {seconds * 1e6:8.2f} {rate:7.2f} {rate * 142 / 72:7.2f} 0 {seconds * 1e6:8.2f} {rate:7.2f} {rate * 142 / 72:7.2f} 0"
        )
    head = "# hpcsim: ranks=72 per_node=4 domain=72 accelerator=gb200 collective=all-reduce\n" + HEAD.format(
        tool="all_reduce_perf", devices="#"
    )
    path.write_text(head + "\n".join(lines) + "\n" + TAIL)
    found = calibrate(path)
    fit = found.results.tables["fit"].set_index("term")
    assert set(found.overlay["links"]) == {"nvlink-5-nvl72"}
    assert fit.loc["share in the switch", "fitted"] == pytest.approx(0.4, rel=0.05)
