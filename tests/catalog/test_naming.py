"""Accelerators as people write them."""

from __future__ import annotations

import pytest

from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import default
from hpcsim.catalog.naming import described_accelerator

NAMES = {
    "NVIDIA A100-SXM4-80GB": "a100-sxm-80gb",
    "A100 80GB PCIe": "a100-pcie-80gb",
    "8x H100 SXM5 80GB HBM3": "h100-sxm",
    "H100 NVL": "h100-nvl-94gb",
    "Tesla V100-SXM3-32 GB": "v100-sxm-32gb",
    "V100-16GB": "v100-sxm-16gb",
    "GB200 NVL72": "gb200",
    "NVIDIA GB300 NVL72": "gb300",
    "B300": "b300-sxm",
    "H20-3e": "h20-sxm",
    "A800": "a800-sxm-80gb",
    "AMD Instinct MI300X OAM": "mi300x",
    "MI355X": "mi355x",
    "Cloud TPU v5p-256": "tpu-v5p",
    "TPU v5e-16": "tpu-v5e",
    "TPUv4": "tpu-v4",
    "TPU v6e (Trillium)": "tpu-v6e",
    "tpu7x-128": "tpu7x",
    "TPU v7": "tpu7x",
    "L40S 48GB": "l40s",
}


@pytest.mark.parametrize(("said", "meant"), list(NAMES.items()))
def test_descriptions(said: str, meant: str) -> None:
    assert described_accelerator(said, default()).id == meant


@pytest.mark.parametrize("name", default().names("accelerator"))
def test_every_name_and_alias_means_its_own_entry(name: str) -> None:
    entry = default().accelerator(name)
    for known in (entry.id, *entry.aliases):
        assert described_accelerator(known, default()).id == name


@pytest.mark.parametrize("said", ["TPU", "X1000", "NVIDIA", "", "80GB"])
def test_what_means_nothing_is_refused(said: str) -> None:
    with pytest.raises(InputError, match="no accelerator"):
        described_accelerator(said, default())
