"""Ranges of values: both ends are there, neighbours are alike, the unit stays."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.scenario.ranges import is_range, parse_range
from hpcsim.scenario.uncertain import parse_distribution

WRITTEN = {
    "24..96:24": (24, 48, 72, 96),
    "1..10:4": (1, 5, 9),
    "0.1..0.5:0.1": (0.1, 0.2, 0.3, 0.4, 0.5),
    "lin:0..1.0:5": (0.0, 0.25, 0.5, 0.75, 1.0),
    "log:1..1000:4": (1, 10, 100, 1000),
    "log:1..4:9": (1, 2, 3, 4),
    "log:1..100 GB/s:3": ("1 GB/s", "10 GB/s", "100 GB/s"),
    "100 Gbit/s..400 Gbit/s:100 Gbit/s": ("100 Gbit/s", "200 Gbit/s", "300 Gbit/s", "400 Gbit/s"),
    "1..2 h:0.5": ("1 h", "1.5 h", "2 h"),
    "10..30 %:10 %": ("10 %", "20 %", "30 %"),
}


@pytest.mark.parametrize("text", WRITTEN)
def test_values_of_a_range(text: str) -> None:
    assert is_range(text)
    assert parse_range(text).values() == WRITTEN[text]


@pytest.mark.parametrize(
    "text", ["1..", "..2", "5..1", "1..1", "log:0..3:2", "1 GB..2 MB:3", "1..9:0", "1..9:-1", "1..9:x", "lin:1..2:1", "1..1e9:1"]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_range(text)
    assert [p.code for p in caught.value.problems] == ["bad-range"]


@pytest.mark.parametrize("text", ["../x.swf", "auto", "tp=8,pp=4", "1.8 USD/h", "2024-01-01", "", 5, None, "a..b"])
def test_other_values_are_not_taken_for_ranges(text: object) -> None:
    assert not is_range(text)


@given(st.integers(-10_000, 10_000), st.integers(1, 500), st.integers(1, 50))
def test_steps_are_equal_and_stay_inside(low: int, steps: int, step: int) -> None:
    high = low + steps * step
    values = parse_range(f"{low}..{high}:{step}").values()
    assert values == tuple(range(low, high + 1, step))


@given(st.floats(0.001, 1e6), st.floats(1.01, 1e4), st.integers(2, 40))
def test_ratios_are_equal_and_the_ends_are_there(low: float, ratio: float, count: int) -> None:
    high = low * ratio
    values = parse_range(f"log:{low!r}..{high!r}:{count}").values()
    assert values[0] == pytest.approx(low)
    assert values[-1] == pytest.approx(high)
    factors = [b / a for a, b in itertools.pairwise(values)]
    assert factors == pytest.approx([ratio ** (1 / (count - 1))] * len(factors), rel=1e-6)


SPREADS = st.sampled_from(
    [
        "1.0..3.0",
        "1..9",
        "log:1..100",
        {"low": 1.0, "mode": 2.5, "high": 4.0},
        {"normal": 10.0, "sd": 2.0, "low": 5.0, "high": 14.0},
        {"normal": "10 MW", "sd": "1 MW"},
        {"lognormal": "6000 h", "factor": 2},
    ]
)


def number(value: object) -> float:
    return float(str(value).split(" ")[0])


@given(SPREADS, st.floats(0, 1), st.floats(0, 1))
def test_quantiles_rise(spread: object, a: float, b: float) -> None:
    found = parse_distribution(spread)
    low, high = sorted((a, b))
    assert number(found.at(low)) <= number(found.at(high))


def test_quantiles_are_those_of_the_distribution() -> None:
    """Against scipy, over the whole range of shares."""
    stats = pytest.importorskip("scipy.stats")
    for spread, law in (
        ({"low": 1.0, "mode": 2.0, "high": 5.0}, stats.triang(0.25, 1, 4)),
        ({"normal": 10.0, "sd": 2.0}, stats.norm(10, 2)),
        ({"normal": 10.0, "sd": 2.0, "low": 9.0, "high": 14.0}, stats.truncnorm(-0.5, 2.0, 10, 2)),
        ({"lognormal": 6.0, "factor": 2}, stats.lognorm(0.6931471805599453 / 1.2815515655446004, 0, 6)),
    ):
        for u in (0.01, 0.1, 0.25, 0.5, 0.9, 0.99):
            assert number(parse_distribution(spread).at(u)) == pytest.approx(law.ppf(u), rel=1e-9), spread
    whole = [parse_distribution("1..4").at((k + 0.5) / 400) for k in range(400)]
    assert [whole.count(v) for v in (1, 2, 3, 4)] == [100] * 4
    weighted = parse_distribution({"values": ["a", "b"], "weights": [1, 3]})
    assert [weighted.at((k + 0.5) / 100) for k in range(100)].count("b") == 75
