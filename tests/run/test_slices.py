"""Accelerators divided into slices, and jobs whose containers take time to start."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.run.bind import bind

COLUMNS = {"job": "id", "submit": "submit", "run": "run", "processors": "n"}


def scenario(folder: Path, rows: list[tuple[int, int, int]], **jobs: Any) -> hpcsim.Scenario:
    log = folder / "log.csv"
    log.write_text("id,submit,run,n\n" + "".join(f"{k},{s},{r},{n}\n" for k, (s, r, n) in enumerate(rows, 1)))
    more = jobs.pop("scheduler", {"policy": "easy"})
    text = {
        "schema": 1, "name": "slices", "question": "q?",
        "cluster": {
            "nodes": {"gpu": {"type": "dgx-a100-80gb", "count": 2}}, "fabric": {"topology": "single-switch", "link": "hdr", "per_node": 8},
            "site": {"pue": 1.2, "carbon": "57 g/kWh", "electricity": "0.12 USD/kWh"}, "prices": {"gpu": "1.8 USD/h"},
        },
        "workload": {"jobs": {"trace": {"file": str(log), "columns": COLUMNS}, "unit": "accelerator", **jobs}}, "scheduler": more,
    }  # fmt: skip
    return hpcsim.load(text)


@settings(max_examples=6, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 500), st.integers(1, 900), st.integers(1, 8)), min_size=1, max_size=8),
    slices=st.integers(2, 7),
    placement=st.sampled_from([None, "best-fit"]),
)
def test_whole_devices_asked_for_in_slices_are_the_same_machine(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]], slices: int, placement: str | None
) -> None:
    scheduler = {"policy": "easy", **({"placement": placement} if placement else {})}
    folder = tmp_path_factory.getbasetemp()
    whole = hpcsim.simulate(scenario(folder, rows, scheduler=scheduler))
    parts = hpcsim.simulate(scenario(folder, [(s, r, n * slices) for s, r, n in rows], slices=slices, scheduler=scheduler))
    assert whole.jobs["start_s"].tolist() == parts.jobs["start_s"].tolist()
    for key in ("makespan_s", "utilisation_frac", "it_energy_j", "cost_usd", "carbon_kg_co2e"):
        assert parts.summary[key] == pytest.approx(whole.summary[key], rel=1e-9)


def test_slices_hold_more_jobs_at_once(tmp_path: Path) -> None:
    rows = [(0, 100, 1)] * 16 * 7
    assert hpcsim.simulate(scenario(tmp_path, rows)).summary["makespan_s"] == 700.0
    assert hpcsim.simulate(scenario(tmp_path, rows, slices=7)).summary["makespan_s"] == 100.0


def test_a_container_starts_before_the_job_computes(tmp_path: Path) -> None:
    rows = [(0, 100, 8), (0, 50, 16)]
    plain, late = hpcsim.simulate(scenario(tmp_path, rows)), hpcsim.simulate(scenario(tmp_path, rows, start_up="30 s"))
    assert (late.jobs["end_s"] - late.jobs["start_s"]).tolist() == [130.0, 80.0]
    assert late.summary["makespan_s"] == plain.summary["makespan_s"] + 60.0


@pytest.mark.parametrize(
    ("more", "why"),
    [({"slices": 7, "unit": "core"}, "count cores"), ({"slices": 7, "unit": "node"}, "count nodes")],
)
def test_slices_of_what_is_no_accelerator_are_refused(tmp_path: Path, more: dict[str, Any], why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        bind(scenario(tmp_path, [(0, 10, 1)], **more))
    assert caught.value.problems[0].path == "workload.jobs.slices"
