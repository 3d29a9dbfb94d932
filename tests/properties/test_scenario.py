"""Scenarios drawn from their declarations come back whole; anything else that is read is refused politely."""

from __future__ import annotations

import copy
import json
import pickle
import random
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.scenario.load import Scenario, load, loads, parse_setting
from hpcsim.testing.strategies import scenario_data, texts

slow = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
TEXT = (Path(__file__).parents[1] / "scenario" / "contract.yaml").read_text(encoding="utf-8")
BASE = loads(TEXT + "notes: [one, two]\npublished: {wall_clock_s: {value: 117 days, source: a paper}}\n")


def polite(function: Any, *arguments: Any) -> Scenario | None:
    """Return the scenario, or None where it was refused with problems that can be shown."""
    try:
        result = function(*arguments)
    except InputError as error:
        problems = error.problems
    else:
        assert isinstance(result, Scenario)
        return result
    assert problems
    for problem in problems:
        assert problem.message
        assert str(problem).isprintable()
        assert problem.line >= 0
    return None


@slow
@given(scenario_data())
def test_round_trips(data: dict[str, Any]) -> None:
    before = copy.deepcopy(data)
    s = load(data)
    assert data == before
    for again in (load(s.data()), load(s.data(defaults=True)), loads(s.to_yaml()), pickle.loads(pickle.dumps(s)), s.vary({}), load(s)):
        assert again == s
        assert again.digest() == s.digest()
        assert hash(again) == hash(s)
    assert json.loads(json.dumps(s.data(), allow_nan=False)) == s.data()


@slow
@given(scenario_data(), st.randoms(use_true_random=False))
def test_the_order_of_keys_means_nothing(data: dict[str, Any], shuffle: random.Random) -> None:
    def mixed(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            keys = list(value)
            if key != "stages":  # a pipeline's stages follow each other as they are written
                shuffle.shuffle(keys)
            return {key: mixed(value[key], key) for key in keys}
        return [mixed(item) for item in value] if isinstance(value, list) else value

    assert load(mixed(data)).digest() == load(data).digest()


@slow
@given(scenario_data())
def test_every_place_of_a_scenario_is_reached_by_its_path(data: dict[str, Any]) -> None:
    s = load(data)
    for name in s.cluster.nodes:
        varied = s.vary({f"cluster.nodes.{name}.count": 17})
        assert varied.cluster.nodes[name].count == 17
        assert varied.vary({f"cluster.nodes.{name}.count": s.cluster.nodes[name].count}) == s


@given(st.text())
def test_any_text(text: str) -> None:
    polite(loads, text)


@given(st.text("{}[]:,-?&*!|>'\"%@`#\n \tabc019.~", max_size=60))
def test_any_yaml_like_text(text: str) -> None:
    polite(loads, text)
    polite(loads, TEXT + text)


@given(st.binary(max_size=80))
def test_any_bytes(tmp_path_factory: Any, data: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(data)
    polite(load, file)


@given(st.integers(0, len(TEXT)), st.integers(0, 12), st.text(max_size=4))
def test_a_scenario_with_a_damaged_spot(at: int, cut: int, put: str) -> None:
    polite(loads, TEXT[:at] + put + TEXT[at + cut :])


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.text(st.characters(), max_size=3),
    st.sampled_from(["\udcff", "1 GB", "1 s", "-1 W", "0 s", "auto", "tp=2", "1e999 s", "5 %", "{}", "nan"]),
    st.binary(max_size=3),
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, item in value.items():
            found += places(item, (*path, key))
    if isinstance(value, list):
        for i, item in enumerate(value):
            found += places(item, (*path, i))
    return found


PLACES = places(BASE.data())[1:]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(PLACES), anything), min_size=1, max_size=3))
def test_a_scenario_with_other_values(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    data: Any = BASE.data()
    for path, value in changes:
        here = data
        for part in path[:-1]:
            here = (
                here[part]
                if (isinstance(here, dict) and part in here) or (isinstance(here, list) and isinstance(part, int) and part < len(here))
                else None
            )
            if not isinstance(here, (dict, list)):
                break
        else:
            if isinstance(here, dict) or (isinstance(here, list) and isinstance(path[-1], int) and path[-1] < len(here)):
                here[path[-1]] = value
    s = polite(load, data)
    if s is not None:
        assert load(s.data()) == s


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.one_of(
            st.sampled_from([".".join(map(str, p)) for p in PLACES]),
            st.builds(
                "{}.{}".format, st.sampled_from([".".join(map(str, p)) for p in PLACES]), st.sampled_from(["0", "x", "x.y", "²", "-1"])
            ),
            st.text("abcluster.0\ud800", max_size=12),
        ),
        anything,
        max_size=3,
    )
)
def test_any_variation(changes: dict[str, Any]) -> None:
    before = BASE.digest()
    s = polite(BASE.vary, changes)
    assert BASE.digest() == before
    if s is not None:
        assert loads(s.to_yaml()) == s


@given(st.one_of(st.text(), st.builds("{}={}".format, texts(), st.text())))
def test_any_setting(text: str) -> None:
    try:
        key, value = parse_setting(text)
    except InputError as error:
        assert {p.code for p in error.problems} == {"bad-setting"}  # noqa: PT017
    else:
        assert key == text.partition("=")[0].strip()
        polite(BASE.vary, {key: value})
