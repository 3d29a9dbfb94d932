"""The made-up results of ``sample.py`` as a fixture."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def sample():
    spec = importlib.util.spec_from_file_location("hpcsim_report_sample", Path(__file__).with_name("sample.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
