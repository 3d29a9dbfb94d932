"""Time to move and keep data: the slowest rate of a path, checkpoints, redundancy, durability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcsim.base.errors import problem_kind
from hpcsim.cost.arguments import Array, Numeric, broadcast, fraction, non_negative, positive, whole

__all__ = [
    "AES_BYTES_PER_S",
    "CHECKPOINT_BYTES_PER_PARAMETER",
    "TEXT_CODEC",
    "TOKEN_CODEC",
    "WEIGHT_CODEC",
    "Codec",
    "Redundancy",
    "checkpoint_bytes",
    "checkpoint_time_s",
    "compressed_rate",
    "deduplicated",
    "effective_rate",
    "encryption_cores",
    "erasure_coded",
    "lru_hit_frac",
    "mttdl_s",
    "pinned_hit_frac",
    "pipeline_time_s",
    "replicated",
    "transfer_time_s",
]

NO_RATE = problem_kind("storage-no-rate", "a transfer needs at least one rate", "name the rates of the source, the path and the sink")

CHECKPOINT_BYTES_PER_PARAMETER = 14.0
"""Weights of 2 bytes, master weights and two Adam moments of 4 each; BLOOM-176B's 2.3 TB are 13.1 bytes a parameter."""


def transfer_time_s(size_bytes: Numeric, *rates_bytes_per_s: Numeric, latency_s: Numeric = 0.0) -> Array:
    """Return latency + size over the least of the rates: source, path and sink work at once on a stream.

    Assumes a transfer long enough to fill the path and nothing else on it. No bytes cost nothing.

    >>> float(transfer_time_s(1e13, 6e9, 5.26e9, 4e9))
    2500.0
    """
    if not rates_bytes_per_s:
        raise NO_RATE.error()
    size, latency = non_negative("size_bytes", size_bytes), non_negative("latency_s", latency_s)
    rates = [positive("rate_bytes_per_s", r) for r in rates_bytes_per_s]
    broadcast(size, latency, *rates)
    slowest = rates[0]
    for rate in rates[1:]:
        slowest = np.minimum(slowest, rate)
    return np.asarray(np.where(size > 0, latency + size / slowest, 0.0))[()]


def effective_rate(hit_frac: Numeric, hit_bytes_per_s: Numeric, miss_bytes_per_s: Numeric) -> Array:
    """Return the mean rate behind a cache: 1/(h/B_hit + (1−h)/B_miss)."""
    h, fast, slow = (
        fraction("hit_frac", hit_frac),
        positive("hit_bytes_per_s", hit_bytes_per_s),
        positive("miss_bytes_per_s", miss_bytes_per_s),
    )
    broadcast(h, fast, slow)
    return np.asarray(1.0 / (h / fast + (1.0 - h) / slow))[()]


def pipeline_time_s(size_bytes: Numeric, rates_bytes_per_s: Numeric, size_ratios: Numeric | None = None) -> Array:
    """Return the time of data streamed through stages that all work at once: the slowest stage decides.

    Parameters
    ----------
    size_bytes : float
        Bytes into the first stage.
    rates_bytes_per_s : array, shape (stages,)
        Rate of each stage in bytes of *its* input.
    size_ratios : array, shape (stages,), optional
        Bytes out per byte in (compression below 1); 1 where absent.
    """
    rates = np.atleast_1d(positive("rates_bytes_per_s", rates_bytes_per_s))
    ratios = np.ones_like(rates) if size_ratios is None else np.atleast_1d(positive("size_ratios", size_ratios))
    broadcast(rates, ratios)
    entering = np.concatenate([[1.0], np.cumprod(ratios)[:-1]])
    return np.asarray(non_negative("size_bytes", size_bytes) * float((entering / rates).max()))[()]


def checkpoint_bytes(parameters: Numeric, *, bytes_per_parameter: Numeric = CHECKPOINT_BYTES_PER_PARAMETER) -> Array:
    """Return the size of a full training checkpoint."""
    return np.asarray(non_negative("parameters", parameters) * positive("bytes_per_parameter", bytes_per_parameter))[()]


def checkpoint_time_s(
    size_bytes: Numeric, *, nodes: Numeric, node_bytes_per_s: Numeric, storage_bytes_per_s: Numeric, latency_s: Numeric = 0.0
) -> Array:
    """Return the time to write or read a checkpoint sharded over nodes: all of them at once, or as fast as the storage takes it."""
    together = positive("nodes", nodes) * positive("node_bytes_per_s", node_bytes_per_s)
    return transfer_time_s(size_bytes, together, storage_bytes_per_s, latency_s=latency_s)


@dataclass(frozen=True, slots=True)
class Redundancy:
    """What a way of keeping data redundant costs.

    Attributes
    ----------
    factor : float or array
        Raw bytes per byte kept.
    losses : float or array
        Devices that may be lost at once.
    repair_read_factor : float or array
        Bytes read to rebuild one byte.
    """

    factor: Array
    losses: Array
    repair_read_factor: Array

    def usable_bytes(self, raw_bytes: Numeric, *, fill_frac: Numeric = 1.0) -> Array:
        """Return what of ``raw_bytes`` can be used when kept below ``fill_frac`` full."""
        return np.asarray(non_negative("raw_bytes", raw_bytes) * fraction("fill_frac", fill_frac) / self.factor)[()]


def replicated(copies: Numeric) -> Redundancy:
    """Return the redundancy of ``copies`` equal copies."""
    n = whole("copies", copies)
    return Redundancy(n, n - 1.0, np.ones_like(n))


def erasure_coded(data: Numeric, parity: Numeric) -> Redundancy:
    """Return the redundancy of a Reed–Solomon code with k data and m parity pieces: (k+m)/k, any m losses, k reads a repair."""
    k, m = whole("data", data), whole("parity", parity, low=0)
    broadcast(k, m)
    return Redundancy(np.asarray((k + m) / k)[()], m, k)


def mttdl_s(mttf_s: Numeric, mttr_s: Numeric, *, copies: int, parallel_repair: bool = True) -> Array:
    """Return the mean time to data loss of independent exponential devices: MTTF²/(2·MTTR) or MTTF³/(3·MTTR²).

    With one repair at a time three copies last half as long. Holds for MTTR ≪ MTTF; correlated failures dominate in practice.
    """
    f, r = positive("mttf_s", mttf_s), positive("mttr_s", mttr_s)
    broadcast(f, r)
    copies = int(whole("copies", copies))
    repairs = np.prod([i if parallel_repair else 1 for i in range(1, copies)])
    return np.asarray(f**copies * repairs / (float(np.prod(range(1, copies + 1))) * r ** (copies - 1)))[()]


AES_BYTES_PER_S = 5.15e9
"""AES-256-GCM of one core with vector AES, measured with OpenSSL 3.0; without vector instructions about a quarter of it."""


def encryption_cores(bytes_per_s: Numeric, *, core_bytes_per_s: Numeric = AES_BYTES_PER_S) -> Array:
    """Return the cores that encrypt (or decrypt) a stream: d/v. Inline encryption in the network port needs none.

    >>> round(float(encryption_cores(50e9)), 1)
    9.7
    """
    rate, core = non_negative("bytes_per_s", bytes_per_s), positive("core_bytes_per_s", core_bytes_per_s)
    broadcast(rate, core)
    return np.asarray(rate / core)[()]


@dataclass(frozen=True, slots=True)
class Codec:
    """A lossless compressor: size before over after, and rates of one core [B/s of uncompressed data]."""

    name: str
    ratio: float
    compress_bytes_per_s: float
    decompress_bytes_per_s: float


TOKEN_CODEC = Codec("zstd-1 on token ids", 1.91, 330e6, 940e6)
"""Ratio measured on 16-bit token ids of a Zipf distribution; rates of zstd's own table (one core of 2011)."""
WEIGHT_CODEC = Codec("zstd-1 on bf16 weights", 1.28, 330e6, 940e6)
"""Ratio measured on Gaussian bf16 weights; rates as above."""
TEXT_CODEC = Codec("zstd-1 on text", 2.877, 330e6, 940e6)
"""The Silesia corpus: zstd's own table."""


def compressed_rate(cores: Numeric, codec: Codec, *, link_bytes_per_s: Numeric) -> Array:
    """Return the effective rate of a link behind a compressor: min(n·C, ratio·BW, n·D).

    >>> compressed_rate([1, 8], TEXT_CODEC, link_bytes_per_s=1.25e9).tolist()
    [330000000.0, 2640000000.0]
    """
    n, link = positive("cores", cores), positive("link_bytes_per_s", link_bytes_per_s)
    broadcast(n, link)
    least = np.minimum(n * codec.compress_bytes_per_s, n * codec.decompress_bytes_per_s)
    return np.asarray(np.minimum(least, codec.ratio * link))[()]


def deduplicated(
    size_bytes: Numeric, duplicate_frac: Numeric, *, cores: Numeric, hash_bytes_per_s: Numeric = 1.75e9
) -> tuple[Array, Array]:
    """Return the bytes that deduplication saves, and its time when hashing is the bound: fraction·size and size/(cores·rate).

    >>> saved, seconds = deduplicated(100e12, 0.3, cores=32)
    >>> round(float(saved) / 1e12, 1), round(float(seconds) / 3600, 3)
    (30.0, 0.496)
    """
    size, share = non_negative("size_bytes", size_bytes), fraction("duplicate_frac", duplicate_frac)
    n, rate = positive("cores", cores), positive("hash_bytes_per_s", hash_bytes_per_s)
    broadcast(size, share, n, rate)
    return np.asarray(size * share)[()], np.asarray(size / (n * rate))[()]


def pinned_hit_frac(cache_frac: Numeric) -> Array:
    """Return the hit rate of a cache that keeps its share of the data for good: c."""
    return np.asarray(fraction("cache_frac", cache_frac))[()]


def lru_hit_frac(cache_frac: Numeric) -> Array:
    """Return the hit rate of least-recently-used caching when every epoch is a new permutation: c + (1−c)·ln(1−c), and 1 for all of it.

    >>> [round(float(lru_hit_frac(c)), 3) for c in (0.35, 0.5, 0.8)]
    [0.07, 0.153, 0.478]
    """
    c = fraction("cache_frac", cache_frac)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(c < 1.0, c + (1.0 - c) * np.log1p(-np.minimum(c, 1.0 - 1e-16)), 1.0))[()]
