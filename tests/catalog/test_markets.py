"""Where regions lie, and price lists of the user's own."""

from __future__ import annotations

import pytest

from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import default
from hpcsim.catalog.markets import EEA, EU, country_of, lives_in, read_price_list, sold
from hpcsim.catalog.prices import offers

OWN = """\
# our contract
provider,region,instance,accelerator,accelerators,on_demand,one_year,three_year,spot,date,source
acme,fra-1,eight,A100-SXM4-80GB,8,16.0,12.0,8.0,,2026-01-01,our offer
acme,fra-1,one,A100-SXM4-80GB,1,1.0,,,,2026-01-01,our offer
"""
FLAT = """\
cloud,instance,accelerator,count,region,usd_h,usd_per_acc_h,spot_usd_h,spot_per_acc_h,source,note
gcp,tpu-v5litepod-1,TPUv5e,1,asia-east1,1.38948,1.38948,0.47652,0.47652,skypilot,
nebius,gpu-h100-sxm_8gpu,H100,8,eu-north1,23.6,2.95,10,1.25,skypilot,
"""
SKY = """\
InstanceType,vCPUs,MemoryGiB,AcceleratorName,AcceleratorCount,GpuInfo,Price,SpotPrice,Region,AvailabilityZone
p5.48xlarge,192,2048,H100,8,{},98.32,40.1,us-east-2,us-east-2a
m5.large,2,8,,,,0.096,0.04,us-east-2,us-east-2a
"""


def read(tmp_path, text: str, name: str = "list.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_price_list(path, default(), name=name)


def test_three_layouts(tmp_path) -> None:
    own = read(tmp_path, OWN)
    assert [(o.provider, o.accelerator, o.accelerators) for o in own] == [("acme", "a100-sxm-80gb", 8), ("acme", "a100-sxm-80gb", 1)]
    assert own[0].hourly == {"on-demand": 16.0, "1-year": 12.0, "3-year": 8.0}
    flat = read(tmp_path, FLAT)
    assert [(o.provider, o.accelerator) for o in flat] == [("gcp", "tpu-v5e"), ("nebius", "h100-sxm")]
    assert flat[1].hourly == {"on-demand": 23.6, "spot": 10.0}
    sky = read(tmp_path, SKY, "aws.csv")
    assert [(o.provider, o.region, o.accelerator, o.hourly) for o in sky] == [
        ("aws", "us-east-2", "h100-sxm", {"on-demand": 98.32, "spot": 40.1})
    ]


def test_whole_nodes_are_what_counts(tmp_path) -> None:
    rows = read(tmp_path, OWN)
    [(price, offer)] = sold(rows, "a100-sxm-80gb", "on-demand", 8)
    assert (price * 3600, offer.instance) == (pytest.approx(2.0), "eight")
    [(price, offer)] = sold(rows, "a100-sxm-80gb", "on-demand", 1)
    assert (price * 3600, offer.instance) == (pytest.approx(1.0), "one")
    assert sold(rows, "a100-sxm-80gb", "spot", 8) == []


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("a,b\n1,2\n", "price-list-columns", 0),
        ("provider,region,accelerator,on_demand\n", "price-list-empty", 0),
        ("provider,region,accelerator,on_demand\nx,y,H100,much\n", "price-list-value", 2),
        ("provider,region,accelerator,on_demand\nx,y,H100,-1\n", "price-list-value", 2),
        ("# note\n\nprovider,region,accelerator,on_demand\nx,y,H100,1\nx,y,H100,nan\n", "price-list-value", 5),
    ],
)
def test_bad_lists(tmp_path, text: str, code: str, line: int) -> None:
    with pytest.raises(InputError) as error:
        read(tmp_path, text)
    problem = error.value.problems[0]
    assert (problem.code, problem.line, problem.file) == (code, line, "list.csv")


def test_every_region_of_the_table_has_a_country_but_those_without_a_place() -> None:
    assert {(o.provider, o.region) for o in offers() if not country_of(o.provider, o.region)} == {("lambda", "all")}
    assert country_of("aws", "eu-central-1") == "DEU"
    assert country_of("azure", "westeurope") == "NLD"
    assert country_of("gcp", "europe-west10") == "DEU"
    assert country_of("gcp", "europe-west1") == "BEL"
    assert country_of("nobody", "eu-1") == ""


def test_unions_and_patterns() -> None:
    assert EU < EEA
    assert len(EU) == 27
    assert lives_in(["EU"], country="FRA", names=[])
    assert not lives_in(["EU"], country="NOR", names=[])
    assert lives_in(["EEA"], country="NOR", names=[])
    assert lives_in(["gcp-europe-*"], country="", names=["europe-west1", "gcp-europe-west1"])
    assert not lives_in(["EU", "DEU"], country="", names=["x"])
