"""The names in a plan: every one is looked up before anything is computed, and what is wrong is told at once."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Callable, Iterable
from typing import Any

from hpcsim.base.errors import InputError, Problem, Problems, problem_kind
from hpcsim.base.units import parse_quantity, readable
from hpcsim.catalog.lookup import Catalog
from hpcsim.catalog.markets import EEA, EU
from hpcsim.catalog.prices import Offer, offers
from hpcsim.cluster.build import GENERIC_STORAGE
from hpcsim.cluster.topologies import TOPOLOGIES
from hpcsim.scenario.load import Scenario
from hpcsim.study.planning.machines import UNKNOWN_RUN
from hpcsim.study.planning.sources import terms_of

__all__ = ["plan_problems"]

UNKNOWN_REGION = problem_kind("plan-region", "{what} {name!r} is not known", "{hint}")
UNKNOWN_OPERATOR = problem_kind("plan-operator", "no operator is called {name!r}", "{hint}")
HORIZON = problem_kind(
    "plan-horizon", "nothing is planned over {years:,.0f} years", "at most {most:g} years; prices and growth are not known even so far"
)
SHORT_HORIZON = problem_kind(
    "plan-horizon-short", "nothing is planned over {given}", "at least 28 days: machines are bought for years and rented by the month"
)

_YEAR_S = 31_556_952.0
_SHORTEST_S, _LONGEST_S = 28 * 86400.0, 50 * _YEAR_S


def _near(name: str, known: Iterable[str], otherwise: str = "known") -> str:
    names = sorted(set(known))
    folded = {n.casefold(): n for n in names}
    near = difflib.get_close_matches(name.casefold(), folded, 2, 0.6)
    if near:
        return "did you mean " + " or ".join(repr(folded[n]) for n in near) + "?"
    shown = ", ".join(names[:12]) + (" …" if len(names) > 12 else "")
    return f"{otherwise}: {shown or 'none'}"


def _looked_up(problems: Problems, path: str, look_up: Callable[[], Any]) -> None:
    try:
        look_up()
    except InputError as error:
        for problem in error.problems:
            problems.add(problem.located(path=path))


def _goals(scenario: Scenario, problems: Problems) -> None:
    from hpcsim.scheduling.policies import make_policy

    goals, runs = scenario.plan.goals, scenario.workload.training
    for name in goals.train:
        if name not in runs:
            problems.add(UNKNOWN_RUN(path=f"plan.goals.train.{name}", name=name, hint=_near(name, runs, "its runs")))
    if goals.queue is not None:
        for k, policy in enumerate(goals.queue.policies):
            _looked_up(problems, f"plan.goals.queue.policies.{k}", lambda policy=policy: make_policy(policy, {}))  # type: ignore[misc]


def _is_rate(text: str) -> bool:
    try:
        parse_quantity(text, "data rate")
    except InputError:
        return False
    return True


def _machines(scenario: Scenario, catalog: Catalog, problems: Problems) -> None:
    options = scenario.plan.options
    for name, node in options.nodes.items():
        _looked_up(problems, f"plan.options.nodes.{name}.type", lambda node=node: catalog.node(node.type))  # type: ignore[misc]
    for name, fabric in options.fabrics.items():
        path = f"plan.options.fabrics.{name}"
        _looked_up(problems, f"{path}.topology", lambda fabric=fabric: TOPOLOGIES.get(fabric.topology))  # type: ignore[misc]
        if fabric.link is not None and not _is_rate(fabric.link):
            _looked_up(problems, f"{path}.link", lambda fabric=fabric: catalog.link(fabric.link))  # type: ignore[misc]
    for name, tier in options.storage.items():
        path = f"plan.options.storage.{name}"
        if tier.type.lower() not in GENERIC_STORAGE:
            _looked_up(problems, f"{path}.type", lambda tier=tier: catalog.storage(tier.type))  # type: ignore[misc]
        if tier.drive is not None:
            _looked_up(problems, f"{path}.drive", lambda tier=tier: catalog.storage(tier.drive))  # type: ignore[misc]


def _known_region(catalog: Catalog, name: str) -> bool:
    for look_up in (catalog.carbon_intensity, catalog.electricity_price, catalog.pue):
        try:
            look_up(name)
        except InputError:
            continue
        return True
    return False


def _places(scenario: Scenario, catalog: Catalog, rows: tuple[Offer, ...], problems: Problems) -> None:
    options, limits = scenario.plan.options, scenario.plan.limits
    known = [*catalog.names("carbon"), *catalog.names("electricity")]
    for name, site in options.sites.items():
        path = f"plan.options.sites.{name}"
        if site.region is not None and not _known_region(catalog, site.region):
            problems.add(UNKNOWN_REGION(path=f"{path}.region", what="region", name=site.region, hint=_near(site.region, known)))
        if site.country is not None and not (len(site.country) == 3 and site.country.isascii() and site.country.isalpha()):
            hint = "the ISO 3166-1 code of three letters, such as DEU"
            problems.add(UNKNOWN_REGION(path=f"{path}.country", what="country", name=site.country, hint=hint))
    regions = {word for o in rows for word in (o.region, f"{o.provider}-{o.region}")}
    for name, owner in options.owners.items():
        for k, word in enumerate(owner.regions or ()):
            if not fnmatch.filter([r.casefold() for r in regions], word.casefold()):
                problems.add(
                    UNKNOWN_REGION(
                        path=f"plan.options.owners.{name}.regions.{k}", what="cloud region", name=word, hint=_near(word, regions)
                    )
                )
    sites = set(options.sites) or {"site"}
    countries = {str(n).upper() for n in catalog.names("carbon") if len(str(n)) == 3} | EU | EEA
    rented = {tier.region for tier in options.storage.values() if tier.region}
    codes = {"EU", "EEA", "own", *countries, *sites, *regions, *rented}
    for k, word in enumerate(limits.data_in or ()):
        if not fnmatch.filter([code.casefold() for code in codes], word.casefold()):
            hint = _near(word, {"EU", "EEA", *sites, *countries})
            problems.add(UNKNOWN_REGION(path=f"plan.limits.data_in.{k}", what="place", name=word, hint=hint))
    operators = {"own", *(o.provider for o in rows), *(t.provider for t in options.storage.values() if t.provider)}
    for entry in catalog.names("price"):
        provider = getattr(catalog.find("price", entry), "provider", None)
        operators |= {str(provider)} if provider else set()
    for k, word in enumerate(limits.operators or ()):
        if word.casefold() not in {o.casefold() for o in operators}:
            problems.add(UNKNOWN_OPERATOR(path=f"plan.limits.operators.{k}", name=word, hint=_near(word, operators)))


def plan_problems(scenario: Scenario, catalog: Catalog) -> list[Problem]:
    """Return every name of a plan that nothing answers to, with its place and the nearest that is known; none without a plan.

    Runs of goals, policies, node types, topologies, links, storage, drives, regions and countries of sites, providers and cloud regions of owners,
    price lists and hourly files, places where data may live, operators.
    """
    if scenario.plan is None:
        return []
    problems = Problems()
    if scenario.plan.horizon < _SHORTEST_S:
        problems.add(SHORT_HORIZON(path="plan.horizon", given=readable(scenario.plan.horizon, "time", 3)))
    if scenario.plan.horizon > _LONGEST_S:
        problems.add(HORIZON(path="plan.horizon", years=scenario.plan.horizon / _YEAR_S, most=_LONGEST_S / _YEAR_S))
    rows: tuple[Offer, ...] = offers()
    try:
        rows = terms_of(scenario, catalog).rows
    except InputError as error:
        problems.absorb(error)
    _goals(scenario, problems)
    _machines(scenario, catalog, problems)
    _places(scenario, catalog, rows, problems)
    return [scenario.locate(problem) for problem in problems.items]
