"""Write the golden summaries anew: ``python tests/golden/regenerate.py``.

They detect change and prove nothing: what is right is tested elsewhere. A change that moves a number here says in its change note which
and why. Figures that depend on the machine that runs hpcsim are left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def scenarios() -> list[Path]:
    """Return every scenario that is shipped."""
    return sorted((ROOT / "scenarios").glob("*.yaml"))


def summaries(scenario: Path) -> dict[str, Any]:
    """Return the figures of both views of a scenario, and of its plan where it has one."""
    import hpcsim
    from hpcsim.results.quantities import quantity

    found = {}
    planned = (hpcsim.plan,) if hpcsim.load(scenario).plan else ()
    for verb in (hpcsim.simulate, hpcsim.estimate, *planned):
        figures = verb(scenario).figures()
        found[verb.__name__] = {key: value for key, value in figures.items() if not quantity(key).machine}
    return found


def golden(scenario: Path) -> Path:
    """Return where the golden summary of a scenario lies."""
    return HERE / f"{scenario.stem}.json"


def regenerate() -> Iterator[str]:
    """Write every golden summary, remove those of scenarios that are gone, and say what changed."""
    wanted = {golden(scenario) for scenario in scenarios()}
    for path in sorted(set(HERE.glob("*.json")) - wanted):
        path.unlink()
        yield f"{path.name}: removed"
    for scenario in scenarios():
        path = golden(scenario)
        text = json.dumps(summaries(scenario), indent=1) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            yield f"{path.name}: written"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    for line in regenerate():
        print(line)
