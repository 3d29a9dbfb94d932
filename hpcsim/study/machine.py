"""Measuring the machine that hpcsim runs on: matrix products and memory with numpy, with PyTorch also its GPU, power through nvidia-smi."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcsim.base.errors import InputError
from hpcsim.base.units import readable
from hpcsim.catalog.lookup import Catalog
from hpcsim.study.products import Product, fitted_products, measured_sources

if TYPE_CHECKING:
    from hpcsim.results.record import Results
    from hpcsim.study.calibrate import Calibration

__all__ = ["measure_machine", "median_s", "processor_name", "stream_bytes_per_s"]

_SIZES = (64, 128, 256, 512, 1024, 1536)
_GPU_SIZES = (256, 512, 1024, 2048, 4096, 8192)
_STREAM_ELEMENTS = 1 << 24


def median_s(work: Callable[[], Any], *, least_s: float = 0.05, most: int = 30) -> float:
    """Return the median time of ``work`` after one warm-up: at least three runs, until ``least_s`` have passed or ``most`` runs were made."""
    work()
    times: list[float] = []
    while len(times) < 3 or (sum(times) < least_s and len(times) < most):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def stream_bytes_per_s(elements: int = _STREAM_ELEMENTS) -> float:
    """Return the bandwidth of a[:] = b + c over arrays of float64 far beyond the caches: 24 bytes an element (McCalpin's add)."""
    b, c = np.ones(elements), np.ones(elements)
    a = np.zeros(elements)
    return 24.0 * elements / median_s(lambda: np.add(b, c, out=a))


def _numpy_products(sizes: tuple[int, ...] = _SIZES) -> list[Product]:
    rows = []
    for precision, dtype in (("fp32", np.float32), ("fp64", np.float64)):
        for size in sizes:
            a, b = np.ones((size, size), dtype), np.ones((size, size), dtype)
            out = np.empty((size, size), dtype)
            rows.append(Product(size, size, size, precision, median_s(lambda a=a, b=b, out=out: np.matmul(a, b, out=out))))  # type: ignore[misc]
    return rows


def processor_name() -> str:
    """Return this machine's processor as a catalog name: lower case with hyphens."""
    name = platform.processor() or platform.machine() or "processor"
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as text:
            found = re.search(r"^model name\s*:\s*(.+)$", text.read(), re.MULTILINE)
        name = found[1] if found else name
    except OSError:
        pass
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((r|tm)\)|@.*|\bcpu\b", " ", name.lower())).strip("-") or "processor"


def _memory_bytes() -> float | None:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return None


def _processor(products: list[Product], bandwidth: float) -> dict[str, Any]:
    best = {
        precision: max(2.0 * p.m * p.n * p.k / p.seconds for p in products if p.precision == precision)
        for precision in dict.fromkeys(p.precision for p in products)
    }
    rates = {precision: readable(rate, "compute rate", 4) for precision, rate in best.items()}
    fields: dict[str, Any] = {
        "category": "cpu",
        "peak": rates,
        "matmul": dict(rates),
        "memory_bandwidth": readable(bandwidth, "data rate", 4),
        "memory_efficiency": 1.0,
    }
    memory = _memory_bytes()
    if memory:
        fields["memory"] = readable(memory, "data size", 4)
    return fields


def _gpu_power_w() -> float | None:
    """Return what the first GPU draws now [W], where nvidia-smi says."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    try:
        answer = subprocess.run(
            [tool, "--query-gpu=power.draw", "--format=csv,noheader,nounits", "--id=0"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return float(answer.stdout.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def _torch_products() -> tuple[str, list[Product], float, Mapping[str, float]] | None:
    """Return the GPU's name, timed products, streaming bandwidth and power; None without PyTorch or a GPU."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch  # type: ignore[import-not-found,unused-ignore]

    if not torch.cuda.is_available():
        return None
    idle = _gpu_power_w()

    def timed(work: Callable[[], Any]) -> float:
        def whole() -> None:
            work()
            torch.cuda.synchronize()

        return median_s(whole, least_s=0.1)

    rows = []
    for precision, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        for size in _GPU_SIZES:
            a, b = torch.randn(size, size, device="cuda", dtype=dtype), torch.randn(size, size, device="cuda", dtype=dtype)
            rows.append(Product(size, size, size, precision, timed(lambda a=a, b=b: a @ b)))  # type: ignore[misc]
    x = torch.ones(1 << 28, device="cuda", dtype=torch.float32)
    y = torch.empty_like(x)
    bandwidth = 2.0 * 4.0 * x.numel() / timed(lambda: y.copy_(x))
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    until = time.perf_counter() + 2.0
    while time.perf_counter() < until:
        a @ a
        torch.cuda.synchronize()
    busy = _gpu_power_w()
    power = {key: value for key, value in (("idle", idle), ("busy", busy)) if value is not None}
    return str(torch.cuda.get_device_name(0)), rows, bandwidth, power


def _gpu(catalog: Catalog, overlay: dict[str, Any], notes: list[str]) -> None:
    found = _torch_products()
    if found is None:
        notes.append("No GPU was measured: that takes PyTorch with a device it can use.")
        return
    name, products, bandwidth, power = found
    short = re.sub(r"^(nvidia|amd|tesla)\s+", "", name.lower())
    try:
        entry = catalog.accelerator(short)
    except InputError:
        notes.append(f"The GPU {name!r} is not in the catalog; it was left out.")
        return
    fitted = fitted_products(products, entry, "", "")
    fields = dict(fitted.overlay["accelerators"][entry.id])
    fields.pop("sources")
    if entry.memory_bytes_per_s:
        fields["memory_efficiency"] = float(f"{min(bandwidth / entry.memory_bytes_per_s, 1.0):.4g}")
    if "idle" in power:
        fields["idle"] = readable(power["idle"], "power", 4)
    if "busy" in power:
        notes.append(f"{entry.id} draws {readable(power['busy'], 'power', 3)} on large matrix products.")
    overlay["accelerators"][entry.id] = {**fields, "sources": measured_sources(fields)}


def measure_machine(catalog: Catalog) -> Calibration:
    """Measure this machine and return it as an overlay: its processor as an accelerator of its own, and its GPU where there is one.

    Takes a few seconds. The processor's best measured rates stand for its peak, since nothing says how fast it could be.
    """
    from hpcsim.catalog.lookup import overlaid
    from hpcsim.study.calibrate import Calibration

    products = _numpy_products()
    bandwidth = stream_bytes_per_s()
    name = processor_name()
    fields = _processor(products, bandwidth)
    source = f"hpcsim calibrate --machine, numpy {np.__version__} on {platform.system()}, {os.cpu_count()} processors"
    overlay: dict[str, Any] = {
        "references": {"calibration": source},
        "accelerators": {name: {**fields, "sources": measured_sources(fields)}},
    }
    notes = [
        f"{name}: memory {readable(bandwidth, 'data rate', 3)}, best products "
        + ", ".join(f"{k} {v}" for k, v in fields["matmul"].items())
        + "."
    ]
    overlaid(catalog, [overlay]).accelerator(name)  # the overlay can be read
    _gpu(catalog, overlay, notes)
    return Calibration(_results(name, products, bandwidth, notes), overlay)


def _results(name: str, products: list[Product], bandwidth: float, notes: list[str]) -> Results:
    from hpcsim.results.provenance import provenance
    from hpcsim.results.record import Results
    from hpcsim.results.tables import frame

    rates = {
        p: max(2.0 * r.m * r.n * r.k / r.seconds for r in products if r.precision == p)
        for p in dict.fromkeys(r.precision for r in products)
    }
    values = [*rates.values(), bandwidth]
    fit = {
        "term": [*(f"matrix products, {precision}" for precision in rates), "memory bandwidth"],
        "entry": name,
        "prior": values,
        "fitted": values,
        "unit": [*["FLOP/s"] * len(rates), "B/s"],
        "prior_sigma": [0.0] * len(values),
        "posterior_sigma": [0.0] * len(values),
    }
    return Results(
        name="machine",
        question="How fast is this machine?",
        answer=notes[0],
        kind="calibrate",
        summary={"verified_cases": len(products)},
        tables={"fit": frame("fit", fit)},
        notes=notes,
        provenance=provenance(measurements="this machine"),
    )
