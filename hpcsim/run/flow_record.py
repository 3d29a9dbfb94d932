"""Who sent how much to whom and when, written down while a simulation runs: flows, and the load of the links over time."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hpcsim.cluster.ways import Ways
from hpcsim.engine.contention import Contention, Load

__all__ = ["MOST_FLOWS", "FlowRecord"]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MOST_FLOWS = 50_000
"""Rows of the table of flows; above it the times of an activity are one row for each pair, and after that the largest are kept."""
_LINKS, _BINS = 40, 120
"""Links and intervals of the load over time at most."""


class _Sent(NamedTuple):
    """What a load sent between two times, shape (sub-flows,)."""

    load: Load
    start_s: float
    end_s: float
    size_bytes: FloatArray


class FlowRecord:
    """Writes down what activities send; hand :meth:`note` to :attr:`hpcsim.engine.contention.Contention.watch`.

    Parameters
    ----------
    network : Contention
    ways : Ways
    """

    def __init__(self, network: Contention, ways: Ways) -> None:
        self._network, self._ways = network, ways
        self._sent: list[_Sent] = []
        self.notes: list[str] = []

    def note(self, load: Load, start_s: float, end_s: float, size_bytes: FloatArray) -> None:
        """Note what a load has sent."""
        if load.routes.flows and end_s > start_s and size_bytes.any():
            self._sent.append(_Sent(load, start_s, end_s, size_bytes))

    def _rows(self) -> list[_Sent]:
        """Return what was sent, with all times of an activity as one where there are too many."""
        if sum(_pairs(sent.load).max(initial=-1) + 1 for sent in self._sent) <= MOST_FLOWS:
            return self._sent
        whole: dict[Load, _Sent] = {}
        for sent in self._sent:
            old = whole.get(sent.load, sent)
            size = sent.size_bytes if old is sent else old.size_bytes + sent.size_bytes
            whole[sent.load] = _Sent(sent.load, min(old.start_s, sent.start_s), max(old.end_s, sent.end_s), size)
        self.notes.append("Flows: all times of an activity are one row for each pair, from the first start to the last end.")
        return list(whole.values())

    def flows(self) -> dict[str, Any]:
        """Return the columns of the table ``flows``; sub-flows of a pair are one."""
        keys = ("flow", "source", "target", "size_bytes", "start_s", "end_s", "links", "alone_bytes_per_s", "rate_bytes_per_s")
        parts: dict[str, list[Any]] = {key: [] for key in keys}
        for sent in self._rows():
            for key, values in zip(keys, self._flows_of(sent), strict=True):
                parts[key].extend(values)
        if len(parts["flow"]) > MOST_FLOWS:
            keep = np.sort(np.argsort(-np.array(parts["size_bytes"]), kind="stable")[:MOST_FLOWS])
            self.notes.append(f"Flows: of {len(parts['flow']):,} the {MOST_FLOWS:,} that carry most are listed.")
            parts = {key: [values[i] for i in keep.tolist()] for key, values in parts.items()}
        order = np.argsort(np.array(parts["start_s"], dtype=np.float64), kind="stable").tolist()
        return {key: [values[i] for i in order] for key, values in parts.items()}

    def _flows_of(self, sent: _Sent) -> tuple[list[Any], ...]:
        load, pair = sent.load, _pairs(sent.load)
        _, first, own = np.unique(pair, return_index=True, return_inverse=True)
        count = first.size
        size = np.bincount(own, sent.size_bytes, count)
        alone = np.bincount(own, self._network.paces.alone(load) * load.weight, count)
        length = np.diff(load.routes.first)[first]
        source, target = self._ends(load, first)
        seconds = sent.end_s - sent.start_s
        keep = np.flatnonzero(size > 0).tolist()
        names = [f"{load.job} {load.activity}: {a} → {b}" for a, b in zip(source, target, strict=True)]
        columns: tuple[list[Any], ...] = (names, source, target, size.tolist())
        rest = ([sent.start_s] * count, [sent.end_s] * count, length.tolist(), alone.tolist(), (size / seconds).tolist())
        return tuple([values[i] for i in keep] for values in (*columns, *rest))

    def _ends(self, load: Load, flows: IntArray) -> tuple[list[str], list[str]]:
        """Return the names of where flows begin and end; without a fabric, of the server that they use."""
        routes, links = load.routes, self._ways.links
        a, b = routes.links[routes.first[flows]], routes.links[routes.first[flows + 1] - 1]
        if links is None:
            server = [self._ways.name(int(link)) for link in a]
            return server, [load.job] * len(server)
        tails, heads = links.tail[a], links.head[b]
        known = {int(v): links.vertex_name(int(v)) for v in np.unique(np.concatenate([tails, heads]))}
        return [known[v] for v in tails.tolist()], [known[v] for v in heads.tolist()]

    def over_time(self) -> dict[str, Any]:
        """Return the columns of the table ``link_use``: the load of the links that carried most, in equal intervals."""
        keys = ("link", "kind", "start_s", "end_s", "utilisation_frac")
        if not self._sent:
            return {key: [] for key in keys}
        begin_s, end_s = min(sent.start_s for sent in self._sent), max(sent.end_s for sent in self._sent)
        edges = np.linspace(begin_s, end_s, _BINS + 1)
        capacity = self._ways.capacity_bytes_per_s
        total = np.zeros(capacity.size)
        for sent in self._sent:
            np.add.at(total, sent.load.routes.links, np.repeat(sent.size_bytes, np.diff(sent.load.routes.first)))
        busy = np.argsort(-total / capacity, kind="stable")
        shown = np.sort(busy[: min(_LINKS, int((total > 0).sum()))])
        place = np.full(capacity.size, -1)
        place[shown] = np.arange(shown.size)
        carried = np.zeros((shown.size, _BINS))
        for sent in self._sent:
            at = place[sent.load.routes.links]
            size = np.repeat(sent.size_bytes, np.diff(sent.load.routes.first))
            whole = np.bincount(at[at >= 0], size[at >= 0], shown.size)
            inside = np.clip(np.minimum(edges[1:], sent.end_s) - np.maximum(edges[:-1], sent.start_s), 0.0, None)
            carried += np.outer(whole, inside / (sent.end_s - sent.start_s))
        use = np.minimum(carried / (capacity[shown, None] * np.diff(edges)), 1.0)
        row, column = (axis.ravel() for axis in np.indices(use.shape))
        name, kind = _told_apart([self._ways.name(i) for i in shown.tolist()]), [self._ways.kind(i) for i in shown.tolist()]
        return {
            "link": [name[i] for i in row.tolist()],
            "kind": [kind[i] for i in row.tolist()],
            "start_s": edges[column].tolist(),
            "end_s": edges[column + 1].tolist(),
            "utilisation_frac": use.ravel().tolist(),
        }


def _told_apart(names: list[str]) -> list[str]:
    """Return names of which none occurs twice: several cables between two ends are numbered."""
    often, seen = Counter(names), Counter[str]()
    found = []
    for name in names:
        seen[name] += 1
        found.append(f"{name} (cable {seen[name]})" if often[name] > 1 else name)
    return found


def _pairs(load: Load) -> IntArray:
    return np.arange(load.routes.flows) if load.pair is None else load.pair
