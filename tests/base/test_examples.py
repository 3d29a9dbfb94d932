"""The examples in the docstrings hold."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = {
    "hpcsim.base.rng": 1,
    "hpcsim.base.units": 5,
    "hpcsim.scenario.load": 1,
    "hpcsim.testing.reference": 1,
}
"""Modules and how many examples they have at least."""


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted >= MODULES[name]
    assert result.failed == 0
