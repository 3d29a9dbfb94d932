"""Rules on data: where they may be, and who may hold and so could read them, held against where a pipeline takes them.

The words are those of a plan's limits (``data_in``, ``operators``). Data of a pipeline are bound from where they begin to a stage that is
said to release what it makes (``leaves``, of an anonymising stage). What a stage reads with ``from`` is free only where stages before it wrote
there and nothing there is bound; else it is bound again. Encryption releases nothing: who holds the data still holds them.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpcsim.base.errors import Problems, problem_kind
from hpcsim.catalog.markets import EEA, lives_in
from hpcsim.cluster.parts import Cluster, Location, NodeGroup, StorageTier
from hpcsim.scenario.pipelines import PipelineSpec

if TYPE_CHECKING:
    from hpcsim.catalog.lookup import Catalog
    from hpcsim.workload.pipeline_parts import StagePlan

__all__ = ["check_residence"]

LEAVES = problem_kind("data-may-not-leave", "stage {stage!r} {does} in {place}, and the data may be in {allowed} only", "{remedy}")
READS = problem_kind(
    "data-may-not-be-read", "stage {stage!r} {does} in {place}, which {operator} runs, and only {allowed} may hold the data", "{remedy}"
)
UNKNOWN_PLACE = problem_kind("data-in-unknown", "no place is called {name!r}", "{hint}")
UNKNOWN_OPERATOR = problem_kind("operator-unknown", "no location is run by {name!r}", "{hint}")


def check_residence(
    path: str, spec: PipelineSpec, stages: Sequence[StagePlan], cluster: Cluster, catalog: Catalog, problems: Problems
) -> None:
    """Note every stage that takes bound data where they may not be, or to whom they may not go.

    Parameters
    ----------
    path : str
        Of the pipeline in the scenario.
    spec : PipelineSpec
    stages : sequence of StagePlan
        In an order in which each stands after those that it waits for.
    cluster : Cluster
    catalog : Catalog
        Knows the countries.
    problems : Problems
        Takes what is found.
    """
    if spec.data_in is None and spec.operators is None:
        return
    _known(path, spec, cluster, catalog, problems)
    for stage, free in zip(stages, _free(spec, stages), strict=True):
        own = spec.stages[stage.name]
        where = f"{path}.stages.{stage.name}"
        if not free:
            what = f"takes what nobody released from {own.from_storage!r} and " if own.from_storage is not None and stage.after else ""
            _held(spec, stage.name, f"{what}runs on {stage.group.name!r}", stage.group, cluster, problems, f"{where}.nodes")
            if own.from_storage is not None:
                _held(
                    spec, stage.name, f"reads {own.from_storage!r}", cluster.storage[own.from_storage], cluster, problems, f"{where}.from"
                )
        if own.to is not None and not ((free or own.leaves) and stage.kind != "audit"):
            _held(spec, stage.name, f"writes {own.to!r}", cluster.storage[own.to], cluster, problems, f"{where}.to")


def _free(spec: PipelineSpec, stages: Sequence[StagePlan]) -> list[bool]:
    """Return whether what comes into each stage is free.

    What a stage reads is free where stages before it wrote there and the tier holds nothing bound: no data that a stage begins with, nothing
    written that is not released, no audit log. What is bound makes tiers bound and these what is read from them, to the fixed point.
    """
    begun, written = set(), []  # type: set[str], list[frozenset[str]]
    for stage in stages:
        own = spec.stages[stage.name]
        there = frozenset[str]().union(*(written[k] for k in stage.after))
        written.append(there | ({own.to} if own.to is not None else set()))
        if own.from_storage is not None and (own.data is not None or own.from_storage not in there):
            begun.add(own.from_storage)
    bound = begun
    while True:
        free: list[bool] = []
        out: list[bool] = []
        for stage in stages:
            own = spec.stages[stage.name]
            begins = not stage.after or own.data is not None
            free.append(not begins and own.from_storage not in bound and all(out[k] for k in stage.after))
            out.append(free[-1] or own.leaves)
        kept = zip(stages, out, strict=True)
        found = begun | {to for stage, free_out in kept if (to := spec.stages[stage.name].to) and (stage.kind == "audit" or not free_out)}
        if found <= bound:
            return free
        bound = bound | found


def _held(
    spec: PipelineSpec, stage: str, does: str, part: NodeGroup | StorageTier, cluster: Cluster, problems: Problems, path: str
) -> None:
    """Note where a part of the cluster may not hold the data."""
    place = cluster.place_of(part)
    remedy = _remedy(spec, cluster, place)
    if spec.data_in is not None and not lives_in(spec.data_in, country=place.country, names=place.names):
        problems.add(LEAVES(path=path, stage=stage, does=does, place=place.words, allowed=", ".join(spec.data_in), remedy=remedy))
    elif spec.operators is not None and place.operator.casefold() not in {name.casefold() for name in spec.operators}:
        problems.add(
            READS(
                path=path,
                stage=stage,
                does=does,
                place=place.words,
                operator=place.operator,
                allowed=", ".join(spec.operators),
                remedy=remedy,
            )
        )


def _remedy(spec: PipelineSpec, cluster: Cluster, place: Location) -> str:
    """Return what would make it lawful."""
    if not place.country and spec.data_in is not None and not (place.region or place.name):
        return "say where it stands: cluster.site.region, or a location with its country"
    places = {name: cluster.place_of(group) for name, group in cluster.groups.items()}
    places |= {name: cluster.place_of(tier) for name, tier in cluster.storage.items()}
    fine = [
        name
        for name, at in places.items()
        if (spec.data_in is None or lives_in(spec.data_in, country=at.country, names=at.names))
        and (spec.operators is None or at.operator in spec.operators)
    ]
    inside = f"keep to {', '.join(dict.fromkeys(fine))}, or " if fine else ""
    return f"{inside}anonymise before it and say leaves: true, or allow the place"


def _known(path: str, spec: PipelineSpec, cluster: Cluster, catalog: Catalog, problems: Problems) -> None:
    """Note words of the rules that nothing is called by, so that a misspelt one does not forbid or allow in silence."""
    names = sorted({name for place in cluster.locations.values() for name in place.names})
    countries = {str(name).upper() for name in catalog.names("carbon") if len(str(name)) == 3} | EEA
    for k, word in enumerate(spec.data_in or ()):
        if not fnmatch.filter([code.casefold() for code in ("EU", "EEA", *countries, *names)], word.casefold()):
            near = difflib.get_close_matches(word, [*names, *sorted(countries), "EU", "EEA"], 1)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else "an ISO code of three letters, EU, EEA, or a location: " + ", ".join(sorted(names))
            )
            problems.add(UNKNOWN_PLACE(path=f"{path}.data_in.{k}", name=word, hint=hint))
    operators = {"own", *(place.operator for place in cluster.locations.values())}
    for k, word in enumerate(spec.operators or ()):
        if word.casefold() not in {name.casefold() for name in operators}:
            problems.add(UNKNOWN_OPERATOR(path=f"{path}.operators.{k}", name=word, hint="known: " + ", ".join(sorted(operators))))
