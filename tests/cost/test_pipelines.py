"""Formulas of data pipelines, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import default
from hpcsim.cost import pipelines as pl
from hpcsim.cost import storage


def test_bytes_through_a_diamond() -> None:
    into, out = pl.through([[8.0, 0, 0, 0], [4.0, 0, 0, 1.0]], [0.5, 2.0, 1.0, 0.25], [[], [0], [0], [1, 2]])
    assert into.tolist() == [[8, 4, 4, 12], [4, 2, 2, 7]]
    assert out.tolist() == [[4, 8, 4, 3], [2, 4, 2, 1.75]]


def test_streaming_is_between_the_longest_and_the_sum_and_staged_is_the_sum_of_the_longest() -> None:
    use = np.array([[3.0, 1.0], [2.0, 4.0], [0.0, 1.0]])
    assert float(pl.staged_s(use)) == 8.0
    assert float(pl.streamed_s(use, 1)) == 8.0
    assert float(pl.streamed_s(use, 1e9)) == pytest.approx(6.0)  # the second resource: 1 + 4 + 1
    assert pl.streamed_s(np.stack([use, 2 * use]), [1, 4]).tolist() == [8.0, 12 + 4 / 4]
    assert pl.lead_s(use, 10).tolist() == pytest.approx([0.0, 0.3, 0.7])
    assert pl.bottleneck(use).tolist() == [0, 1, 1]


def test_the_handbooks_ten_terabytes() -> None:
    """10 TB through disk at 6, AES at 5.26 and a network at 3.1 GB/s: 3,226 s, bound by the network."""
    use = np.diag(10e12 / np.array([6e9, 5.26e9, 3.1e9]))
    assert float(pl.streamed_s(use, 1e12)) == pytest.approx(3226, abs=1)
    assert float(pl.streamed_s(use, 1e12)) == pytest.approx(float(storage.pipeline_time_s(10e12, [6e9, 5.26e9, 3.1e9])), rel=1e-9)


def test_the_catalogs_rates_are_those_of_the_cost_formulas() -> None:
    catalog = default()
    assert catalog.data_method("aes-256-gcm").need("core_bytes_per_s") == storage.AES_BYTES_PER_S
    zstd = catalog.data_method("zstd-1")
    assert zstd.ratio["mixed"] == storage.TEXT_CODEC.ratio
    assert zstd.ratio["tokens"] == storage.TOKEN_CODEC.ratio
    assert zstd.ratio["weights"] == storage.WEIGHT_CODEC.ratio
    assert zstd.need("core_bytes_per_s") == storage.TEXT_CODEC.compress_bytes_per_s
    assert zstd.need("back_core_bytes_per_s") == storage.TEXT_CODEC.decompress_bytes_per_s


def test_dedupe_of_a_hundred_terabytes() -> None:
    hours = float(pl.processor_s(100e12, nodes=4, cores=8, core_bytes_per_s=1.75e9)) / 3600
    assert hours == pytest.approx(0.496, abs=1e-3)


def test_wrong_arguments_are_refused() -> None:
    for call in (
        lambda: pl.through([1.0], [0.0], [[]]),
        lambda: pl.processor_s(1, nodes=0, cores=1, core_bytes_per_s=1),
        lambda: pl.answers_s(1, 1, nodes=1, streams=0),
        lambda: pl.streamed_s([[1.0]], 0),
        lambda: pl.kept_byte_s(1, factor=0.5, kept_s=1),
        lambda: pl.shuffled_bytes(-1, 2),
    ):
        with pytest.raises(InputError):
            call()
