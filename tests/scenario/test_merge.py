"""YAML's merge key: a map takes over what it does not say itself."""

from __future__ import annotations

import pytest

import hpcsim
from hpcsim.base.errors import InputError
from hpcsim.scenario.load import loads

TEXT = """\
schema: 1
name: merged
question: q
cluster:
  nodes:
    a: &a {{count: 16, cores: 4, speed: 1 TFLOP/s, idle_power: 100 W, max_power: 400 W}}
    b: {b}
workload: {{tasks: {{t: {{data: 1 GB, work: 1 PFLOP}}}}}}
"""


def group(b: str) -> dict[str, object]:
    spec = loads(TEXT.format(b=b), "m.yaml").cluster.nodes["b"]
    return {"count": spec.count, "cores": spec.cores, "idle": spec.idle_power, "max": spec.max_power}


def test_own_keys_win_wherever_they_stand() -> None:
    expected = {"count": 3, "cores": 4, "idle": 100.0, "max": 400.0}
    assert group("{<<: *a, count: 3}") == group("{count: 3, <<: *a}") == expected


def test_of_several_maps_the_earlier_wins() -> None:
    assert group("{<<: [{cores: 8, count: 5}, *a]}") == {"count": 5, "cores": 8, "idle": 100.0, "max": 400.0}


@pytest.mark.parametrize(
    ("b", "code"),
    [
        ("{<<: [*a, 3]}", "yaml-merge"),
        ("&b {<<: *b, count: 1}", "yaml-recursion"),
        ("{'<<': *a}", "unknown-key"),
        ("{<<: *a, cores: x}", "not-a-count"),
        ("{<<: *a, cores: 1, cores: 2}", "duplicate-key"),
    ],
)
def test_mistakes(b: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        loads(TEXT.format(b=b), "m.yaml")
    assert code in [problem.code for problem in caught.value.problems]


def test_a_merged_scenario_is_the_written_out_one() -> None:
    written = TEXT.format(b="{count: 3, cores: 4, speed: 1 TFLOP/s, idle_power: 100 W, max_power: 400 W}")
    merged = TEXT.format(b="{<<: *a, count: 3}")
    one, other = (hpcsim.estimate(loads(text, "m.yaml").vary({"cluster.fabric": {"link": "hdr"}})).summary for text in (written, merged))
    assert {k: v for k, v in one.items() if k != "wall_s"} == {k: v for k, v in other.items() if k != "wall_s"}
