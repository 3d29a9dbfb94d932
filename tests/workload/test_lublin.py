"""The published workload model, drawn logs, bursts and shaking: against a log that the authors' program wrote, and against closed forms."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.workload.jobs import JobTable, read_trace
from hpcsim.workload.likeness import fit_log, mmpp_dispersion, mmpp_times, offered_load, shaken, with_load
from hpcsim.workload.lublin import ALL, BATCH, INTERACTIVE, day_weights, lublin_jobs, lublin_load

TRACES = Path(os.environ.get("HPCSIM_TRACES", Path(__file__).resolve().parents[3] / "shared" / "evidence" / "traces"))
DAY_S = 86400.0


def figures(jobs: JobTable) -> dict[str, tuple[float, float]]:
    """Mean and its standard error of what the model is made of."""
    size, run = jobs.processors.astype(float), np.log(jobs.run_s)
    gap = np.log(np.maximum(np.diff(jobs.submit_s), 1.0))
    values = {
        "serial": (size == 1).astype(float),
        "power of two": (np.log2(size) % 1 == 0).astype(float),
        "log2 size": np.log2(size),
        "ln run": run,
        "square of ln run": run**2,
        "ln run of the wide": run[size >= 64],
        "ln gap": gap,
        "square of ln gap": gap**2,
        "by day": ((jobs.submit_s / 3600) % 24 >= 8) & ((jobs.submit_s / 3600) % 24 < 20),
    }
    return {name: (float(np.mean(v)), float(np.std(v) / np.sqrt(len(v)))) for name, v in values.items()}


@pytest.mark.skipif(not TRACES.is_dir(), reason="the logs are not at hand")
def test_moments_are_those_of_a_log_that_the_authors_program_wrote() -> None:
    theirs = figures(read_trace(TRACES / "lublin_256.swf.gz").jobs)
    ours = figures(lublin_jobs(seed=5, jobs=10_000, processors=256))
    for name, (mean, error) in theirs.items():
        other, other_error = ours[name]
        burst = 3.0 if name == "by day" else 1.0  # arrivals of one day come together
        assert abs(mean - other) < 4 * burst * np.hypot(error, other_error), name


def test_sizes_run_times_and_types() -> None:
    jobs = lublin_jobs(seed=1, jobs=40_000, processors=128)
    assert (jobs.processors == 1).mean() == pytest.approx(ALL.serial, abs=4 * np.sqrt(0.25 / 40_000))
    assert jobs.processors.max() == 128
    assert jobs.run_s.max() <= np.exp(12.0)
    assert (np.diff(jobs.submit_s) >= 0).all()
    typed = lublin_jobs(seed=1, jobs=40_000, processors=128, kinds="typed")
    assert len(typed) == 40_000
    batch, interactive = typed.subset(typed.queue == 0), typed.subset(typed.queue == 1)
    assert (batch.processors == 1).mean() == pytest.approx(BATCH.serial, abs=0.01)
    assert (interactive.processors == 1).mean() == pytest.approx(INTERACTIVE.serial, abs=0.02)
    assert interactive.processors.max() <= 46
    assert np.median(batch.run_s) > 5 * np.median(interactive.run_s)
    assert typed.label("queue", 1) == "interactive"


def test_the_day_has_its_shape_and_the_seed_its_jobs() -> None:
    weights = day_weights(ALL.day_shape, ALL.day_scale)
    assert weights.sum() == pytest.approx(48)
    assert weights[10:14].mean() < 0.6 < 1.4 < weights[26:32].mean()
    one, two = (lublin_jobs(seed=3, jobs=1000, processors=64) for _ in range(2))
    assert one.submit_s.tolist() == two.submit_s.tolist()
    assert lublin_jobs(seed=4, jobs=1000, processors=64).run_s.tolist() != one.run_s.tolist()
    early = lublin_jobs(seed=3, jobs=2000, processors=64, start_hour=12.0)
    hours = (early.submit_s / 3600 + 12.0) % 24
    assert ((hours >= 8) & (hours < 20)).mean() > 0.6
    for bad in ({"jobs": 0}, {"processors": 4}, {"start_hour": 24.0}, {"kinds": "odd"}):
        with pytest.raises(InputError):
            lublin_jobs(**({"seed": 1, "jobs": 10, "processors": 64} | bad))  # type: ignore[arg-type]


def test_bursts_have_the_dispersion_of_theory() -> None:
    rates, dwell = [0.02, 0.2], [4000.0, 1000.0]
    times = mmpp_times(seed=2, duration_s=2e7, rates_per_s=rates, dwell_s=dwell)
    mean = (0.02 * 4000 + 0.2 * 1000) / 5000
    assert len(times) == pytest.approx(mean * 2e7, rel=0.05)
    window = 2e5
    counts = np.bincount((times // window).astype(int), minlength=100)[:100]
    dispersion = counts.var(ddof=1) / counts.mean()
    theory = mmpp_dispersion(rates, dwell)
    assert theory > 50
    assert 0.6 * theory < dispersion < 1.5 * theory  # 100 windows: a standard deviation of 14 %
    even = mmpp_times(seed=2, duration_s=1e6, rates_per_s=[0.1], dwell_s=[100.0])
    counts = np.bincount((even // 1000).astype(int), minlength=1000)
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.2)
    cycle = np.tile(np.where((np.arange(24) >= 8) & (np.arange(24) < 20), 1.8, 0.2), 7)
    daily = mmpp_times(seed=3, duration_s=28 * DAY_S, rates_per_s=[0.01], dwell_s=[1e4], weights=cycle)
    hour = (daily / 3600) % 24
    assert ((hour >= 8) & (hour < 20)).mean() == pytest.approx(0.9, abs=0.01)
    with pytest.raises(InputError):
        mmpp_times(seed=1, duration_s=10.0, rates_per_s=[1.0, -1.0], dwell_s=[1.0, 1.0])


def test_a_fitted_log_gives_jobs_like_its_own() -> None:
    log = lublin_jobs(seed=9, jobs=6000, processors=128)
    model = fit_log(log)
    like = model.draw(seed=1, jobs=6000)
    mine, theirs = figures(like), figures(log)
    for name in ("serial", "log2 size", "ln run", "ln run of the wide"):
        assert abs(mine[name][0] - theirs[name][0]) < 4 * np.hypot(mine[name][1], theirs[name][1]), name
    assert mine["by day"][0] == pytest.approx(theirs["by day"][0], abs=0.06)
    assert float(like.submit_s[-1]) == pytest.approx(float(log.submit_s[-1]), rel=0.25)
    assert float(model.draw(seed=1, jobs=6000, rate_frac=2.0).submit_s[-1]) < 0.65 * float(like.submit_s[-1])
    assert (like.estimate_s >= like.run_s).all()
    with pytest.raises(InputError):
        fit_log(log.subset(np.arange(50)))


def test_a_load_is_met_and_shaking_is_small() -> None:
    log = lublin_jobs(seed=9, jobs=3000, processors=128)
    for load in (0.3, 0.9):
        assert offered_load(with_load(log, load, 128), 128) == pytest.approx(load)
    moved = shaken(log, seed=1, shift_s=30.0, stretch_frac=0.1)
    assert sorted(moved.job_id.tolist()) == sorted(log.job_id.tolist())
    back = moved.subset(np.argsort(moved.job_id))
    assert np.abs(back.submit_s - log.submit_s).max() <= 30.0
    ratio = back.run_s / log.run_s
    assert ratio.min() >= 1 / 1.1 - 1e-9
    assert ratio.max() <= 1.1 + 1e-9
    assert shaken(log, seed=1, shift_s=0.0).submit_s.tolist() == log.submit_s.tolist()
    with pytest.raises(InputError):
        with_load(log, 0.0, 128)
    with pytest.raises(InputError):
        shaken(log, seed=1, shift_s=-1.0)


def test_a_model_fills_a_duration_with_a_load() -> None:
    week = 7 * DAY_S
    jobs = lublin_load(seed=2, processors=64, duration_s=week, load=0.8)
    largest = float((jobs.run_s * jobs.processors).max())
    assert abs(float((jobs.run_s * jobs.processors).sum()) - 0.8 * 64 * week) <= largest
    assert float(jobs.submit_s.max()) <= week * 1.001
    assert len(lublin_load(seed=2, processors=64, duration_s=week, jobs=500)) == 500
    with pytest.raises(InputError):
        lublin_load(seed=2, processors=64, duration_s=week, load=0.0)
