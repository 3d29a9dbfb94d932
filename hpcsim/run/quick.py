"""A scenario from a few words: a model on a number of accelerators."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from hpcsim.base.errors import InputError, Problems, problem_kind
from hpcsim.catalog.economy import Price
from hpcsim.catalog.hardware import Node
from hpcsim.catalog.lookup import Catalog, default
from hpcsim.scenario.fields import Count
from hpcsim.scenario.load import Scenario, load

__all__ = ["quick_scenario"]

NO_NODE_TYPE = problem_kind(
    "no-node-for-accelerator",
    "the catalog has no server with {accelerator!r} to put {count} of them in",
    "describe the nodes in a scenario file",
)
UNEVEN = problem_kind(
    "uneven-nodes",
    "{count} accelerators do not fill nodes of {per_node}",
    "use a multiple of {per_node}, or describe the nodes in a scenario file",
)

NO_LINK = problem_kind("no-link-for-node", "the catalog does not say how {name!r} is networked", "give --link, for example --link ndr")

_SITE = {"pue": 1.2, "region": "USA"}
_MOST_DEVICES = 100_000_000
_LATENCY = "20 us"
_RADIX = 36


def _server(catalog: Catalog, accelerator: str) -> Node | None:
    """Return the server or rack type that holds an accelerator: one that is no cloud instance and whose power is known, if any."""
    names = catalog.names("node")
    nodes = [catalog.node(name) for name in names]
    fitting = [node for node in nodes if node.accelerator == accelerator and node.accelerators]
    rank = {"server": 0, "rack": 1, "pod": 2, "instance": 3}
    return min(fitting, key=lambda n: (rank[n.category], n.availability != "available", n.max_w is None, n.id), default=None)


def quick_scenario(
    *,
    model: str,
    accelerator: str,
    count: int | str,
    global_batch: int | str,
    sequence: int | str,
    tokens: int | str | None = None,
    layout: str = "auto",
    precision: str | None = None,
    link: str | None = None,
    framework: str | None = None,
    year: int | None = None,
    catalog: Catalog | None = None,
) -> Scenario:
    """Return the scenario of one training run on the catalog's server for an accelerator.

    Parameters
    ----------
    model, accelerator : str
        Catalog names.
    count : int
        Accelerators.
    global_batch, sequence, tokens : int
        Sequences of a step, tokens of a sequence, tokens of the run (one step's without it).
    layout : str
        ``"auto"`` or ``"tp=8,pp=4"``.
    precision : str, optional
        bf16 where the accelerator has it, else fp16, else fp32.
    link : str, optional
        Catalog link of the network ports; the server's own without it.
    framework, year : str and int, optional
        Software that runs it.

    Raises
    ------
    InputError
        Unknown names, or a count that does not fill nodes.
    """
    catalog = catalog or default()
    problems = Problems()
    for name, value in {"count": count, "global_batch": global_batch, "sequence": sequence, "tokens": tokens}.items():
        if value is not None:
            _collected(problems, name, partial((Count(1, _MOST_DEVICES) if name == "count" else Count(1)).parse, value))
    if isinstance(model, str):
        _collected(problems, "model", partial(catalog.model, model))
    _collected(problems, "accelerator", partial(catalog.accelerator, accelerator))
    problems.raise_if_any()
    device = catalog.accelerator(accelerator)
    devices = Count(1, _MOST_DEVICES).parse(count)
    server = _server(catalog, device.id)
    if server is None:
        raise NO_NODE_TYPE.error(path="accelerator", accelerator=device.id, count=devices)
    per_node = server.accelerators
    if devices < per_node:
        per_node = devices
    if devices % per_node:
        raise UNEVEN.error(path="count", count=devices, per_node=per_node)
    if precision is None:
        precision = next((p for p in ("bf16", "fp16", "fp32") if p in device.peak_flop_per_s), "bf16")
    nodes: dict[str, Any] = {"type": server.id, "count": devices // per_node}
    if per_node != server.accelerators:
        nodes["per_node"] = per_node
    training: dict[str, Any] = {
        "model": model,
        "global_batch": global_batch,
        "sequence": sequence,
        "precision": precision,
        "layout": layout,
        **({"tokens": tokens} if tokens is not None else {"steps": 1}),
        **({"framework": framework} if framework else {}),
        **({"year": year} if year else {}),
    }
    cluster: dict[str, Any] = {"nodes": {"nodes": nodes}, "site": _SITE}
    notes = ["The site is assumed: power usage effectiveness 1.2, carbon and electricity of the USA."]
    if devices > max(server.domain or 0, per_node):
        cluster["fabric"] = _fabric(catalog, server, link, notes)
    provider = _provider(catalog, device.id, notes)
    if provider:
        cluster["prices"] = {"nodes": {"provider": provider}}
    question = f"What does training {model} on {devices:,} {device.id} take?"
    workload = {"training": {"run": training}}
    return load({"schema": 1, "name": "estimate", "question": question, "notes": notes, "cluster": cluster, "workload": workload})


def _collected(problems: Problems, name: str, read: Callable[[], object]) -> None:
    """Note what is wrong with one of the words, so that all of them are said at once."""
    try:
        read()
    except InputError as error:
        problems.absorb(error, name)


def _fabric(catalog: Catalog, server: Node, link: str | None, notes: list[str]) -> dict[str, Any]:
    name = link or server.nic
    if name is None:
        raise NO_LINK.error(path="link", name=server.id)
    fabric: dict[str, Any] = {"topology": "fat-tree", "link": name, "per_node": server.nics or 1}
    entry = catalog.link(name)
    if entry.latency_s is None and entry.tcp_latency_s is None:
        fabric["latency"] = _LATENCY
        notes.append(f"The latency of {entry.id} is not known; {_LATENCY} is taken.")
    if entry.switch_ports is None:
        fabric["radix"] = _RADIX
        notes.append(f"The switches of {entry.id} are not known; {_RADIX} ports are taken.")
    return fabric


def _provider(catalog: Catalog, accelerator: str, notes: list[str]) -> str | None:
    """Return the provider whose on-demand price is the median of those that the catalog has, and note the spread."""
    entries = [catalog.find("price", name) for name in catalog.names("price")]
    offers = sorted(
        (price.usd_per_s["on-demand"] / price.devices * 3600.0, price.provider)
        for price in entries
        if isinstance(price, Price) and price.accelerator == accelerator and price.provider and "on-demand" in price.usd_per_s
    )
    if not offers:
        notes.append(f"The catalog has no price of {accelerator}; only electricity is counted.")
        return None
    usd_per_h, provider = offers[(len(offers) - 1) // 2]
    spread = f"{offers[0][0]:.2f} ({offers[0][1]}) to {offers[-1][0]:.2f} USD/h ({offers[-1][1]})"
    of = f"the median of {len(offers)} providers: {spread}" if len(offers) > 1 else "the only provider in the catalog"
    notes.append(f"Priced on demand at {provider}, {usd_per_h:.2f} USD/h, {of}.")
    return provider
