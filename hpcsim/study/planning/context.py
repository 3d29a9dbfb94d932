"""What the steps of a plan know of one training goal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hpcsim.catalog.lookup import Catalog
from hpcsim.scenario.load import Scenario
from hpcsim.study.planning.candidates import Candidates
from hpcsim.study.planning.confirm import Confirmed
from hpcsim.study.planning.machines import Machine
from hpcsim.study.planning.sources import Place, Source, Terms

__all__ = ["TrainContext"]


@dataclass(frozen=True)
class TrainContext:
    """One training goal, its combinations and its choice.

    Attributes
    ----------
    scenario : Scenario
    catalog : Catalog
    terms : Terms
    run, objective : str
    found : Candidates
        With the shared limits less what other goals take.
    machines, sources : lists that the candidates index
    row : int
        The choice.
    confirmed : mapping of int to Confirmed
        Simulated combinations.
    reached : bool
        Whether the choice keeps all limits.
    """

    scenario: Scenario
    catalog: Catalog
    terms: Terms
    run: str
    objective: str
    found: Candidates
    machines: list[Machine]
    sources: list[Source]
    row: int
    confirmed: Mapping[int, Confirmed]
    reached: bool

    @property
    def goal(self) -> str:
        """Name of the goal."""
        return self.found.goal

    @property
    def machine(self) -> Machine:
        """The chosen machine."""
        return self.machines[int(self.found.extra["machine"][self.row])]

    @property
    def source(self) -> Source:
        """Where its nodes come from."""
        return self.sources[int(self.found.extra["source"][self.row])]

    @property
    def place(self) -> Place | None:
        """The site, of owned nodes."""
        return next((p for p in self.terms.sites if self.source.provider == "own" and p.name == self.source.place), None)

    def value(self, name: str, row: int | None = None) -> float:
        """Return a value of the choice, or of another combination."""
        return float(self.found.values[name][self.row if row is None else row])

    def part(self, name: str) -> float:
        """Return a part of the choice's cost."""
        return float(self.found.parts[name][self.row])

    @property
    def deadline_s(self) -> float:
        """The shorter of the goal's deadlines."""
        goal = self.scenario.plan.goals.train[self.run]
        return float(min(x for x in (goal.within, goal.by) if x is not None))

    @property
    def nodes_held(self) -> int:
        """Nodes with the spares of owned ones."""
        return self.machine.nodes + (self.machine.spares if self.source.kind == "owned" else 0)

    @property
    def failures_per_s(self) -> float:
        """Interruptions of the run: failures, and nodes that a cloud takes back."""
        return self.machine.nodes * (1.0 / self.machine.mtbf_s + self.source.interruptions_per_node_s)
