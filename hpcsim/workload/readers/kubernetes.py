"""Lists of pods: ``kubectl get pods -o json`` (all namespaces or one), as jobs.

Reference: Kubernetes API, core/v1 Pod: a pod asks for what its containers ask for together, or for what its largest init container asks for
where that is more; a request that is not given is the limit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hpcsim.workload.jobs import Finding, Trace, TraceOptions, trace_readers
from hpcsim.workload.readers.dated import trace_of
from hpcsim.workload.readers.moments import moments
from hpcsim.workload.readers.rows import Rows
from hpcsim.workload.readers.slurm import listed, parsed_json
from hpcsim.workload.readers.text import decoded, unpacked

__all__ = ["KubernetesReader", "quantity"]

_SUFFIX = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip
_DEVICES = (
    "nvidia.com/gpu",
    "amd.com/gpu",
    "gpu.intel.com/i915",
    "gpu.intel.com/xe",
    "google.com/tpu",
    "habana.ai/gaudi",
    "aws.amazon.com/neuron",
)
_SLICES = "nvidia.com/mig-"


def quantity(text: Any) -> float:
    """Return a Kubernetes quantity: ``500m`` is 0.5, ``1Gi`` 2³⁰; NaN where it is none.

    >>> quantity("500m"), quantity("2"), quantity("1Gi") == 2**30
    (0.5, 2.0, True)
    """
    word = str(text).strip()
    digits = word.rstrip("numkMGTPEi")
    suffix = word[len(digits) :]
    try:
        return float(digits) * _SUFFIX[suffix]
    except (ValueError, KeyError):
        try:
            return float(word)
        except ValueError:
            return np.nan


def _share(resource: str) -> float:
    """Return the part of a device that a MIG slice is: ``nvidia.com/mig-3g.20gb`` has 3 of 7 compute slices."""
    slices = resource.removeprefix(_SLICES).partition("g")[0]
    return int(slices) / 7 if slices.isdigit() else 1.0


def _asked(container: dict[str, Any]) -> tuple[float, float, float]:
    """Return processors, bytes and accelerators of one container."""
    given = container.get("resources") or {}
    asks = {**(given.get("limits") or {}), **(given.get("requests") or {})}
    devices = sum(quantity(asks[name]) for name in _DEVICES if name in asks)
    devices += sum(quantity(count) * _share(name) for name, count in asks.items() if name.startswith(_SLICES))
    return quantity(asks.get("cpu", 0)), quantity(asks.get("memory", 0)), devices


def _pod(pod: dict[str, Any]) -> dict[str, Any]:
    meta, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    running = np.nansum([_asked(c) for c in spec.get("containers") or []], axis=0) if spec.get("containers") else np.zeros(3)
    first = [_asked(c) for c in spec.get("initContainers") or []]
    cores, size, devices = np.maximum(running, np.nanmax(first, axis=0)) if first else running
    phase = str(status.get("phase", ""))
    scheduled = next(
        (
            c.get("lastTransitionTime")
            for c in status.get("conditions") or []
            if c.get("type") == "PodScheduled" and c.get("status") == "True"
        ),
        None,
    )
    ended = [
        c["state"]["terminated"].get("finishedAt")
        for c in status.get("containerStatuses") or []
        if (c.get("state") or {}).get("terminated")
    ]
    labels = meta.get("labels") or {}
    return {
        "job": f"{meta.get('namespace', 'default')}/{meta['name']}",
        "submit": str(meta.get("creationTimestamp") or ""),
        "start": str(scheduled or status.get("startTime") or ""),
        "end": max((str(moment) for moment in ended if moment), default="") if phase in ("Succeeded", "Failed") else "",
        "state": phase,
        "estimate": quantity(spec.get("activeDeadlineSeconds", "")),
        "processors": float(cores),
        "gpus": float(devices),
        "memory": float(size),
        "user": str(labels.get("user") or labels.get("app.kubernetes.io/created-by") or meta.get("namespace", "default")),
        "group": str(meta.get("namespace", "default")),
        "queue": str(labels.get("kueue.x-k8s.io/queue-name") or spec.get("schedulerName") or ""),
        "qos": str(spec.get("priorityClassName") or status.get("qosClass") or ""),
        "priority": float(spec.get("priority", np.nan) if spec.get("priority") is not None else np.nan),
    }


@trace_readers.register("kubernetes")
class KubernetesReader:
    """``kubectl get pods -o json``: each pod is a job. Line numbers in its findings are places in the list, from 1."""

    suffixes = ()

    @staticmethod
    def sniff(opening: str) -> bool:
        """Return whether a file that begins so is of this format."""
        return opening.lstrip().startswith("{") and '"apiVersion"' in opening and ('"kind": "Pod' in opening or '"kind": "List"' in opening)

    @staticmethod
    def read(path: str | Path, options: TraceOptions) -> Trace:
        """Return the jobs of a list of pods."""
        name = str(path)
        text, findings = decoded(unpacked(path), name)
        items = listed(parsed_json(text, name), "items", name, "export with kubectl get pods --all-namespaces -o json")
        good, places, bad = [], [], []
        for at, pod in enumerate(items, start=1):
            try:
                good.append(_pod(pod))
                places.append(at)
            except (AttributeError, TypeError, KeyError, ValueError):
                bad.append(at)
        if bad:
            findings.append(Finding("entry that is no pod", len(bad), "dropped", f"entry {bad[0]}"))
        keys = list(good[0]) if good else []
        words = ("job", "submit", "start", "end", "state", "user", "group", "queue", "qos")
        columns = {key: np.array([row[key] for row in good], dtype=object if key in words else np.float64) for key in keys}
        rows = Rows(columns, np.array(places, dtype=np.int64), findings, unit="entry")
        for key in ("submit", "start", "end") if good else ():
            rows.columns[key] = moments(rows, rows[key], zone=options.zone, what=f"{key} time")
        if good:
            rows.columns |= {"active": rows["state"] == "Running", "pending": rows["state"] == "Pending"}
            whole = np.maximum(np.ceil(rows["processors"] - 1e-9), 1.0)
            rows.note(whole != rows["processors"], "processors not whole: rounded up", "repaired")
            rows.columns["processors"] = whole
        return trace_of(rows, options, file=name, rows_read=len(items))
