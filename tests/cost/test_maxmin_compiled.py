"""Compiled sharing: equal to numpy's but for rounding, and refused by name where numba is not there."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.cost.maxmin_compiled import settle_compiled
from hpcsim.engine.flows import run_flows, simulate_flows
from tests.oracles.flow_cases import KINDS, build


@pytest.fixture
def without_numba(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settle_compiled.cache_clear()
    monkeypatch.setitem(sys.modules, "numba", None)
    yield
    settle_compiled.cache_clear()


@pytest.mark.usefixtures("without_numba")
def test_without_numba_it_is_refused_by_name() -> None:
    case = build("incast", 4)
    with pytest.raises(InputError) as raised:
        run_flows(case.capacity, case.routes, case.start_s, case.size_bytes, compiled=True)
    assert raised.value.problems[0].code == "numba-missing"
    assert run_flows(case.capacity, case.routes, case.start_s, case.size_bytes).size == 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_and_plain_agree(kind: str) -> None:
    pytest.importorskip("numba")
    case = build(kind, 600, seed=4)
    plain, compiled = (
        simulate_flows(
            case.capacity, case.routes, case.start_s, case.size_bytes, weight=case.weight, latency_s=case.latency_s, compiled=which
        )
        for which in (False, True)
    )
    assert compiled.finish_s == pytest.approx(plain.finish_s, rel=1e-11)
    assert compiled.steps == plain.steps
    assert np.isfinite(compiled.finish_s).all()
