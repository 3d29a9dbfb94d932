"""The unit table and its readers, against definitions (SI brochure, IEC 80000-13) and hostile input."""

from __future__ import annotations

import math
import time
from decimal import Decimal

import numpy as np
import pytest

from hpcsim.base import units
from hpcsim.base.errors import InputError
from hpcsim.base.units import DIMENSIONS, exact_text, parse_count, parse_fraction, parse_quantity, readable


def code(function, *arguments) -> str:
    with pytest.raises(InputError) as caught:
        function(*arguments)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0].code


DEFINED = [
    # text, dimension, SI value from the definition of the unit
    ("1 bit", "data size", 1 / 8),
    ("8 b", "data size", 1),
    ("1 kB", "data size", 10**3),
    ("1 KB", "data size", 10**3),
    ("1 KiB", "data size", 2**10),
    ("80 GB", "data size", 80 * 10**9),
    ("80 GiB", "data size", 80 * 2**30),
    ("1 EiB", "data size", 2**60),
    ("1 ZB", "data size", 10**21),
    ("3 Mb", "data size", 3 * 10**6 / 8),
    ("400 Gbit/s", "data rate", 50 * 10**9),
    ("400 Gb/s", "data rate", 50 * 10**9),
    ("400 Gbps", "data rate", 50 * 10**9),
    ("400 GB/s", "data rate", 400 * 10**9),
    ("400 GBps", "data rate", 400 * 10**9),
    ("1 GiB/s", "data rate", 2**30),
    ("3600 MB/h", "data rate", 10**6),
    ("250 ns", "time", 250 / 10**9),
    ("1.5 µs", "time", 1.5 / 10**6),
    ("1.5 μs", "time", 1.5 / 10**6),
    ("1.5 us", "time", 1.5 / 10**6),
    ("2 ms", "time", 2 / 10**3),
    ("2 min", "time", 120),
    ("3 h", "time", 3 * 3600),
    ("2 weeks", "time", 14 * 86400),
    ("400 years", "time", 146_097 * 86_400),  # the Gregorian cycle
    ("12 months", "time", 31_556_952),
    ("1.4 GHz", "frequency", 1.4 * 10**9),
    ("1 PFLOP", "work", 10**15),
    ("312 TFLOP/s", "compute rate", 312 * 10**12),
    ("312 TFLOPS", "compute rate", 312 * 10**12),
    ("312 TFLOPs/s", "compute rate", 312 * 10**12),
    ("700 W", "power", 700),
    ("250 mW", "power", 0.25),
    ("2 kWh/h", "power", 2000),
    ("25 MWh", "energy", 25 * 3.6e9),
    ("1 J", "energy", 1),
    ("300 kUSD", "money", 300_000),
    ("300 k$", "money", 300_000),
    ("3.6 USD/h", "price per time", 0.001),
    ("0.36 USD/kWh", "price of energy", 1e-7),
    ("0.09 USD/GB", "price of data", 9e-11),
    ("2629.746 USD/GB/month", "price of storage", 2629.746 / 1e9 / 2_629_746),
    ("24.7 t", "carbon mass", 24_700),
    ("24.7 tCO2e", "carbon mass", 24_700),
    ("150 gCO2", "carbon mass", 0.15),
    ("36 g/kWh", "carbon intensity", 1e-8),
    ("0.036 kg/kWh", "carbon intensity", 1e-8),
    ("1.8 L/kWh", "water intensity", 1.8 / 3.6e6),
    ("80 km", "length", 80_000),
]


@pytest.mark.parametrize(("text", "dimension", "value"), DEFINED, ids=[row[0] for row in DEFINED])
def test_defined_values(text: str, dimension: str, value: float) -> None:
    assert parse_quantity(text, dimension) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_every_example_and_si_unit_is_read(dimension: str) -> None:
    declared = DIMENSIONS[dimension]
    assert parse_quantity(declared.example, dimension) > 0
    assert parse_quantity(f"1 {declared.si}", dimension) == 1.0


@pytest.mark.parametrize("unit", sorted(units._UNITS))
def test_every_unit_is_read_in_its_own_dimension_and_refused_in_others(unit: str) -> None:
    factor, exponents = units._UNITS[unit]
    own = [d.name for d in DIMENSIONS.values() if d.exponents == exponents]
    for name in own:
        assert parse_quantity(f"3 {unit}", name) == float(3 * factor)
        assert parse_quantity(f"3{unit}", name) == float(3 * factor)
    others = [d.name for d in DIMENSIONS.values() if d.name not in own]
    assert {code(parse_quantity, f"3 {unit}", name) for name in others} == {"wrong-dimension"}
    if not own:  # a litre, and the number one, are units only inside others
        text, name = ("3 1/s", "frequency") if unit == "1" else (f"3 {unit}/J", "water intensity")
        assert parse_quantity(text, name) == float(3 * factor)


def test_no_unit_has_two_meanings() -> None:
    spelled = [prefix + name for row in units._ROWS for name in row.names.split() for prefix in row.prefixes]
    meanings: dict[str, set[object]] = {}
    for row in units._ROWS:
        for name in row.names.split():
            for prefix, scale in row.prefixes.items():
                meanings.setdefault(prefix + name, set()).add((scale * row.factor, row.exponents))
    assert [name for name, found in meanings.items() if len(found) > 1] == []
    assert len(spelled) == len(meanings)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:30", 30),
        ("90:00", 5400),
        ("12:34:56", 12 * 3600 + 34 * 60 + 56),
        ("1-0", 86_400),
        ("2-03", 2 * 86_400 + 3 * 3600),
        ("2-03:04", 2 * 86_400 + 3 * 3600 + 4 * 60),
        ("2-03:04:05", 2 * 86_400 + 3 * 3600 + 4 * 60 + 5),
        (" 1-12:00:00 ", 129_600),
    ],
)
def test_slurm_times(text: str, seconds: float) -> None:
    assert parse_quantity(text, "time") == seconds


@pytest.mark.parametrize("text", ["1-", "-1:00", "1:00:00.5", "1:2:3:4", "1-2-3", "1:", ":1", "٣:00", "1 : 30"])
def test_half_a_slurm_time_is_refused(text: str) -> None:
    assert code(parse_quantity, text, "time") in {"unknown-unit", "not-a-quantity"}


def test_slurm_time_is_a_time_only() -> None:
    assert code(parse_quantity, "1-12:00:00", "data size") == "unknown-unit"


HOSTILE = [
    ("", "not-a-quantity"),
    ("   ", "not-a-quantity"),
    ("GB", "not-a-quantity"),
    ("5", "unitless-quantity"),
    ("5e3", "unitless-quantity"),
    (5, "unitless-quantity"),
    (5.0, "unitless-quantity"),
    (10**400, "unitless-quantity"),
    (np.int64(5), "unitless-quantity"),
    (np.float32(5), "unitless-quantity"),
    (math.nan, "not-finite"),
    (math.inf, "not-finite"),
    (-math.inf, "not-finite"),
    ("nan", "not-finite"),
    ("NaN", "not-finite"),
    ("-inf", "not-finite"),
    ("nan GB", "not-a-quantity"),
    ("inf GB", "not-a-quantity"),
    ("1e400 GB", "not-finite"),
    ("1e308 GB", "not-finite"),
    ("1e-400 B", "not-finite"),
    ("1e99999999999999999999 B", "not-finite"),
    ("9" * 401 + " B", "not-finite"),
    ("9" * 5000 + " B", "not-a-quantity"),
    ("1 " + "x" * 100_000, "not-a-quantity"),
    ("1 " + "/".join(["s"] * 100), "wrong-dimension"),
    ("1" + " " * 200_000 + "B B", "not-a-quantity"),
    (True, "not-a-quantity"),
    (False, "not-a-quantity"),
    (None, "not-a-quantity"),
    ([], "not-a-quantity"),
    (["1 GB"], "not-a-quantity"),
    ({}, "not-a-quantity"),
    (b"1 GB", "not-a-quantity"),
    (1j, "not-a-quantity"),
    (Decimal(3), "not-a-quantity"),
    (object(), "not-a-quantity"),
    ("١٢ GB", "not-a-quantity"),
    ("１２ GB", "not-a-quantity"),
    ("² GB", "not-a-quantity"),
    ("_1 GB", "not-a-quantity"),
    ("1__2 GB", "unknown-unit"),
    ("1_ GB", "unknown-unit"),
    ("1_.5 GB", "unknown-unit"),
    ("+-1 GB", "not-a-quantity"),
    ("1,5 GB", "unknown-unit"),
    ("1 000 GB", "unknown-unit"),
    ("0x10 GB", "unknown-unit"),
    ("1/2 GB", "unknown-unit"),
    ("1 GB/", "unknown-unit"),
    ("1 /GB", "unknown-unit"),
    ("1 GB\0", "unknown-unit"),
    ("1 gB", "unknown-unit"),
    ("1 gb", "unknown-unit"),
    ("1 mB", "unknown-unit"),
    ("1 mB/s", "unknown-unit"),
    ("1 GB/S", "unknown-unit"),
    ("1 M", "unknown-unit"),
    ("1 km", "wrong-dimension"),
    ("1 GB/s", "wrong-dimension"),
    ("1 1", "wrong-dimension"),
]


@pytest.mark.parametrize(("value", "expected"), HOSTILE, ids=[repr(row[0])[:24].partition(" at 0x")[0] for row in HOSTILE])
def test_hostile_quantities(value: object, expected: str) -> None:
    assert code(parse_quantity, value, "data size") == expected


@pytest.mark.parametrize("text", ["9" * 400 + ":00:00", "9" * 500 + "-0", "1-" + "9" * 400 + ":00"])
def test_a_slurm_time_beyond_every_float_is_refused(text: str) -> None:
    assert code(parse_quantity, text, "time") == "not-finite"


@pytest.mark.parametrize("text", ["1" * 100_000 + "x", "1" + " " * 100_000 + "x", "1 B" + " " * 100_000 + "x", "1 " + "/" * 100_000])
def test_long_text_is_refused_at_once(text: str) -> None:
    begin = time.process_time()
    for function in (lambda: parse_quantity(text, "data size"), lambda: parse_count(text), lambda: parse_fraction(text)):
        with pytest.raises(InputError) as caught:
            function()
        assert len(str(caught.value)) < 500
    assert time.process_time() - begin < 0.5


@pytest.mark.parametrize(
    ("text", "meant"),
    [("1 gb", "GB"), ("5 mb", "MB"), ("1 GIB", "GiB"), ("2 usd", "USD"), ("3 hous", "hours"), ("3 secnds", "seconds"), ("1 kwh", "kWh")],
)
def test_did_you_mean(text: str, meant: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_quantity(text, "data size")
    assert f"'{meant}'" in caught.value.problems[0].hint


def test_a_wrong_dimension_is_named() -> None:
    with pytest.raises(InputError) as caught:
        parse_quantity("80 GB", "data rate")
    assert str(caught.value) == "'80 GB' is a data size, but a data rate is needed (for example '400 Gbit/s') [wrong-dimension]"


@pytest.mark.parametrize(
    "text", ["1_000 B", "1000B", " 1000 B ", "1e3 B", "1E+3 B", "+1000 B", "1000. B", ".1e4 B", "1000\u00a0B", "1\u202fkB"]
)
def test_spellings_of_a_number(text: str) -> None:
    assert parse_quantity(text, "data size") == 1000.0


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (5, 5),
        (5.0, 5),
        (366e9, 366 * 10**9),
        ("366 G", 366 * 10**9),
        ("366e9", 366 * 10**9),
        ("7B", 7 * 10**9),
        ("1.5k", 1500),
        ("1000e-3", 1),
        ("-3", -3),
        ("1_000", 1000),
        (np.int64(7), 7),
        (np.float64(7), 7),
        (np.uint8(7), 7),
        ("2 T", 2 * 10**12),
    ],
)
def test_counts(value: object, count: int) -> None:
    found = parse_count(value)
    assert found == count
    assert type(found) is int


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        np.bool_(True),
        "",
        " ",
        "1.5",
        "1e-3",
        "x",
        "5 GB",
        "5 B B",
        "5 %",
        "1/3",
        "١٢",
        "1__0",
        "1_",
        [],
        {},
        b"5",
        1.5,
        "1e401",
        "9" * 401,
        "9" * 5000,
        math.nan,
        math.inf,
        np.float64("nan"),
        object(),
    ],
    ids=lambda v: repr(v)[:20].partition(" at 0x")[0],
)
def test_hostile_counts(value: object) -> None:
    assert code(parse_count, value) in {"not-a-count", "not-finite"}


@pytest.mark.parametrize(
    ("value", "share"),
    [
        (0.5, 0.5),
        (0, 0.0),
        (1, 1.0),
        ("85 %", 0.85),
        ("85%", 0.85),
        ("0.85", 0.85),
        ("1e-3 %", 1e-5),
        (np.float32(0.5), 0.5),
        ("100 %", 1.0),
    ],
)
def test_shares(value: object, share: float) -> None:
    assert parse_fraction(value) == share


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "",
        "x",
        "101 %",
        1.0000001,
        -1e-9,
        "-1 %",
        math.nan,
        math.inf,
        "nan",
        10**400,
        10**5000,
        "1e400",
        [],
        "1/2",
        "١ %",
        "0.5 GB",
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, int) and abs(v) > 10**9 else repr(v)[:20].partition(" at 0x")[0],
)
def test_hostile_shares(value: object) -> None:
    assert code(parse_fraction, value) in {"not-a-fraction", "not-finite"}


@pytest.mark.parametrize("kind", [float, np.float64, np.float32, int])
def test_exact_text_of_every_kind_of_number(kind: type) -> None:
    assert parse_quantity(exact_text(kind(5), "time"), "time") == 5.0


@pytest.mark.parametrize(
    ("value", "dimension", "text"),
    [
        (0.0, "time", "0 s"),
        (90.0, "time", "90 s"),
        (7200.0, "time", "2 h"),
        (117 * 86400.0, "time", "117 days"),
        (2.5e-6, "time", "2.5 µs"),
        (80e9, "data size", "80 GB"),
        (-80e9, "data size", "-80 GB"),
        (3.6e9 * 433, "energy", "433 MWh"),
        (1.58333e-8, "carbon intensity", "57 g/kWh"),
        (12.3456, "money", "12.35 USD"),
        (1234567.0, "money", "1,234,567 USD"),
        (0.0005, "price per time", "1.8 USD/h"),
        (math.nan, "time", "–"),
        (math.inf, "power", "–"),
    ],
)
def test_readable(value: float, dimension: str, text: str) -> None:
    assert readable(value, dimension) == text


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("exponent", range(-30, 31, 3))
def test_readable_never_shows_something_as_nothing(dimension: str, exponent: int) -> None:
    text = readable(1.5 * 10.0**exponent, dimension)
    if dimension != "money":  # money is shown to the cent
        assert float(text.split()[0].replace(",", "")) > 0
