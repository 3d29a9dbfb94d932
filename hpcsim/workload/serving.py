"""Services: from a scenario to a plan that the closed form and the event engine share.

The plan holds what passes take, how many requests fit, how many replicas there are, and the steady state of it all; the requests themselves are
drawn by :func:`hpcsim.workload.requests.draw_requests`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpcsim.base.errors import Problems, problem_kind
from hpcsim.base.units import readable
from hpcsim.catalog.inline import resolve_model
from hpcsim.catalog.lookup import Catalog
from hpcsim.catalog.models import Model as Network
from hpcsim.cluster.parts import Cluster, NodeGroup
from hpcsim.cost.models import Model, Work
from hpcsim.cost.service import Demand, Service, Steady, capacity_per_s, length_nodes, steady
from hpcsim.cost.serving import (
    WEIGHTS,
    Passes,
    Replica,
    cache_bytes,
    decode_terms,
    pass_terms,
    passes_of,
    serving_precision,
    weight_bytes,
    working_bytes,
)
from hpcsim.scenario.serving import ServingSpec
from hpcsim.workload.calibrated import calibrated_device, calibrated_fabric
from hpcsim.workload.devices import cost_device
from hpcsim.workload.networks import cost_model
from hpcsim.workload.requests import drawn_lengths, load_parts, mean_load_per_s
from hpcsim.workload.training import HOST_LOAD_FRAC, cost_fabric

__all__ = ["MOST_REQUESTS", "ServingPlan", "check_room", "plan_serving"]

NO_GROUP = problem_kind("serving-nodes", "{what}", "name the node group in {key}; groups with accelerators: {known}")
NOT_SERVED = problem_kind("serving-model", "{model} cannot be served: {why}", "{hint}")
BAD_SPLIT = problem_kind("serving-split", "{tp} devices cannot share {model}: {why}", "{hint}")
TOO_LARGE = problem_kind(
    "serving-memory",
    "{model} does not fit: a device would hold {need} of weights and buffers in {weights}, and {room} of its {has} may be used",
    "{hint}",
)
NO_ROOM = problem_kind(
    "serving-cache", "beside the weights there is room for {tokens:,} tokens, and the longest request holds {need:,}", "{hint}"
)
TOO_FEW = problem_kind(
    "serving-capacity",
    "{name} needs {need} replicas for {load:.4g} requests a second, and {group!r} has room for {room}",
    "more nodes (at least {nodes}), a lower load, fewer tokens, or a lighter format of the weights",
)
OVER_GROUP = problem_kind(
    "serving-replicas",
    "{need} replicas of {tp} devices take {nodes} nodes, and {group!r} has {count} for it",
    "fewer replicas, or more nodes",
)
OUT_OF_REACH = problem_kind(
    "serving-objective",
    "no number of replicas keeps {what} within {limit} for {share} of the requests: alone on a replica it is {alone}",
    "{hint}",
)
TOGETHER = problem_kind(
    "serving-together", "{names} take {nodes} nodes together, and {group!r} has {count}", "fewer replicas, or more nodes"
)
TOO_MANY = problem_kind(
    "serving-requests",
    "{requests:,.0f} requests are more than the {limit:,} that are followed one by one",
    "a shorter duration, a shorter period of the profile, or a lower load",
)
NO_LOAD = problem_kind(
    "serving-no-load", "no request comes in the {time} that are run: the profile has no load in them", "a duration of a period, {period}"
)

MOST_REQUESTS = 5_000_000
"""Requests of one service that are followed one by one."""
_MOST_SLOTS = 1024
_PASS_TOKENS, _CHUNK = 2048, 512

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ServingPlan:
    """A service, ready to be estimated or simulated.

    Attributes
    ----------
    name, path : str
        Name and dotted path in the scenario.
    spec : ServingSpec
    network : Network
    group : NodeGroup
    replica : Replica
    passes : Passes
    replicas, apart : int
        Copies that decode (and prefill), and copies that only prefill.
    nodes, devices : int
        Nodes that are held, and devices that work.
    slots, most_slots : int
        Requests of mean length that a replica works on at once at most, and of any length.
    room_tokens : float
        Tokens that the caches of a replica hold; infinite without a cache.
    pass_tokens, chunk : int
        Prompts taken together; tokens of a prompt beside a decode step, 0 where prompts are not cut.
    service : Service
    demand : Demand
    steady : Steady
        At the mean load of the time in which requests arrive.
    peak : Steady
        At the highest load in that time; ``steady`` where it does not change.
    kept_load_per_s : float
        Largest load at which the objectives are expected to be kept.
    memory : dict of str to float
        What one device holds [B], slots filled with requests of mean length.
    memory_capacity_bytes : float
    step_terms : dict of str to float
        Where the time of a decode step at the mean batch goes, of a prefill where there is none.
    span_w : float or None
        Of one device, between idle and its highest power; None where that is not known.
    host_w : float
        Drawn by the rest of a node for one replica while that works [W].
    notes : tuple of str
    """

    name: str
    path: str
    spec: ServingSpec
    network: Network
    group: NodeGroup
    replica: Replica
    passes: Passes
    replicas: int
    apart: int
    nodes: int
    devices: int
    slots: int
    most_slots: int
    room_tokens: float
    pass_tokens: int
    chunk: int
    service: Service
    demand: Demand
    steady: Steady
    peak: Steady
    kept_load_per_s: float
    memory: dict[str, float]
    memory_capacity_bytes: float
    step_terms: dict[str, float]
    span_w: float | None
    host_w: float
    notes: tuple[str, ...] = ()

    kind = "serving"

    @property
    def submit_s(self) -> float:
        """When it begins [s]."""
        return self.spec.submit

    @property
    def work_s(self) -> float:
        """Time in which requests arrive [s]."""
        return self.spec.lasts_s

    @property
    def tp(self) -> int:
        """Devices of a replica."""
        return self.replica.tp

    @property
    def arithmetic(self) -> tuple[str, ...]:
        """Precisions whose rates it works at."""
        precision = serving_precision(self.replica.weights, self.replica.device)
        return tuple(dict.fromkeys((precision.matmul, precision.attention)))

    @property
    def binds(self) -> str:
        """The term that a decode step (a prefill where there is none) spends most of its time on."""
        return max(self.step_terms, key=lambda term: self.step_terms[term])

    def draw_w(self, load: Floats, busy: Floats) -> Floats:
        """Return the power above idle [W]; none where it is not known.

        Parameters
        ----------
        load : array
            Replicas times the share of their devices' span between idle and highest power that they draw.
        busy : array
            Replicas that work.
        """
        return np.asarray(self.tp * (self.span_w or 0.0) * load + self.host_w * busy)

    def mean_work(self, found: Steady) -> tuple[float, float]:
        """Return the mean of what :meth:`draw_w` takes, in a steady state."""
        passes, demand = self.passes, self.demand
        own = passes.linear_s[demand.tokens] + passes.head_s[1] + demand.attention_s
        load = passes.linear_load_s[demand.tokens] + passes.head_load_s[1] + passes.attention_load_frac * demand.attention_s
        prefilling = float(load.sum() / max(float(own.sum()), 1e-300))
        b = max(found.batch, 1.0)
        decoding = float(passes.decode_load_s(b, b * demand.context) / passes.decode_s(b, b * demand.context)) if demand.steps else 0.0
        if self.apart:
            busy = self.replicas * found.busy_frac, self.apart * found.prefill_frac
            return busy[0] * decoding + busy[1] * prefilling, sum(busy)
        rest = max(found.busy_frac - found.prefill_frac, 0.0)
        return self.replicas * (found.prefill_frac * prefilling + rest * decoding), self.replicas * found.busy_frac


def _group(spec: ServingSpec, cluster: Cluster, path: str) -> NodeGroup:
    able = [g for g in cluster.groups.values() if g.accelerator is not None and g.per_node > 0]
    known = ", ".join(g.name for g in able) or "none"
    if spec.nodes is not None:
        group = cluster.group(spec.nodes, f"{path}.nodes")
        if group not in able:
            raise NO_GROUP.error(
                path=f"{path}.nodes", key=f"{path}.nodes", what=f"the nodes {group.name!r} have no accelerators", known=known
            )
        return group
    if len(able) != 1:
        what = "no node group has accelerators" if not able else f"{len(able)} node groups have accelerators"
        raise NO_GROUP.error(path=path, key=f"{path}.nodes", what=what, known=known)
    return able[0]


def _check_model(network: Network, model: Model | Work, spec: ServingSpec, path: str) -> None:
    if isinstance(model, Model) and np.any(model.decoder_layers > 0):
        raise NOT_SERVED.error(
            path=f"{path}.model",
            model=network.id,
            why="how an encoder's output is kept for its decoder is not modelled",
            hint="choose a decoder-only model, an encoder, or a network of samples",
        )
    if isinstance(model, Work) and float(np.asarray(model.sharded_bytes)):
        raise NOT_SERVED.error(
            path=f"{path}.model", model=network.id, why="look-ups in embedding tables are not modelled", hint="choose another model"
        )
    one_pass = isinstance(model, Work) or not bool(np.any(model.causal))
    if one_pass and (spec.output.mean > 1 or spec.output.spread):
        raise NOT_SERVED.error(
            path=f"{path}.output",
            model=network.id,
            why="it gives its answer in one pass, and output asks for tokens one by one",
            hint="leave output out",
        )


def _check_split(network: Network, model: Model | Work, spec: ServingSpec, group: NodeGroup, path: str) -> None:
    tp, name = spec.tp, network.id
    if tp == 1:
        return
    if isinstance(model, Work):
        raise BAD_SPLIT.error(path=f"{path}.tp", tp=tp, model=name, why="it is known by its totals only", hint="leave tp out")
    heads = int(np.asarray(model.heads))
    if heads % tp:
        raise BAD_SPLIT.error(
            path=f"{path}.tp", tp=tp, model=name, why=f"they do not divide its {heads} heads", hint="a divisor of the heads"
        )
    if tp > group.device_count:
        raise BAD_SPLIT.error(path=f"{path}.tp", tp=tp, model=name, why=f"{group.name!r} has {group.device_count}", hint="at most so many")
    if (tp < group.per_node and group.per_node % tp) or (tp > group.per_node and tp % group.per_node):
        raise BAD_SPLIT.error(
            path=f"{path}.tp",
            tp=tp,
            model=name,
            why=f"replicas would lie across nodes of {group.per_node} unevenly",
            hint=f"a divisor or a multiple of {group.per_node}",
        )


def _memory(replica: Replica, network: Network, longest: int, tokens: int, slots: int, path: str) -> tuple[dict[str, float], float]:
    """Return what a device holds before any cache, and how many tokens of cache there is room for.

    Raises
    ------
    InputError
        Weights and buffers do not fit, or the longest request does not.
    """
    has = float(np.asarray(replica.device.memory_bytes))
    body, ends = (float(x) for x in weight_bytes(replica))
    terms = {"weights": (body + ends) / replica.tp, "buffers": float(working_bytes(replica, tokens, slots))}
    room = has * replica.memory_frac - sum(terms.values())
    if room <= 0:
        raise TOO_LARGE.error(
            path=path,
            model=network.id,
            need=readable(sum(terms.values()), "data size", 3),
            weights=replica.weights,
            room=readable(has * replica.memory_frac, "data size", 3),
            has=readable(has, "data size", 3),
            hint=_lighter(replica, has, terms),
        )
    each = float(cache_bytes(replica))
    if not each:
        return terms, math.inf
    if room / each < longest:
        raise NO_ROOM.error(path=path, tokens=int(room / each), need=longest, hint=_lighter(replica, has, terms))
    return terms, room / each


def _lighter(replica: Replica, has: float, terms: dict[str, float]) -> str:
    """Say over how many devices, or in which formats, it would fit."""
    body = terms["weights"] * replica.tp
    most = int(np.asarray(replica.model.heads)) if isinstance(replica.model, Model) else 1
    wider = [
        tp for tp in (2, 4, 8, 16, 32, 64) if replica.tp < tp <= most and most % tp == 0 and body / tp < 0.8 * has * replica.memory_frac
    ]
    stored = WEIGHTS[replica.weights][0]
    lighter = [
        name
        for name in ("fp8", "int4")
        if WEIGHTS[name][0] < stored and body * WEIGHTS[name][0] / stored / replica.tp < 0.8 * has * replica.memory_frac
    ]
    words = ([f"tp: {wider[0]}"] if wider else []) + ([f"weights: {lighter[0]}"] if lighter else [])
    return " or ".join(words) or "devices with more memory, or more of them"


def _transfer_s(replica: Replica, group: NodeGroup, cluster: Cluster) -> float:
    """Return the time in which the cache of one token goes to another replica, over the ports of the sending one."""
    each = float(cache_bytes(replica)) * replica.tp
    accelerator = group.accelerator
    if cluster.fabric is not None and math.isfinite(group.injection_bytes_per_s):
        return each / (group.injection_bytes_per_s * max(replica.tp / group.per_node, 1.0 / group.per_node))
    rate = accelerator.scale_up_bytes_per_s if accelerator is not None else None
    return each / (replica.tp * rate) if rate else 0.0


def plan_serving(name: str, spec: ServingSpec, cluster: Cluster, catalog: Catalog, *, folder: str | Path = ".") -> ServingPlan:
    """Return the plan of one service.

    Parameters
    ----------
    name : str
        Its key in the scenario.
    spec : ServingSpec
    cluster : Cluster
    catalog : Catalog
        Where the model is looked up.
    folder : path
        Where a model's ``config`` is looked for.

    Raises
    ------
    InputError
        Unknown names, a model that is not served, does not split or does not fit – with what would; an objective that is out of reach; too few
        nodes for the load.
    """
    path = f"workload.serving.{name}"
    group = _group(spec, cluster, path)
    network = resolve_model(spec.model, catalog, name=name, path=f"{path}.model", folder=folder)
    model = cost_model(network)
    _check_model(network, model, spec, path)
    _check_split(network, model, spec, group, path)
    load = _checked_load(spec, path)
    device = calibrated_device(cost_device(group, catalog), group, catalog)
    span = max(math.ceil(spec.tp / group.per_node), 1)
    fabric = calibrated_fabric(cost_fabric(group, cluster, span, path), group, cluster, catalog)
    replica = Replica(model, device, fabric, spec.tp, spec.weights, spec.cache, spec.memory)
    frame = _frame(replica, spec, network, path)
    passes, demand, slots = frame.passes, frame.demand, frame.slots
    access = spec.access
    service = Service(
        passes=passes,
        replicas=spec.replicas or 1,
        slots=slots,
        beside=bool(frame.chunk),
        apart=spec.prefill_replicas or 0,
        routing=spec.routing,
        way_s=2.0 * access.latency + ((access.request + access.answer) / access.rate if access.rate else 0.0),
        jitter_s=access.jitter,
        transfer_s=_transfer_s(replica, group, cluster) if spec.prefill == "apart" else 0.0,
    )
    service, found = _sized(service, demand, spec, group, name, path)
    copies = service.replicas + service.apart
    nodes = _nodes(copies, spec.tp, group)
    if nodes > group.count:
        raise OVER_GROUP.error(path=f"{path}.replicas", need=copies, tp=spec.tp, nodes=nodes, group=group.name, count=group.count)
    found = found if load == spec.load else steady(service, demand, load)
    highest = float(load_parts(spec, spec.lasts_s)[1].max())
    peak = found if highest == load else steady(service, demand, highest)
    batch = max(min(found.batch + (1.0 if demand.steps else 0.0), float(slots)), 1.0)
    span_w, host_w = _power(group, spec.tp)
    return ServingPlan(
        name=name,
        path=path,
        spec=spec,
        network=network,
        group=group,
        replica=replica,
        passes=passes,
        replicas=service.replicas,
        apart=service.apart,
        nodes=nodes,
        devices=copies * spec.tp,
        slots=slots,
        most_slots=frame.most_slots,
        room_tokens=frame.room_tokens,
        pass_tokens=frame.pass_tokens,
        chunk=frame.chunk,
        service=service,
        demand=demand,
        steady=found,
        peak=peak,
        kept_load_per_s=_kept_load_per_s(service, demand, spec),
        memory=frame.memory,
        memory_capacity_bytes=float(np.asarray(device.memory_bytes)),
        step_terms=decode_terms(replica, batch, batch * demand.context) if demand.steps else _prefill_terms(replica, passes, demand),
        span_w=span_w,
        host_w=host_w,
        notes=_notes(spec, name, service, found, peak, nodes, group, replica),
    )


@dataclass(frozen=True)
class _Frame:
    """What a replica can do, whatever the load: fields as in :class:`ServingPlan`."""

    passes: Passes
    demand: Demand
    slots: int
    most_slots: int
    room_tokens: float
    pass_tokens: int
    chunk: int
    memory: dict[str, float]


def _frame(replica: Replica, spec: ServingSpec, network: Network, path: str) -> _Frame:
    prompts, outputs = length_nodes(spec.prompt.mean, spec.prompt.spread), length_nodes(spec.output.mean, spec.output.spread)
    pass_tokens = spec.pass_tokens or (1 if isinstance(replica.model, Work) else _PASS_TOKENS)
    chunk = (spec.chunk or _CHUNK) if spec.prefill == "chunked" else 0
    most = spec.slots or _MOST_SLOTS
    longest, longest_answer = (int(drawn_lengths(length, np.array([1.0]))[0]) for length in (spec.prompt, spec.output))
    decodes = longest_answer > 1
    widest = chunk + most if chunk else max(pass_tokens, longest, most if decodes else 1)
    memory, room = _memory(replica, network, longest + longest_answer, widest, most if decodes else 1, path)
    passes = passes_of(replica, tokens=widest, scored=most + 1)
    demand = Demand.of(passes, prompts, outputs, chunk or None)
    slots = int(min(most, math.floor(room / demand.held))) if math.isfinite(room) else most
    memory["cache"] = min(slots * demand.held, room if math.isfinite(room) else 0.0) * float(cache_bytes(replica))
    return _Frame(passes, demand, slots, most, room, pass_tokens, chunk, memory)


def _checked_load(spec: ServingSpec, path: str) -> float:
    """Return the mean load of the time in which requests arrive [1/s]."""
    load = mean_load_per_s(spec, spec.lasts_s)
    if not load:
        assert spec.profile is not None
        time, period = (readable(seconds, "time", 3) for seconds in (spec.lasts_s, spec.profile.period))
        raise NO_LOAD.error(path=f"{path}.duration", time=time, period=period)
    if load * spec.lasts_s > MOST_REQUESTS:
        raise TOO_MANY.error(path=f"{path}.load", requests=load * spec.lasts_s, limit=MOST_REQUESTS)
    return load


def _power(group: NodeGroup, tp: int) -> tuple[float | None, float]:
    """Return a device's span between idle and highest power, None where a power is not known, and what the rest of a node draws for one
    replica at work above idle [W]."""
    a = group.accelerator
    if a is None or a.idle_w is None or a.tdp_w is None or group.idle_w is None or group.max_w is None:
        return None, 0.0
    return a.tdp_w - a.idle_w, HOST_LOAD_FRAC * (group.max_w - group.idle_w) * tp / group.per_node


def check_room(plans: Sequence[ServingPlan], problems: Problems) -> None:
    """Note services that together take more nodes of a group than it has."""
    for group in {plan.group.name: plan.group for plan in plans}.values():
        mine = [plan for plan in plans if plan.group.name == group.name]
        need = sum(plan.nodes for plan in mine)
        if len(mine) > 1 and need > group.count:
            problems.add(
                TOGETHER(
                    path=mine[-1].path, names=" and ".join(plan.name for plan in mine), nodes=need, group=group.name, count=group.count
                )
            )


def _prefill_terms(replica: Replica, passes: Passes, demand: Demand) -> dict[str, float]:
    tokens = float(np.median(demand.tokens))
    found = {key: float(value) for key, value in pass_terms(replica, tokens).items()}
    found["attention"] = passes.attention_s(tokens)
    found["head"] = float(passes.head_s[1])
    found["launch"] = max(passes.host_s - sum(found.values()), 0.0)
    return found


def _nodes(copies: int, tp: int, group: NodeGroup) -> int:
    """Return the nodes that copies take: several to a node, or several nodes a copy."""
    return math.ceil(copies / (group.per_node // tp)) if tp <= group.per_node else copies * (tp // group.per_node)


def _peak_factor(spec: ServingSpec) -> float:
    return 1.0 if spec.profile is None else max(spec.profile.parts) * len(spec.profile.parts) / sum(spec.profile.parts)


def _misses(found: Steady, spec: ServingSpec) -> list[tuple[str, str, float, float]]:
    """Return the objectives that are missed: name, key, limit, what is reached."""
    goals, out = spec.objectives, []
    for what, key, limit, times in (
        ("the time to the first token", "ttft", goals.ttft, found.ttft_s),
        ("the time per token", "tpot", goals.tpot, found.tpot_s),
        ("the answer", "deadline", goals.deadline, found.latency_s),
    ):
        some = times[~np.isnan(times)]
        if limit is not None and len(some):
            reached = float(np.quantile(some, goals.quantile, method="inverted_cdf"))
            if reached > limit:
                out.append((what, key, limit, reached))
    return out


def _sized(service: Service, demand: Demand, spec: ServingSpec, group: NodeGroup, name: str, path: str) -> tuple[Service, Steady]:
    """Return the service with its number of replicas, and its steady state at the mean load."""
    if spec.replicas is not None:
        return service, steady(service, demand, spec.load)
    highest = spec.load * _peak_factor(spec)
    alone = steady(
        dataclasses.replace(service, replicas=1, routing="own"), demand, 1e-6 * min(1.0, 1.0 / max(float(demand.outputs.mean()), 1.0))
    )
    for what, key, limit, reached in _misses(alone, spec):
        hint = {
            "ttft": "more devices a replica (tp), shorter prompts, or a longer time",
            "tpot": "more devices a replica (tp), lighter weights, or a longer time",
        }
        raise OUT_OF_REACH.error(
            path=f"{path}.objectives.{key}",
            what=what,
            limit=readable(limit, "time", 3),
            share=f"{100 * spec.objectives.quantile:g} %",
            alone=readable(reached, "time", 3),
            hint=hint.get(key, "a nearer place, a quicker device, or a longer time"),
        )

    most = capacity_per_s(dataclasses.replace(service, replicas=1), demand)

    def keeps(replicas: int) -> bool:
        asked = dataclasses.replace(service, replicas=replicas)
        found = steady(asked, demand, highest / spec.target, most_per_s=None if service.apart else replicas * most)
        return found.stable and not _misses(found, spec)

    per_node = max(group.per_node // spec.tp, 1)
    room = group.count * per_node if spec.tp <= group.per_node else group.count // (spec.tp // group.per_node)
    least = _least(keeps, max(8 * room, 1024))
    if least is None or least + service.apart > room:
        need = (least or max(8 * room, 1024)) + service.apart
        raise TOO_FEW.error(
            path=f"{path}.replicas",
            name=name,
            need=need if least else f"more than {need:,}",
            load=highest,
            group=group.name,
            room=room,
            nodes=_nodes(need, spec.tp, group),
        )
    service = dataclasses.replace(service, replicas=least)
    return service, steady(service, demand, spec.load)


def _kept_load_per_s(service: Service, demand: Demand, spec: ServingSpec) -> float:
    """Return the largest load at which every objective is expected to be kept; what can be served at all where none is given, 0 where none
    is kept."""
    most = capacity_per_s(service, demand)
    goals = spec.objectives
    if goals.ttft is None and goals.tpot is None and goals.deadline is None:
        return most
    low, high = 0.0, most
    for _ in range(14):
        mid = (low + high) / 2.0
        found = steady(service, demand, mid, most_per_s=most)
        low, high = (mid, high) if found.stable and not _misses(found, spec) else (low, mid)
    return low


def _least(keeps: Callable[[int], bool], most: int) -> int | None:
    """Return the smallest number up to about ``most`` that keeps a condition which every larger one keeps too."""
    high = 1
    while not keeps(high):
        high *= 2
        if high > most:
            return None
    low = high // 2
    while high - low > 1:
        mid = (low + high) // 2
        low, high = (low, mid) if keeps(mid) else (mid, high)
    return high


def _cut_note(spec: ServingSpec, name: str, load: float, highest: float) -> str:
    """Say which part of the profile is run, and with which load, where that is not the load that is given."""
    assert spec.profile is not None
    count, period = len(spec.profile.parts), readable(spec.profile.period, "time", 3)
    last = len(load_parts(spec, spec.lasts_s)[1])
    which = f"the first of the {count} parts" if last == 1 else f"parts 1 to {last} of {count}"
    which = which if last <= count else f"{spec.lasts_s / spec.profile.period:.3g} times the {count} parts"
    return (
        f"Beware: {name} runs {readable(spec.lasts_s, 'time', 3)} of a profile of {period}, {which}: {load:.4g} requests a second on average there "
        f"and {highest:.4g} at most, {spec.load:.4g} and {spec.load * _peak_factor(spec):.4g} over all of it. With duration: {period}, or none, all of it is run."
    )


def _notes(
    spec: ServingSpec,
    name: str,
    service: Service,
    found: Steady,
    peak: Steady,
    nodes: int,
    group: NodeGroup,
    replica: Replica,
) -> tuple[str, ...]:
    notes = []
    copies = service.replicas + service.apart
    if found.load_per_s != spec.load:
        notes.append(_cut_note(spec, name, found.load_per_s, peak.load_per_s))
    if spec.replicas is None:
        notes.append(
            f"{name}: {service.replicas} replicas are the fewest of which the load takes {spec.target:.0%} at most of what keeps the objectives."
        )
    if not peak.stable:
        when = "at its peak " if found.stable else ""
        notes.append(
            f"Beware: {name} gets {peak.load_per_s:.4g} requests a second {when}and can serve {peak.capacity_per_s:.4g}: the queue grows, and its waits depend on how long that lasts."
        )
    elif (missed := _misses(peak, spec)) and spec.replicas is not None:
        notes.append(
            f"{name} is expected to miss "
            + ", ".join(f"{what} ({readable(reached, 'time', 3)} of {readable(limit, 'time', 3)})" for what, _, limit, reached in missed)
            + "."
        )
    idle = nodes * group.per_node - copies * spec.tp
    if idle > 0:
        notes.append(f"{name} holds whole nodes: {idle} of their devices have no replica on them.")
    precision = serving_precision(replica.weights, replica.device)
    own = WEIGHTS[replica.weights][1]
    if own and precision.matmul not in own:
        notes.append(
            f"{replica.device.name} has no {replica.weights} arithmetic: weights in {replica.weights} are brought to {precision.matmul} to be worked with."
        )
    return tuple(notes)
