"""I36: reading, writing and converting quantities loses nothing."""

from __future__ import annotations

import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from hpcsim.base import units
from hpcsim.base.errors import InputError
from hpcsim.base.units import DIMENSIONS, exact_text, parse_count, parse_fraction, parse_quantity

finite = st.floats(allow_nan=False, allow_infinity=False)
dimensions = st.sampled_from(sorted(DIMENSIONS))
amounts = st.decimals(min_value="1e-9", max_value="1e9", allow_nan=False, places=6).filter(lambda d: d > 0)


@given(finite, dimensions)
def test_text_and_back_is_the_same_float(value: float, dimension: str) -> None:
    assert parse_quantity(exact_text(value, dimension), dimension) == value


@given(amounts)
def test_bits_and_bytes(amount: object) -> None:
    for bits, octets in (("Gbit", "GB"), ("Kibit", "KiB"), ("b", "B"), ("Tb", "TB")):
        assert parse_quantity(f"{amount} {bits}", "data size") == float(Fraction(str(amount)) * Fraction(1, 8) * units._UNITS[octets][0])
        assert parse_quantity(f"{amount} {bits}/s", "data rate") == parse_quantity(f"{amount} {bits}", "data size")


@given(st.integers(1, 2**40))
def test_gib_and_gb(n: int) -> None:
    assert parse_quantity(f"{n} GiB", "data size") == float(n * 2**30)
    assert parse_quantity(f"{n * 2**30} B", "data size") == parse_quantity(f"{n} GiB", "data size")
    assert parse_quantity(f"{n}e9 B", "data size") == parse_quantity(f"{n} GB", "data size")


@given(amounts, st.sampled_from(["B", "b", "Bps", "W", "J", "Wh", "Hz", "FLOP", "FLOPS"]))
def test_a_prefix_is_its_power_of_ten(amount: object, unit: str) -> None:
    dimension = next(d.name for d in DIMENSIONS.values() if d.exponents == units._UNITS[unit][1])
    for prefix, power in (("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)):
        name = prefix + unit if prefix + unit in units._UNITS else prefix.upper() + unit
        assert parse_quantity(f"{amount} {name}", dimension) == parse_quantity(f"{amount}e{power} {unit}", dimension)


@given(amounts, st.sampled_from([("min", 60), ("h", 3600), ("d", 86400), ("w", 604800)]))
def test_a_time_in_seconds(amount: object, unit: tuple[str, int]) -> None:
    assert parse_quantity(f"{amount} {unit[0]}", "time") == float(Fraction(str(amount)) * unit[1])


@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_slurm_times_add_up(d: int, h: int, m: int, s: int) -> None:
    total = ((d * 24 + h) * 60 + m) * 60 + s
    assert parse_quantity(f"{d}-{h:02}:{m:02}:{s:02}", "time") == total
    assert parse_quantity(f"{d * 24 + h}:{m:02}:{s:02}", "time") == total
    assert parse_quantity(f"{(d * 24 + h) * 60 + m}:{s:02}", "time") == total
    assert parse_quantity(f"{d}-{h}", "time") == (d * 24 + h) * 3600


@given(st.integers(-(10**18), 10**18))
def test_counts_are_exact(n: int) -> None:
    assert parse_count(n) == parse_count(str(n)) == parse_count(f"{n}e0") == n
    assert parse_count(f"{n} k") == n * 1000


@given(st.integers(0, 100))
def test_percent(n: int) -> None:
    assert parse_fraction(f"{n} %") == float(Fraction(n, 100))


@given(
    st.one_of(
        st.text(), st.text("0123456789.eE+-_ GBkMi/s%:", max_size=30), st.floats(), st.integers(), st.none(), st.booleans(), st.binary()
    )
)
def test_nothing_but_an_input_error(value: object) -> None:
    for function in (parse_count, parse_fraction, *(lambda v, d=d: parse_quantity(v, d) for d in DIMENSIONS)):
        try:
            result = function(value)
        except InputError as error:
            problems, shown = error.problems, str(error)
        else:
            problems, shown = [], ""
            assert math.isfinite(result)
        assert len(problems) <= 1
        assert "\n" not in shown
