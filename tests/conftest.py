"""Settings of all tests: a busy machine is no reason to fail."""

import gc
import os
import sys
import tempfile
from pathlib import Path

if sys.dont_write_bytecode and hasattr(os, "getuid"):  # compile once for all workers, their children and the next run, outside the checkout
    compiled = Path(tempfile.gettempdir(), f"hpcsim-tests-{os.getuid()}")
    compiled.mkdir(mode=0o700, exist_ok=True)
    if compiled.stat().st_uid == os.getuid():
        sys.dont_write_bytecode = False
        sys.pycache_prefix = os.environ["PYTHONPYCACHEPREFIX"] = str(compiled)
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import pytest
from hypothesis import HealthCheck, Phase, settings

# The same examples on every run, so that the gate judges the change and not the draw; HYPOTHESIS_PROFILE=explore draws anew.
settings.register_profile("hpcsim", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("unshrunk", settings.get_profile("hpcsim"), phases=(Phase.explicit, Phase.generate))
settings.register_profile("explore", deadline=None, max_examples=500, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "hpcsim"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Look for circles of garbage rarely, and not among what lasts: a tenth of the time of all tests went there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
