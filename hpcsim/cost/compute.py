"""Time of a device's own work: matrix products, streaming operations, and what rates a device sustains.

One physical parameter set per accelerator (:class:`Device`). A matrix product takes the longer of its arithmetic and its memory
traffic; the arithmetic is padded to tiles and to whole waves of tiles over the compute units, which is what makes small products
slow. With 28.7 µs of launch this reproduces 20 measured A100 products from 64 to 32768 within a few percent each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.cost.arguments import Array, Numeric, broadcast, fraction, non_negative, positive
from hpcsim.cost.parameters import DEFAULTS

__all__ = [
    "DEVICE_CLASSES",
    "PRECISIONS",
    "TILES",
    "Device",
    "DeviceClass",
    "Precision",
    "find_precision",
    "gemm_flop",
    "gemm_s",
    "mfu",
    "roofline_s",
    "stream_s",
    "tile_waves",
]

NO_PRECISION = problem_kind("precision-unsupported", "{device} has no {precision} arithmetic", "it has: {known}")
UNKNOWN_PRECISION = problem_kind("unknown-precision", "unknown precision {precision!r}", "one of: {known}")

TILES: tuple[tuple[int, int, float], ...] = ((256, 128, 1.0), (128, 128, 0.93), (128, 64, 0.80), (64, 64, 0.65))
"""Tiles a matrix library chooses from: rows, columns, rate relative to the largest."""


@dataclass(frozen=True, slots=True)
class Precision:
    """A number format of training.

    Attributes
    ----------
    matmul : str
        Key of the device's peak rates used by the linear layers.
    attention : str
        The same for the attention core.
    input_bytes : float
        Bytes of a matrix element that a linear layer reads.
    activation_bytes : float
        Bytes of an element kept between operations.
    weight_bytes, gradient_bytes : float
        Bytes a parameter as stored and as accumulated by default.
    master_bytes : float
        Bytes of a separate full-precision copy of the weights; 0 where the weights are it.
    cast_bytes : float
        Extra traffic per element of a linear layer's inputs, to bring it into the format.
    stored_bytes : float
        Bytes of a weight as a linear layer reads it, where that is not ``input_bytes`` (weights quantised beyond the arithmetic); else 0.
    """

    matmul: str
    attention: str
    input_bytes: float
    activation_bytes: float
    weight_bytes: float
    gradient_bytes: float
    master_bytes: float
    cast_bytes: float = 0.0
    stored_bytes: float = 0.0


PRECISIONS: Mapping[str, Precision] = MappingProxyType(
    {
        "fp32": Precision("fp32", "fp32", 4, 4, 4, 4, 0),
        "tf32": Precision("tf32", "tf32", 4, 4, 4, 4, 0),
        "fp16": Precision("fp16", "fp16", 2, 2, 2, 2, 4),
        "bf16": Precision("bf16", "bf16", 2, 2, 2, 2, 4),
        "fp8": Precision("fp8", "bf16", 1, 2, 2, 2, 4, 4.0),
        "mxfp8": Precision("fp8", "bf16", 1, 2, 2, 2, 4, 4.5),
        "nvfp4": Precision("fp4", "bf16", 0.5, 2, 2, 2, 4, 4.5),
    }
)
"""Formats by name. fp8 and below hold for the linear layers only: attention, norms and sums stay in 16 bits."""


_WIDTH_BITS: Mapping[str, float] = MappingProxyType(
    {"fp32": 32.0, "tf32": 19.0, "bf16": 16.0, "fp16": 16.0, "fp8": 8.0, "int8": 8.0, "fp4": 4.0}
)


@dataclass(frozen=True, slots=True)
class DeviceClass:
    """What is assumed of a kind of device where nothing was measured.

    Attributes
    ----------
    matmul_frac : float
        Rate that long dense products sustain, over peak.
    memory_frac : float
        Bandwidth that streaming kernels reach, over nominal.
    kernel_s : float
        Time a kernel takes to start and drain on the device.
    attention_frac : float
        Rate of a fused attention kernel over that of a large product.
    reserve_bytes : float
        Memory that driver, communication buffers and libraries keep for themselves: 1–3 GB on GPUs (from memory; the cautious end
        taken), little where a compiler plans all of it.
    """

    matmul_frac: float
    memory_frac: float
    kernel_s: float
    attention_frac: float
    reserve_bytes: float


DEVICE_CLASSES: Mapping[str, DeviceClass] = MappingProxyType(
    {
        "gpu": DeviceClass(0.80, 0.85, 4e-6, DEFAULTS.gpu_attention_frac, 3.0e9),
        "tpu": DeviceClass(DEFAULTS.tpu_matmul_frac, 0.85, 2e-6, DEFAULTS.tpu_attention_frac, 0.5e9),
        "asic": DeviceClass(0.80, 0.80, 4e-6, 0.50, 2.0e9),
        "cpu": DeviceClass(0.75, 0.80, 1e-6, 0.50, 2.0e9),
        "fpga": DeviceClass(0.60, 0.80, 1e-6, 0.50, 0.5e9),
    }
)
"""Assumptions by category: between the measured 0.51 (MI300X) and 0.97 (Gaudi 2) of the matrix rates known, GPUs 0.73 to 0.87."""


@dataclass(frozen=True, slots=True)
class Device:
    """An accelerator as the formulas see it.

    Attributes
    ----------
    name, category : str
        The category is a key of :data:`DEVICE_CLASSES`.
    peak_flop_per_s : mapping of str to float
        Dense peak by precision.
    memory_bytes, memory_bytes_per_s : float or array
    sustained_flop_per_s : mapping of str to float
        Measured rate of large products by precision, where known.
    compute_units : int or array
        Streaming multiprocessors or compute units; 0 where work is not dealt out in waves.
    memory_frac, kernel_s, attention_frac, matmul_frac : float, array or None
        Override the class's assumption.
    year : float or array
        First shipment of this architecture, 0 where it is not known: kernels of older software are not tuned for it.
    doubt_sigma : float or array
        Standard deviation of the logarithm of a step's time that is added where rates are assumed and not measured.
    """

    name: str
    category: str
    peak_flop_per_s: Mapping[str, Numeric]
    memory_bytes: Numeric
    memory_bytes_per_s: Numeric
    sustained_flop_per_s: Mapping[str, Numeric] = field(default_factory=dict)
    compute_units: Numeric = 0
    memory_frac: Numeric | None = None
    kernel_s: Numeric | None = None
    attention_frac: Numeric | None = None
    matmul_frac: Numeric | None = None
    year: Numeric = 0.0
    doubt_sigma: Numeric = 0.0

    def __post_init__(self) -> None:
        positive("memory_bytes", self.memory_bytes)
        positive("memory_bytes_per_s", self.memory_bytes_per_s)
        non_negative("compute_units", self.compute_units)
        for name, rate in [*self.peak_flop_per_s.items(), *self.sustained_flop_per_s.items()]:
            positive(f"flop_per_s.{name}", rate)

    @property
    def assumed(self) -> DeviceClass:
        """Class assumptions of this category, a GPU's for an unknown one."""
        return DEVICE_CLASSES.get(self.category, DEVICE_CLASSES["gpu"])

    def peak(self, precision: str) -> Array:
        """Return the dense peak rate at a precision of :data:`PRECISIONS`.

        Raises
        ------
        InputError
            The precision is unknown, or the device has no such arithmetic.
        """
        return self._peak_key(find_precision(precision).matmul)

    def _peak_key(self, key: str) -> Array:
        if key not in self.peak_flop_per_s:
            raise NO_PRECISION.error(device=self.name, precision=key, known=", ".join(self.peak_flop_per_s))
        return np.asarray(self.peak_flop_per_s[key], dtype=np.float64)

    def sustained(self, key: str) -> Array:
        """Return the rate that large products sustain with the arithmetic ``key`` (such as ``"bf16"``).

        Measured where known; else the peak times the share measured for a neighbouring format of the same device, at most a tenth above
        the measured rate times the ratio of their bits, which is what the power they are limited by allows; else times the class's share.
        """
        if key in self.sustained_flop_per_s:
            return np.asarray(self.sustained_flop_per_s[key], dtype=np.float64)
        for other in ("bf16", "fp16", "fp8", "tf32", "fp32"):
            if other in self.sustained_flop_per_s and other in self.peak_flop_per_s:
                known = np.asarray(self.sustained_flop_per_s[other], float)
                scaled = self._peak_key(key) * known / np.asarray(self.peak_flop_per_s[other], float)
                halvings = _WIDTH_BITS.get(other, 16.0) / _WIDTH_BITS.get(key, 16.0)
                return np.asarray(np.where(halvings > 1.0, np.minimum(scaled, 1.1 * halvings * known), scaled))
        share = self.assumed.matmul_frac if self.matmul_frac is None else self.matmul_frac
        return np.asarray(self._peak_key(key) * np.asarray(share, float))

    @property
    def stream_bytes_per_s(self) -> Array:
        """Bandwidth that streaming kernels reach."""
        share = self.assumed.memory_frac if self.memory_frac is None else self.memory_frac
        return np.asarray(self.memory_bytes_per_s, dtype=np.float64) * np.asarray(share, dtype=np.float64)

    @property
    def ramp_s(self) -> Array:
        """Time a kernel takes to start and drain."""
        return np.asarray(self.assumed.kernel_s if self.kernel_s is None else self.kernel_s, dtype=np.float64)

    @property
    def attention_share(self) -> Array:
        """Rate of a fused attention kernel over that of a large product."""
        return np.asarray(self.assumed.attention_frac if self.attention_frac is None else self.attention_frac, dtype=np.float64)

    def at_clock(self, clock_frac: Numeric) -> Device:
        """Return the device with its arithmetic slowed to a share of its clock, as under a power cap; memory keeps its rate."""
        x = positive("clock_frac", fraction("clock_frac", clock_frac))
        return dataclasses.replace(
            self,
            peak_flop_per_s={k: np.asarray(v, float) * x for k, v in self.peak_flop_per_s.items()},
            sustained_flop_per_s={k: np.asarray(v, float) * x for k, v in self.sustained_flop_per_s.items()},
        )


def find_precision(name: str) -> Precision:
    """Return the format called ``name``.

    Raises
    ------
    InputError
        There is none.
    """
    if name not in PRECISIONS:
        raise UNKNOWN_PRECISION.error(path="precision", precision=name, known=", ".join(PRECISIONS))
    return PRECISIONS[name]


def roofline_s(flop: Numeric, size_bytes: Numeric, *, flop_per_s: Numeric, bytes_per_s: Numeric) -> Array:
    """Return max(FLOP/peak, bytes/bandwidth): nothing runs faster. Williams, Waterman, Patterson 2009."""
    f, b = non_negative("flop", flop), non_negative("size_bytes", size_bytes)
    rate, width = positive("flop_per_s", flop_per_s), positive("bytes_per_s", bytes_per_s)
    broadcast(f, b, rate, width)
    return np.asarray(np.maximum(f / rate, b / width))[()]


def stream_s(size_bytes: Numeric, *, bytes_per_s: Numeric, kernels: Numeric = 1.0, kernel_s: Numeric = 0.0) -> Array:
    """Return the time of memory-bound operations: bytes/bandwidth + kernels·start-up; no bytes, no time."""
    b, rate = non_negative("size_bytes", size_bytes), positive("bytes_per_s", bytes_per_s)
    count, start = non_negative("kernels", kernels), non_negative("kernel_s", kernel_s)
    broadcast(b, rate, count, start)
    return np.asarray(np.where(b > 0, b / rate + count * start, 0.0))[()]


def gemm_flop(m: Numeric, n: Numeric, k: Numeric, *, batch: Numeric = 1.0) -> Array:
    """Return 2·M·N·K·batch."""
    return np.asarray(2.0 * np.asarray(m, float) * np.asarray(n, float) * np.asarray(k, float) * np.asarray(batch, float))[()]


def tile_waves(
    m: Numeric, n: Numeric, *, tile: tuple[int, int] = (256, 128), compute_units: Numeric, batch: Numeric = 1.0
) -> tuple[Array, Array, Array]:
    """Return tiles, waves and the share of the waves' slots that do work.

    >>> [float(x) for x in tile_waves(4096, 4096, compute_units=108)][:2]
    [512.0, 5.0]
    """
    rows, columns, units = positive("m", m), positive("n", n), positive("compute_units", compute_units)
    tiles = np.ceil(rows / tile[0]) * np.ceil(columns / tile[1]) * positive("batch", batch)
    waves = np.ceil(tiles / units)
    return tiles[()], waves[()], np.asarray(tiles / (waves * units))[()]


def gemm_s(
    m: Numeric,
    n: Numeric,
    k: Numeric,
    *,
    flop_per_s: Numeric,
    bytes_per_s: Numeric,
    compute_units: Numeric = 0,
    batch: Numeric = 1.0,
    input_bytes: Numeric = 2.0,
    output_bytes: Numeric = 2.0,
    weight_bytes: Numeric | None = None,
    kernel_s: Numeric = 0.0,
) -> Array:
    """Return the time of a product of an M×K and a K×N matrix.

    t = t₀ + max(padded FLOP/rate, bytes/bandwidth), the FLOP padded to tiles and to whole waves of tiles over the compute units, the
    fastest of :data:`TILES` taken, and K split over up to four units where the tiles do not fill the device. Never below the
    roofline of the same two rates. Not monotone in throughput, but never faster for more rows.

    Parameters
    ----------
    m, n, k : float or array
        Sizes; fractional means are allowed (tokens of an average expert).
    flop_per_s, bytes_per_s : float or array
        Sustained arithmetic rate of a full wave, and memory bandwidth reached.
    compute_units : float or array
        0: no quantisation.
    batch : float or array
        Independent products of that shape in one kernel.
    input_bytes, output_bytes : float or array
        Bytes an element.
    weight_bytes : float or array, optional
        Bytes an element of the K×N matrix; ``input_bytes`` without it.
    kernel_s : float or array
        t₀, start-up of a kernel.
    """
    rows, cols, depth = positive("m", m), positive("n", n), positive("k", k)
    count = positive("batch", batch)
    rate, width, units = (
        positive("flop_per_s", flop_per_s),
        positive("bytes_per_s", bytes_per_s),
        non_negative("compute_units", compute_units),
    )
    read = np.asarray(input_bytes, float)
    inputs = read * (rows * depth + depth * cols) if weight_bytes is None else read * rows * depth + np.asarray(weight_bytes) * depth * cols
    traffic = count * (inputs + np.asarray(output_bytes, float) * rows * cols)
    work = 2.0 * rows * cols * depth * count
    arithmetic = np.asarray(work / rate)
    if (units > 0).any():
        some = np.where(units > 0, units, 1.0)
        best = np.full(np.broadcast_shapes(arithmetic.shape, some.shape), np.inf)
        for tile_rows, tile_cols, relative in TILES:
            tiles = np.ceil(rows / tile_rows) * np.ceil(cols / tile_cols) * count
            one = 2.0 * tile_rows * tile_cols * depth / (rate * relative) * some
            for split in (1.0, 2.0, 4.0):
                best = np.minimum(best, np.ceil(tiles * split / some) * one / split * (1.0 + 0.03 * (split - 1.0)))
        arithmetic = np.where(units > 0, best, arithmetic)
    return np.asarray(np.asarray(kernel_s, float) + np.maximum(np.maximum(arithmetic, work / rate), traffic / width))[()]


def mfu(model_flop: Numeric, *, devices: Numeric, peak_flop_per_s: Numeric, time_s: Numeric) -> Array:
    """Return FLOP/(devices·peak·time): model FLOP utilisation, or the hardware's if recomputed FLOP are counted; dense peak."""
    f, d = non_negative("model_flop", model_flop), positive("devices", devices)
    p, t = positive("peak_flop_per_s", peak_flop_per_s), positive("time_s", time_s)
    broadcast(f, d, p, t)
    return np.asarray(f / (d * p * t))[()]
