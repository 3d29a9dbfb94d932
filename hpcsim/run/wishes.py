"""What the jobs of a table ask for beside processors: features of their nodes, licences, burst buffer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from hpcsim.cluster.parts import NodeGroup
from hpcsim.run.pools import features_of
from hpcsim.scenario.scheduler import SchedulerSpec
from hpcsim.scheduling.machine import Bools
from hpcsim.workload.jobs import Finding, JobTable

__all__ = ["Wishes", "licences_of", "with_features"]

_FEATURE = re.compile(r"[\w.:+-]+")


def with_features(text: str, features: Mapping[str, Bools]) -> Bools | None:
    """Return which nodes have the features that a constraint asks for: ``a&b`` or ``a,b`` both, ``a|b`` one of them; ``&`` binds more tightly.

    None where it asks for counts, brackets or anything else. A feature that no node has is had by none.

    Examples
    --------
    >>> nodes = {"ib": np.array([True, True, False]), "a100": np.array([False, True, True])}
    >>> with_features("ib&a100", nodes).tolist(), with_features("a100|ib", nodes).tolist(), with_features("[ib*2]", nodes)
    ([False, True, False], [True, True, True], None)
    """
    none = np.zeros_like(next(iter(features.values())))
    found = none
    for either in text.split("|"):
        words = [word.strip() for word in re.split("[&,]", either)]
        if not all(_FEATURE.fullmatch(word) for word in words):
            return None
        found = found | np.logical_and.reduce([features.get(word, none) for word in words])
    return found


def licences_of(text: str) -> dict[str, int] | None:
    """Return how many of which licence a job takes; None where that is not a plain list.

    Examples
    --------
    >>> licences_of("matlab:2,ansys"), licences_of("a|b")
    ({'matlab': 2, 'ansys': 1}, None)
    """
    taken: dict[str, int] = {}
    for part in re.split("[,;]", text):
        match = re.fullmatch(r"\s*([\w.@+-]+)(?:[:*=](\d+))?\s*", part)
        if match is None:
            return None
        taken[match[1]] = taken.get(match[1], 0) + int(match[2] or 1)
    return {name: count for name, count in taken.items() if count}


class Wishes:
    """Features, licences and burst buffer of the jobs of one table.

    Parameters
    ----------
    scheduler : SchedulerSpec
        What there is.
    groups : sequence of NodeGroup
        The jobs' nodes; the name of a group, its node type and its accelerator are features of its nodes.
    jobs : JobTable
        The jobs.
    nodes : mapping of str to bool array, shape (nodes,)
        Which nodes have each feature.
    """

    def __init__(self, scheduler: SchedulerSpec, groups: Sequence[NodeGroup], jobs: JobTable, nodes: Mapping[str, Bools]) -> None:
        self._jobs = jobs
        self._features = {**features_of(groups), **nodes}
        self._counted = scheduler.licences
        self._buffer = scheduler.burst_buffer
        self._text = jobs.filled("constraint")
        self._nodes = {number: with_features(jobs.label("constraint", number), self._features) for number in _present(self._text)}
        known = (
            self._nodes if scheduler.features else [n for n in self._nodes if len(groups) > 1 and self._knows(jobs.label("constraint", n))]
        )
        self._held = frozenset(known)
        """Constraints that jobs are held to: all where features are given; over several groups, those that name nothing else than these."""
        self._licences = jobs.filled("licences")
        self._taken = {number: licences_of(jobs.label("licences", number)) for number in _present(self._licences)}
        self._bytes = np.ceil(jobs.filled("buffer_bytes")).astype(np.int64)

    def _knows(self, text: str) -> bool:
        return all(word.strip() in self._features for word in re.split("[&,|]", text))

    @property
    def places(self) -> bool:
        """Whether some job is held to features."""
        return bool(self._held)

    def nodes(self, row: int) -> Bools | None:
        """Return which nodes a job may use by its features; None for all."""
        number = int(self._text[row])
        return self._nodes[number] if number in self._held else None

    def licences(self, row: int) -> dict[str, int]:
        """Return how many of which licence a job takes, of those that are counted."""
        taken = self._taken.get(int(self._licences[row])) or {}
        return {name: count for name, count in taken.items() if name in self._counted}

    def buffer(self, row: int) -> int:
        """Return the burst buffer that a job takes [bytes]; 0 where the machine has none."""
        return int(self._bytes[row]) if self._buffer is not None else 0

    def refused(self) -> dict[str, Bools]:
        """Return which jobs ask for what there is not, by what that is."""
        broken: dict[str, Bools] = {}
        if self._held:
            held = {number: self._nodes[number] for number in self._held}
            odd = [number for number, nodes in held.items() if nodes is None]
            none = [number for number, nodes in held.items() if nodes is not None and not nodes.any()]
            broken["asks for features in a way that is not modelled (counts, brackets)"] = np.isin(self._text, odd)
            broken["asks for features that no node has"] = np.isin(self._text, none)
        if self._counted:
            odd = [number for number, taken in self._taken.items() if taken is None]
            none = [number for number, taken in self._taken.items() if taken and not set(taken) <= set(self._counted)]
            broken["asks for licences in a way that is not modelled (alternatives)"] = np.isin(self._licences, odd)
            broken["asks for a licence that there is not"] = np.isin(self._licences, none)
        return broken

    def ignored(self) -> list[Finding]:
        """Return what jobs ask for that nothing in the scenario holds them to."""
        found = []
        for asked, held, what, key in (
            ((self._text >= 0) & ~np.isin(self._text, list(self._held)), False, "features of nodes", "scheduler.features"),
            (self._licences >= 0, bool(self._counted), "licences", "scheduler.licences"),
            (self._bytes > 0, self._buffer is not None, "burst buffer", "scheduler.burst_buffer"),
        ):
            if asked.any() and not held:
                found.append(
                    Finding(
                        f"asks for {what}, to which it is not held without {key}",
                        int(asked.sum()),
                        "kept",
                        f"job {self._jobs.job_id[asked][0]}",
                    )
                )
        return found


def _present(numbers: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[int]:
    return [number for number in np.unique(numbers).tolist() if number >= 0]
