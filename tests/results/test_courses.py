"""How a figure goes over an axis, in words: no turn is hidden behind the ends."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hpcsim.results.courses import course, is_plural, names_of

PLACES = ["10 min", "1 h", "2 h", "8 h"]


def _said(values: list[float], **more: bool) -> str:
    return course(values, [f"{value:.3g} d" for value in values], PLACES[: len(values)], **more)


def test_a_turn_inside_is_said() -> None:
    assert _said([303.0, 300.0, 302.0, 311.0], way=True) == "is least at 1 h, 300 d; 303 d at 10 min, 311 d at 8 h"
    assert _said([1.0, 3.0, 2.0]) == "is most at 1 h, 3 d; 1 d at 10 min, 2 d at 2 h"
    assert _said([2.0, 3.0, 1.0, 2.0], plural=True) == "are least at 2 h, 1 d and most at 1 h, 3 d; 2 d at 10 min, 2 d at 8 h"


def test_what_reads_alike_hardly_changes() -> None:
    assert _said([303.1, 302.9, 303.2]) == "hardly changes: 303 d at 10 min, 303 d at 2 h"
    assert _said([303.1, 302.9, 303.2], plural=True).startswith("hardly change:")
    assert _said([300.0, 299.9, 310.0], way=True) == "grows from 300 d at 10 min to 310 d at 2 h"


@given(st.lists(st.integers(1, 9), min_size=2, max_size=4))
def test_the_least_and_the_most_are_always_said(values: list[int]) -> None:
    text = _said([float(value) for value in values])
    assert all(f"{value} d" in text for value in (min(values), max(values), values[0], values[-1]))


def test_names_and_their_number() -> None:
    assert names_of(["workload.training.llama.checkpoint.every"]) == ["checkpoint every"]
    assert names_of(["a.x.count", "b.x.count"]) == ["a x count", "b x count"]
    assert names_of(["seed"]) == ["seed"]
    assert [is_plural(text) for text in ("replicas", "cost per accelerator-hour", "time in which jobs wait", "loss of capacity")] == [
        True, False, False, False,
    ]  # fmt: skip
