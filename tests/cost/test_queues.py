"""Queues."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.cost import queues


def test_erlang() -> None:
    assert queues.erlang_b(10, 8) == pytest.approx(0.121661, rel=1e-5)
    assert queues.erlang_c(10, 8) == pytest.approx(0.409180, rel=1e-5)
    assert queues.mmc_wait_s(10, 8) == pytest.approx(0.20459, rel=1e-4)
    assert queues.mmc_wait_quantile_s(0.95, 10, 8) == pytest.approx(1.0511, rel=1e-4)
    assert queues.mmc_wait_s(1, 0.8) == pytest.approx(4.0)


def test_erlang_b_against_its_sum() -> None:
    for c, a in ((3, 2.5), (20, 15.0), (1, 7.0)):
        terms = [a**k / math.factorial(k) for k in range(c + 1)]
        assert queues.erlang_b(c, a) == pytest.approx(terms[-1] / sum(terms))


def test_more_servers_never_wait_longer() -> None:
    waits = queues.mmc_wait_s(np.arange(9, 40), 8.0)
    assert (np.diff(waits) < 0).all()


def test_approximations_agree_where_exact() -> None:
    assert queues.kingman_wait_s(0.9, arrival_scv=1, service_scv=4) == pytest.approx(22.5)
    assert queues.kingman_wait_s(0.8, arrival_scv=1, service_scv=1) == pytest.approx(queues.mmc_wait_s(1, 0.8))
    assert queues.allen_cunneen_wait_s(10, 8, arrival_scv=1, service_scv=4) == pytest.approx(0.511474, rel=1e-4)


def test_sizing_for_a_quantile() -> None:
    c = queues.servers_for(80.0, quantile=0.95, wait_s=0.5)
    assert c == 85
    assert queues.mmc_wait_quantile_s(0.95, c - 1, 80.0) > 0.5


def test_an_overloaded_queue_is_refused() -> None:
    with pytest.raises(InputError) as error:
        queues.mmc_wait_s(8, 8.0)
    assert error.value.problems[0].code == "queue-overloaded"


def test_quick_forms_of_many_servers() -> None:
    for servers in (2, 8, 30):
        for rho in (0.8, 0.9, 0.95):
            exact = queues.mdc_wait_s(servers, rho * servers)
            assert float(queues.cosmetatos_wait_s(servers, rho * servers)) == pytest.approx(exact, rel=0.012)
    for servers, rho in ((300, 0.97), (1000, 0.98)):
        assert queues.halfin_whitt_share(servers, rho * servers) == pytest.approx(float(queues.erlang_c(servers, rho * servers)), rel=0.03)
