"""hpcsim: a discrete-event simulator and capacity planner for HPC and AI clusters.

The public verbs are loaded when they are first used::

    import hpcsim
    scenario = hpcsim.load("scenarios/bloom-176b.yaml")
    results = hpcsim.simulate(scenario, seed=1)
    results.summary, results.jobs
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcsim import catalog as catalog
    from hpcsim.base.errors import HpcsimError as HpcsimError
    from hpcsim.base.errors import InputError as InputError
    from hpcsim.run.estimate import estimate as estimate
    from hpcsim.run.simulate import simulate as simulate
    from hpcsim.scenario.load import Scenario as Scenario
    from hpcsim.scenario.load import load as load
    from hpcsim.study.calibrate import calibrate as calibrate
    from hpcsim.study.checking import check as check
    from hpcsim.study.compare import compare as compare
    from hpcsim.study.explain import explain as explain
    from hpcsim.study.planning.plan import plan as plan
    from hpcsim.study.replay import replay as replay
    from hpcsim.study.search import search as search
    from hpcsim.study.sensitivity import sensitivity as sensitivity
    from hpcsim.study.sweep import sweep as sweep
    from hpcsim.study.verify import verify as verify

__version__ = "0.1.0"

__all__ = [
    "HpcsimError",
    "InputError",
    "Scenario",
    "__version__",
    "calibrate",
    "catalog",
    "check",
    "compare",
    "estimate",
    "explain",
    "load",
    "plan",
    "replay",
    "search",
    "sensitivity",
    "simulate",
    "sweep",
    "verify",
]

_PLACES = {
    "load": "hpcsim.scenario.load:load",
    "Scenario": "hpcsim.scenario.load:Scenario",
    "check": "hpcsim.study.checking:check",
    "estimate": "hpcsim.run.estimate:estimate",
    "simulate": "hpcsim.run.simulate:simulate",
    "replay": "hpcsim.study.replay:replay",
    "search": "hpcsim.study.search:search",
    "sensitivity": "hpcsim.study.sensitivity:sensitivity",
    "sweep": "hpcsim.study.sweep:sweep",
    "calibrate": "hpcsim.study.calibrate:calibrate",
    "compare": "hpcsim.study.compare:compare",
    "explain": "hpcsim.study.explain:explain",
    "plan": "hpcsim.study.planning.plan:plan",
    "verify": "hpcsim.study.verify:verify",
    "catalog": "hpcsim.catalog:",
    "HpcsimError": "hpcsim.base.errors:HpcsimError",
    "InputError": "hpcsim.base.errors:InputError",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'hpcsim' has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    value: Any = importlib.import_module(module)
    if attribute:
        value = getattr(value, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
