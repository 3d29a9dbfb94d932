"""The fit of links' terms: it finds what made the timings, and what is left out is not in it."""

from __future__ import annotations

import dataclasses

import pytest

from hpcsim.evidence.collectives import CollectiveRow, read_collectives
from hpcsim.study import link_terms
from hpcsim.study.collectives import times


def rows() -> list[CollectiveRow]:
    """A few curves over EFA, Slingshot and inside nodes of H100."""
    kept = [r for r in read_collectives() if r.accelerator in ("H100", "GH200") and not r.condition]
    return kept[::4]


def test_a_fit_finds_what_made_the_timings() -> None:
    start = link_terms.priors()
    kinds = dict(start.kinds)
    kinds["efa"] = dataclasses.replace(kinds["efa"], latency_s=1.2 * kinds["efa"].latency_s)
    kinds["nvlink4"] = dataclasses.replace(kinds["nvlink4"], in_switch_frac=0.70)
    given = rows()
    made = times(given, terms=kinds.__getitem__, library=start.library).seconds
    found = link_terms.fit([dataclasses.replace(row, measured_s=float(t)) for row, t in zip(given, made, strict=True)], rounds=6)
    assert found.kinds["nvlink4"].in_switch_frac == pytest.approx(0.70, rel=0.02)
    assert found.kinds["efa"].latency_s == pytest.approx(kinds["efa"].latency_s, rel=0.06)
    assert found.kinds["tcp"].latency_s == pytest.approx(start.kinds["tcp"].latency_s, rel=1e-6)  # nothing timed it


def test_what_is_left_out_is_not_in_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timings of a group that are ten times as long change its errors, and nobody else's prediction of it."""
    given = rows()
    seen: list[set[str]] = []
    whole = link_terms.fit

    def fit(some: list[CollectiveRow], **key: object) -> link_terms.Fit:
        seen.append({link_terms.machine_of(row) for row in some})
        return link_terms.priors() if len(seen) > 1 else whole(some, rounds=1)

    monkeypatch.setattr(link_terms, "fit", fit)
    left = link_terms.leave_out(link_terms.machine_of, given)
    machines = list(dict.fromkeys(link_terms.machine_of(row) for row in given))
    assert [set(machines) - kept for kept in seen[1:]] == [{name} for name in machines]
    assert [item.row for item in left] == given
    assert {item.group for item in left} == set(machines)


def test_priors_alone_are_near() -> None:
    """Latencies of the library, rates of the line and usual shares: 11 % off in the median, before any fit."""
    score = link_terms.scores(link_terms.leave_out(refit=False), lambda item: item.row.collective)
    assert score["all"]["median_frac"] < 0.12
    assert score["all"]["rows"] == len(read_collectives())
    assert score["all-to-all"]["median_frac"] < 0.10


def test_groups_are_nested_from_system_to_network() -> None:
    groups = {name: {by(row) for row in read_collectives()} for name, by in link_terms.GROUPINGS.items()}
    assert len(groups["network"]) < len(groups["machine"]) < len(groups["system"])
