"""The fit of links' terms: it finds what made the timings, and what is left out is not in it."""

from __future__ import annotations

import dataclasses

import pytest

from hpcsim.evidence.collectives import CollectiveRow, read_collectives
from hpcsim.study import link_terms
from hpcsim.study.collectives import predict_collectives, times
from hpcsim.study.scores import nearest_rank


def rows() -> list[CollectiveRow]:
    """A few curves over EFA, Slingshot and inside nodes of H100."""
    kept = [r for r in read_collectives() if r.accelerator in ("H100", "GH200") and not r.condition]
    return kept[::4]


def test_a_fit_finds_what_made_the_timings() -> None:
    start = link_terms.priors()
    kinds = dict(start.kinds)
    kinds["efa"] = dataclasses.replace(kinds["efa"], latency_s=1.2 * kinds["efa"].latency_s)
    kinds["slingshot"] = dataclasses.replace(kinds["slingshot"], low_latency_bytes_per_s=0.5 * kinds["slingshot"].low_latency_bytes_per_s)
    kinds["nvlink4"] = dataclasses.replace(kinds["nvlink4"], in_switch_frac=0.70)
    given = rows()
    made = times(given, terms=kinds.__getitem__, library=start.library).seconds
    found = link_terms.fit([dataclasses.replace(row, measured_s=float(t)) for row, t in zip(given, made, strict=True)], rounds=6)
    assert found.kinds["nvlink4"].in_switch_frac == pytest.approx(0.70, rel=0.02)
    assert found.kinds["slingshot"].low_latency_bytes_per_s == pytest.approx(kinds["slingshot"].low_latency_bytes_per_s, rel=0.25)
    assert 1.04 * start.kinds["efa"].latency_s < found.kinds["efa"].latency_s < kinds["efa"].latency_s  # declared, so held more closely
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


def test_shipped_timings_are_met() -> None:
    """In sample: 6.1 % in the median, 40.2 % at the 90th percentile, 88 % inside the 80 % range."""
    given = read_collectives()
    found = predict_collectives(given)
    errors = [abs(one.predicted_s / row.measured_s - 1.0) for one, row in zip(found, given, strict=True)]
    assert nearest_rank(errors, 0.5) < 0.063
    assert nearest_rank(errors, 0.9) < 0.41
    assert 0.80 < sum(one.low_s <= row.measured_s <= one.high_s for one, row in zip(found, given, strict=True)) / len(given) < 0.90


def test_a_polled_call_is_latency_all_of_it() -> None:
    """Bytes of the low-latency protocol go at the rate at which a host's memory is polled, so they are as uncertain as a step."""
    small = dataclasses.replace(next(r for r in read_collectives() if r.scale_out == "efa" and r.gpus == 16), size_bytes=16384.0)
    large = dataclasses.replace(small, size_bytes=1e9)
    found = times([small, large])
    assert found.fixed_s[0] == found.seconds[0]
    assert found.fixed_s[1] < 0.1 * found.seconds[1]
