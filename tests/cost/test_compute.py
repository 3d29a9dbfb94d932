"""Matrix products against measurements, rooflines, devices."""

from __future__ import annotations

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.cost import compute

A100 = {"bytes_per_s": 2039e9 * 0.904, "compute_units": 108}
# M, N, K, ms: fp16 products on an A100, LLMCompass (Princeton), ae/figure5/ab/real_hardware/matmul_A100.csv
MEASURED = [
    (64, 12288, 12288, 0.1900), (128, 12288, 12288, 0.2003), (256, 12288, 12288, 0.3185), (512, 12288, 12288, 0.6118),
    (1024, 12288, 12288, 1.1990), (2048, 12288, 12288, 2.3586), (4096, 12288, 12288, 4.4576), (8192, 12288, 12288, 8.6216),
    (16384, 12288, 12288, 17.0307), (32768, 12288, 12288, 35.4407), (8192, 64, 64, 0.0296), (8192, 128, 128, 0.0310),
    (8192, 256, 256, 0.0356), (8192, 512, 512, 0.0471), (8192, 1024, 1024, 0.0927), (8192, 2048, 2048, 0.2818),
    (8192, 4096, 4096, 1.0210), (8192, 8192, 8192, 3.9614), (8192, 16384, 16384, 15.0087), (8192, 32768, 32768, 61.1346),
]  # fmt: skip


def device(**changes: object) -> compute.Device:
    keys = {"peak_flop_per_s": {"fp32": 19.5e12, "bf16": 312e12, "fp16": 312e12}, "memory_bytes": 80e9, "memory_bytes_per_s": 2039e9}
    return compute.Device("a100", "gpu", **{**keys, **changes})  # type: ignore[arg-type]


def test_measured_matrix_products() -> None:
    m, n, k, ms = np.array(MEASURED).T
    t = compute.gemm_s(m, n, k, flop_per_s=312e12 * 0.937, kernel_s=28.7e-6, **A100)
    error = np.abs(t / (ms * 1e-3) - 1)
    assert error.mean() < 0.035
    assert error.max() < 0.10


def test_tile_and_wave_quantisation() -> None:
    tiles, waves, filled = compute.tile_waves(4096, 4096, compute_units=108)
    assert (tiles, waves) == (512, 5)
    assert filled == pytest.approx(0.94815, rel=1e-4)
    assert compute.tile_waves(109 * 256, 128, compute_units=108)[1:] == (2, pytest.approx(0.50463, rel=1e-4))
    one, more = compute.gemm_s([256, 257], 128 * 108, 4096, flop_per_s=1e14, bytes_per_s=1e15, compute_units=108)
    assert more > one


def test_product_is_bound_by_memory_for_one_row() -> None:
    n = k = 12288
    t = compute.gemm_s(1, n, k, flop_per_s=312e12, bytes_per_s=2039e9)
    assert t == pytest.approx(2 * (n * k + n + k) / 2039e9)


def test_kernel_start_up_is_a_floor() -> None:
    assert compute.gemm_s(1, 1, 1, flop_per_s=1e15, bytes_per_s=1e12, kernel_s=4e-6) >= 4e-6


def test_ridge_point() -> None:
    ridge = 312e12 / 2039e9
    assert ridge == pytest.approx(153.0, rel=1e-3)
    below, above = compute.roofline_s(1e12, 1e12 / np.array([ridge / 2, ridge * 2]), flop_per_s=312e12, bytes_per_s=2039e9)
    assert below == pytest.approx(2 * above)


def test_streaming_nothing_is_free() -> None:
    assert compute.stream_s(0.0, bytes_per_s=1e12, kernels=5, kernel_s=1e-6) == 0.0
    assert compute.stream_s(1e6, bytes_per_s=1e12, kernels=5, kernel_s=1e-6) == pytest.approx(6e-6)


def test_utilisation_of_published_runs() -> None:
    """MFU of Korthikanti et al. 2022, table 5: 72BsLh²(1 + s/6h + V/12Lh) over devices, peak and time."""
    s, v = 2048, 51200
    for layers, h, batch, n, t, percent in (
        (48, 6144, 4, 8, 1.10, 41.5),
        (96, 12288, 64, 64, 13.75, 51.4),
        (105, 20480, 280, 280, 37.83, 56.0),
    ):
        flop = 72 * batch * s * layers * h**2 * (1 + s / (6 * h) + v / (12 * layers * h))
        assert 100 * compute.mfu(flop, devices=n, peak_flop_per_s=312e12, time_s=t) == pytest.approx(percent, rel=4e-3)


def test_rates_fall_back_from_measured_to_neighbour_to_class() -> None:
    assert device(sustained_flop_per_s={"bf16": 271.2e12}).sustained("bf16") == 271.2e12
    assert device(sustained_flop_per_s={"bf16": 271.2e12}).sustained("fp16") == pytest.approx(271.2e12)
    assert device().sustained("fp16") == pytest.approx(312e12 * compute.DEVICE_CLASSES["gpu"].matmul_frac)


def test_clock_scales_arithmetic_only() -> None:
    slow = device(sustained_flop_per_s={"bf16": 270e12}).at_clock(0.5)
    assert slow.peak("bf16") == 156e12
    assert slow.sustained("bf16") == 135e12
    assert slow.stream_bytes_per_s == device().stream_bytes_per_s


def test_refusals() -> None:
    with pytest.raises(InputError) as error:
        device().peak("fp8")
    assert error.value.problems[0].code == "precision-unsupported"
    with pytest.raises(InputError) as error:
        device().peak("fp7")
    assert error.value.problems[0].code == "unknown-precision"
    with pytest.raises(InputError):
        device(memory_bytes=-1.0)
    with pytest.raises(InputError):
        compute.gemm_s(0, 1, 1, flop_per_s=1.0, bytes_per_s=1.0)
