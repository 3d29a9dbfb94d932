"""What-if: variation by dotted path, ``--set``, and scenarios that nothing changes in place."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hpcsim.base.errors import InputError, Problem
from hpcsim.scenario.fields import FrozenMap, frozen, plain
from hpcsim.scenario.load import Scenario, load, loads, parse_setting

TEXT = """\
schema: 1
name: base
question: What if?
notes: [one, two]
cluster:
  nodes:
    gpu: {count: 4, accelerator: h100-sxm, per_node: 8}
    cpu: {count: 2, cores: 64}
  fabric: {link: ndr, topology: fat-tree, down: [16, 2], up: [1, 8]}
  site: {pue: 1.2, carbon: 57 g/kWh}
  prices: {gpu: 1.8 USD/h}
workload:
  training:
    run: {model: llama3-8b, tokens: 1 G, global_batch: 8, layout: {tp: 8}}
  jobs: {trace: {file: a.swf}}
sweep: {cluster.nodes.gpu.count: [1, 2], workload.training.run.layout: [auto, {tp: 8, pp: 2}]}
"""


@pytest.fixture
def base() -> Scenario:
    return loads(TEXT, "base.yaml")


def problems(function: Callable[[], object]) -> list[Problem]:
    with pytest.raises(InputError) as caught:
        function()
    return caught.value.problems


GOOD: dict[str, tuple[dict[str, Any], Callable[[Scenario], Any], Any]] = {
    "a count": ({"cluster.nodes.gpu.count": 512}, lambda s: s.cluster.nodes["gpu"].count, 512),
    "a count as text": ({"cluster.nodes.gpu.count": "2 k"}, lambda s: s.cluster.nodes["gpu"].count, 2000),
    "a count of numpy": ({"cluster.nodes.gpu.count": np.int64(512)}, lambda s: s.cluster.nodes["gpu"].count, 512),
    "a count from an array": ({"cluster.nodes.gpu.count": np.arange(5)[3]}, lambda s: s.cluster.nodes["gpu"].count, 3),
    "a share of numpy": ({"cluster.site.pue": np.float32(1.5)}, lambda s: s.cluster.site.pue, 1.5),
    "truth of numpy": ({"workload.training.run.layout.overlap": np.bool_(True)}, lambda s: s.workload.training["run"].layout.overlap, True),
    "a quantity": ({"cluster.site.carbon": "36 g/kWh"}, lambda s: s.cluster.site.carbon, 1e-8),
    "a name": ({"name": "other"}, lambda s: s.name, "other"),
    "a whole map": ({"cluster.site": {"pue": 1.1}}, lambda s: (s.cluster.site.pue, s.cluster.site.carbon), (1.1, None)),
    "a new node group": ({"cluster.nodes.more": {"count": 3}}, lambda s: sorted(s.cluster.nodes), ["cpu", "gpu", "more"]),
    "a new part, key by key": (
        {"failures.node.mtbf": "10 h", "failures.node.repair": "1 h"},
        lambda s: (s.failures.node.mtbf, s.failures.node.repair),
        (36_000, 3600),
    ),
    "a new part in a part": ({"cluster.nodes.cpu.accelerator.base": "fpga"}, lambda s: s.cluster.nodes["cpu"].accelerator.base, "fpga"),
    "a key of an open map": (
        {"cluster.nodes.gpu.accelerator.peak.bf16": "1 PFLOP/s"},
        lambda s: (s.cluster.nodes["gpu"].accelerator.peak, s.cluster.nodes["gpu"].accelerator.base),
        ({"bf16": 1e15}, "h100-sxm"),
    ),
    "inside a short form": (
        {"workload.training.run.model.layers": 12},
        lambda s: (s.workload.training["run"].model.base, s.workload.training["run"].model.layers),
        ("llama3-8b", 12),
    ),
    "a short form": ({"workload.training.run.layout": "auto"}, lambda s: s.workload.training["run"].layout.auto, True),
    "a price": ({"cluster.prices.gpu": "3.6 USD/h"}, lambda s: s.cluster.prices["gpu"].hourly, 0.001),
    "another form of price": (
        {"cluster.prices.gpu": {"capex": "3 kUSD", "lifetime": "5 years"}},
        lambda s: (s.cluster.prices["gpu"].capex, s.cluster.prices["gpu"].hourly),
        (3000, None),
    ),
    "an item of a list": ({"cluster.fabric.down.1": 4}, lambda s: s.cluster.fabric.down, (16, 4)),
    "an item of notes": ({"notes.0": "zero"}, lambda s: s.notes, ("zero", "two")),
    "a whole list": ({"notes": ["x"]}, lambda s: s.notes, ("x",)),
    "a whole tuple": ({"notes": ("x", "y")}, lambda s: s.notes, ("x", "y")),
    "nothing for an optional part": ({"workload.jobs": None}, lambda s: s.workload.jobs, None),
    "an axis": ({"sweep.cluster.nodes.gpu.count": [7, 8]}, lambda s: s.sweep["cluster.nodes.gpu.count"], (7, 8)),
    "a new axis": ({"sweep.cluster.site.pue": [1.1]}, lambda s: s.sweep["cluster.site.pue"], (1.1,)),
    "an axis of numpy": ({"sweep.cluster.nodes.gpu.count": np.array([7, 8])}, lambda s: s.sweep["cluster.nodes.gpu.count"], (7, 8)),
    "one of two exclusive keys for the other": (
        {"workload.training.run.tokens": None, "workload.training.run.steps": 10},
        lambda s: (s.workload.training["run"].tokens, s.workload.training["run"].steps),
        (None, 10),
    ),
    "nothing at all": ({}, lambda s: s == loads(TEXT), True),
}


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.replace(" ", "-").replace(",", ""))
def test_good_variations(case: str, base: Scenario) -> None:
    changes, read, expected = GOOD[case]
    before = base.digest()
    varied = base.vary(changes)
    assert read(varied) == expected
    assert base.digest() == before
    assert load(varied.data()) == varied
    assert loads(varied.to_yaml()) == varied
    assert (varied == base) is (not changes)


BAD: dict[str, tuple[dict[Any, Any], str, str]] = {
    "another key": ({"cluster.nodes.gpu.cuont": 1}, "unknown-key", "did you mean 'count'?"),
    "another section": ({"clutser.nodes.gpu.count": 1}, "no-such-path", "did you mean 'cluster'?"),
    "another name": ({"cluster.nodes.gpus.count": 1}, "no-such-path", "did you mean 'gpu'?"),
    "a name unlike any": ({"cluster.nodes.tpu-pod.count": 1}, "no-such-path", "to add one, give 'cluster.nodes.tpu-pod' as a whole map"),
    "a name where there are none": ({"workload.tasks.t.data": "1 GB"}, "no-such-path", "named here: nothing"),
    "another key on the way": ({"workload.training.run.layuot.tp": 1}, "no-such-path", "did you mean 'layout'?"),
    "no path": ({"": 1}, "no-such-path", "words with dots"),
    "dots alone": ({"..": 1}, "no-such-path", "words with dots"),
    "a path that ends in a dot": ({"cluster.": 1}, "no-such-path", "words with dots"),
    "beyond a list": ({"cluster.fabric.down.2": 1}, "no-such-path", "'2' is no index below 2"),
    "before a list": ({"cluster.fabric.down.-1": 1}, "no-such-path", "no index"),
    "a word for an index": ({"notes.first": "x"}, "no-such-path", "no index"),
    "a superscript for an index": ({"notes.²": "x"}, "no-such-path", "no index"),
    "an endless index": ({"notes." + "9" * 5000: "x"}, "no-such-path", "no index"),
    "inside an item": ({"notes.0.x": "x"}, "no-such-path", "is a value"),
    "deep inside an item": ({"notes.0.x.y": "x"}, "no-such-path", "is a value"),
    "beyond a value": ({"cluster.nodes.gpu.count.x": 1}, "not-a-count", ""),
    "a bad value": ({"cluster.nodes.gpu.count": -1}, "out-of-range", ""),
    "a value without unit": ({"cluster.site.carbon": 57}, "unitless-quantity", "57 g/kWh"),
    "a form of two": ({"cluster.prices.gpu.provider": "aws"}, "price-form", ""),
    "nothing for a needed part": ({"cluster": None}, "wrong-type", ""),
    "the inner name of a key": ({"schema_": 1}, "unknown-key", "did you mean 'schema'?"),
    "an axis that is no list": ({"sweep.a": 5}, "sweep-axis", ""),
    "an axis of objects": ({"sweep.a": [object()]}, "not-plain-data", ""),
    "a key that pydantic uses itself": ({"[key]": 1}, "unknown-key", "known here"),
    "a name that pydantic uses itself": ({"cluster.nodes.[key]": {"count": 1}}, "bad-name", ""),
    "a path that is no text": ({5: 1}, "unknown-key", ""),
    "half a surrogate": ({"question": "\ud800"}, "wrong-type", ""),
    "an array for a count": ({"cluster.nodes.gpu.count": np.array([1, 2])}, "not-a-count", ""),
    "half a surrogate in an axis": ({"sweep.a": ["\ud800"]}, "not-plain-data", ""),
    "half a surrogate in a figure": ({"published": {"wall_s": {"value": "\ud800", "source": "s"}}}, "bad-figure", ""),
    "a number of numpy that is not finite": ({"cluster.site.pue": np.float64("nan")}, "not-a-fraction", ""),
}


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.replace(" ", "-"))
def test_bad_variations(case: str, base: Scenario) -> None:
    changes, code, hint = BAD[case]
    before = base.digest()
    (problem,) = problems(lambda: base.vary(changes))
    assert problem.code == code
    assert hint in problem.hint
    assert (problem.file, problem.line) == ("", 0)  # the mistake is not in the file
    assert base.digest() == before


def test_all_bad_variations_at_once(base: Scenario) -> None:
    paths = problems(lambda: base.vary({"clutser.a": 1, "cluster.nodes.gpus.count": 1, "notes.9": "x"}))
    assert [p.code for p in paths] == ["no-such-path"] * 3
    values = problems(lambda: base.vary({"cluster.nodes.gpu.count": 0, "name": "a b", "cluster.site.pue": 0}))
    assert sorted(p.code for p in values) == ["bad-name", "not-a-fraction", "out-of-range"]


@pytest.mark.parametrize(
    "path", ["\udcff", "cluster.\udcff", "cluster.nodes.\udcff", "cluster.nodes.gpu.\udcff", "sweep.\udcff", "\udcff.a"]
)
def test_a_path_that_is_no_unicode(path: str, base: Scenario) -> None:
    """A shell hands bytes that are no UTF-8 over as half surrogates."""
    for problem in problems(lambda: base.vary({path: {"count": 1}})):
        assert str(problem).isprintable()


@pytest.mark.parametrize("changes", [None, [1], "a=b", 5])
def test_changes_are_a_map(changes: object, base: Scenario) -> None:
    assert [p.code for p in problems(lambda: base.vary(changes))] == ["not-changes"]  # type: ignore[arg-type]


def test_variations_are_applied_in_order(base: Scenario) -> None:
    varied = base.vary({"cluster.nodes.gpu": {"count": 9}, "cluster.nodes.gpu.spares": 1})
    assert (varied.cluster.nodes["gpu"].count, varied.cluster.nodes["gpu"].spares) == (9, 1)
    assert base.vary({"name": "a"}).vary({"name": "b"}) == base.vary({"name": "b"})


def test_every_value_of_a_sweep_can_be_applied(base: Scenario) -> None:
    for path, values in base.sweep.items():
        for value in values:
            base.vary({path: value})
    assert (
        base.vary({"workload.training.run.layout": base.sweep["workload.training.run.layout"][1]}).workload.training["run"].layout.pp == 2
    )


def test_a_variation_does_not_hold_the_callers_data(base: Scenario) -> None:
    layout = {"tp": 2}
    axis = [1, {"a": [1]}]
    varied = base.vary({"workload.training.run.layout": layout, "sweep.a": axis})
    digest = varied.digest()
    layout["tp"] = 4
    axis[1]["a"].append(2)  # type: ignore[index]
    axis.append(3)
    assert varied.digest() == digest


def test_a_scenario_does_not_hold_the_callers_data() -> None:
    data = loads(TEXT).data()
    s = load(data)
    digest = s.digest()
    data["cluster"]["nodes"]["gpu"]["count"] = 99
    data["sweep"]["cluster.nodes.gpu.count"].append(9)
    assert s.digest() == digest
    given = s.data()
    given["cluster"]["nodes"]["gpu"]["count"] = 99
    assert s.digest() == digest


# --set


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("a.b=512", ("a.b", 512)),
        ("a=1e9", ("a", 1e9)),
        ("a=400 Gbit/s", ("a", "400 Gbit/s")),
        (" a = x ", ("a", "x")),
        ("a=[1, 2]", ("a", [1, 2])),
        ("a={tp: 8, pp: 4}", ("a", {"tp": 8, "pp": 4})),
        ("a=tp=8,pp=4", ("a", "tp=8,pp=4")),
        ("a=true", ("a", True)),
        ("a=no", ("a", "no")),
        ("a=null", ("a", None)),
        ("a=", ("a", None)),
        ("a='5'", ("a", "5")),
        ("a=b: c", ("a", "b: c")),
        ("a=1-12:00:00", ("a", "1-12:00:00")),
        ("a=[", ("a", "[")),
        ("a=*x", ("a", "*x")),
        ("a={b: 1, b: 2}", ("a", "{b: 1, b: 2}")),
        ("a=!!python/name:os.system", ("a", "!!python/name:os.system")),
        ("a=!!int x", ("a", "!!int x")),
        ("a=1\nb: 2", ("a", "1\nb: 2")),
        ("a=\udcff", ("a", "\udcff")),
        ("a=" + "[" * 100_000, ("a", "[" * 100_000)),
    ],
    ids=lambda value: ascii(value)[:30] if isinstance(value, str) else "",
)
def test_settings(text: str, setting: tuple[str, Any]) -> None:
    assert parse_setting(text) == setting
    assert type(parse_setting(text)[1]) is type(setting[1])


@pytest.mark.parametrize("text", ["", "a", "=1", " =1", "a b"])
def test_bad_settings(text: str) -> None:
    assert [p.code for p in problems(lambda: parse_setting(text))] == ["bad-setting"]


# Frozen


def test_nothing_in_a_scenario_can_be_changed(base: Scenario) -> None:
    attempts: list[Callable[[], Any]] = [
        lambda: setattr(base, "spec", None),
        lambda: setattr(base, "name", "x"),
        lambda: delattr(base, "spec"),
        lambda: setattr(base.spec, "name", "x"),
        lambda: delattr(base.spec, "name"),
        lambda: setattr(base.cluster, "site", None),
        lambda: setattr(base.cluster.nodes["gpu"], "count", 9),
        lambda: setattr(base.workload.training["run"].layout, "tp", 9),
        lambda: base.cluster.nodes.__setitem__("x", 1),
        lambda: base.cluster.nodes.__delitem__("gpu"),
        lambda: base.cluster.nodes.pop("gpu"),
        lambda: base.cluster.nodes.popitem(),
        lambda: base.cluster.nodes.clear(),
        lambda: base.cluster.nodes.setdefault("x", 1),
        lambda: base.cluster.nodes.update(x=1),
        lambda: base.cluster.nodes.__ior__({"x": 1}),
        lambda: base.cluster.nodes["gpu"].accelerator.peak.update(bf16=1.0),
        lambda: base.cluster.prices.clear(),
        lambda: base.workload.training.clear(),
        lambda: base.sweep.clear(),
        lambda: base.sweep["workload.training.run.layout"].__setitem__(0, 1),
        lambda: base.sweep["workload.training.run.layout"][1].update(tp=1),
        lambda: base.notes.__setitem__(0, 1),
    ]
    digest = base.digest()
    for attempt in attempts:
        with pytest.raises((TypeError, AttributeError, ValueError)):
            attempt()
    assert base.digest() == digest


def test_every_container_of_a_scenario_is_frozen(base: Scenario) -> None:
    seen: list[type] = []

    def walk(value: object) -> None:
        if hasattr(value, "model_fields_set"):
            for name in type(value).model_fields:  # type: ignore[attr-defined]
                walk(getattr(value, name))
        elif isinstance(value, dict):
            seen.append(type(value))
            for item in value.values():
                walk(item)
        else:
            assert not isinstance(value, (list, set, bytearray)), value
            if isinstance(value, tuple):
                for item in value:
                    walk(item)

    walk(base.spec)
    assert set(seen) == {FrozenMap}


def test_copies_and_pickles_are_equal_and_frozen(base: Scenario) -> None:
    for again in (pickle.loads(pickle.dumps(base)), copy.deepcopy(base), copy.copy(base)):
        assert again == base
        assert again.digest() == base.digest()
        assert again.source == base.source
        assert isinstance(again.cluster.nodes, FrozenMap)
        with pytest.raises(TypeError):
            again.cluster.nodes["x"] = 1


def test_plain_and_frozen_are_inverse() -> None:
    value = {"a": [1, 2.5, "x", None, True, {"b": [[]]}]}
    assert plain(frozen(value)) == value
    assert isinstance(frozen(value), FrozenMap)
    assert isinstance(frozen(value)["a"], tuple)
