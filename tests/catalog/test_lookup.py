"""Names, aliases, refusals, and the answers that are put together from several entries."""

from __future__ import annotations

import importlib
import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.base.errors import InputError
from hpcsim.catalog.files import KINDS, loose
from hpcsim.catalog.lookup import CATALOGS, Catalog, default

CATALOG = Catalog()

# Names that scripts use
PROMISED = {
    "model": "gpt3-175b llama2-70b llama3-8b llama3-70b llama3-405b bloom-176b mixtral-8x7b deepseek-v3 bert-large transformer-big resnet-50",
    "accelerator": "v100-sxm-32gb a100-sxm-40gb a100-sxm-80gb h100-sxm h200-sxm b200-sxm gb200 mi300x tpu-v4 tpu-v5p tpu-v5e",
    "node": "dgx-a100-80gb",
    "link": "omni-path-100",
}
# Names that published measurements use
SPELLED = {
    "V100-16GB": "v100-sxm-16gb",
    "V100-32GB": "v100-sxm-32gb",
    "A100-40GB": "a100-sxm-40gb",
    "A100-80GB": "a100-sxm-80gb",
    "A100-SXM4-80GB": "a100-sxm-80gb",
    "NVIDIA": None,
    "H100": "h100-sxm",
    "H100-SXM5-80GB": "h100-sxm",
    "H200": "h200-sxm",
    "B200": "b200-sxm",
    "B300": "b300-sxm",
    "GB200": "gb200",
    "GB300": "gb300",
    "L40S": "l40s",
    "MI300X": "mi300x",
    "MI325X": "mi325x",
    "MI350X": "mi350x",
    "MI355X": "mi355x",
    "TPU v4": "tpu-v4",
    "TPU v5e": "tpu-v5e",
    "TPU v5p": "tpu-v5p",
    "TPU v6e": "tpu-v6e",
    "TPU7x": "tpu7x",
}


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in PROMISED.items() for n in names.split()])
def test_promised_names_are_canonical(kind: str, name: str) -> None:
    assert CATALOG.find(kind, name).id == name


@pytest.mark.parametrize("name", SPELLED)
def test_spellings_of_accelerators(name: str) -> None:
    if SPELLED[name] is None:
        with pytest.raises(InputError):
            CATALOG.accelerator(name)
    else:
        assert CATALOG.accelerator(name).id == SPELLED[name]


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_and_alias_finds_its_entry(kind: str) -> None:
    for name in CATALOG.names(kind):
        entry = CATALOG.find(kind, name)
        for alias in entry.aliases:
            assert CATALOG.find(kind, alias) is entry


NAMES = [(k, n) for k in ("accelerator", "model", "link", "node") for n in CATALOG.names(k)]


@given(st.sampled_from(NAMES), st.integers(0, 2**31))
def test_case_and_punctuation_do_not_matter(named: tuple[str, str], seed: int) -> None:
    kind, name = named
    chance = random.Random(seed)
    spelled = "".join(chance.choice(["", " ", "-", "_"]) + chance.choice([c.upper(), c.lower()]) for c in name if c not in "-_ ")
    assert loose(spelled) == loose(name)
    assert CATALOG.find(kind, spelled).id == name


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("accelerator", "a100-sxm-90gb", "a100-sxm-80gb"),
        ("model", "lama3-8b", "llama3-8b"),
        ("link", "nvlnk-4", "nvlink-4"),
        ("node", "zzzz", "catalog list nodes"),
    ],
)
def test_an_unknown_name_is_met_with_the_nearest(kind: str, name: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        CATALOG.find(kind, name)
    (problem,) = caught.value.problems
    assert problem.code == "unknown-catalog-name"
    assert name in problem.message
    assert hint in problem.hint


def test_an_unknown_kind_is_met_with_the_nearest() -> None:
    with pytest.raises(InputError, match="accelerators") as caught:
        CATALOG.listing("acelerators")
    assert caught.value.problems[0].code == "unknown-catalog-kind"


@pytest.mark.parametrize("name", ["ibm-heron-quantum", "QPU", "my qubit box", "D-Wave Advantage", "IonQ Forte"])
def test_quantum_accelerators_are_refused_with_the_reason(name: str) -> None:
    for find in (CATALOG.accelerator, CATALOG.node, CATALOG.show):
        with pytest.raises(InputError, match="no throughput model") as caught:
            find(name)
        assert caught.value.problems[0].code == "quantum-refused"


def test_a_quantum_entry_of_an_overlay_is_refused_too() -> None:
    catalog = Catalog([{"accelerators": {"heron": {"category": "quantum", "title": "Heron"}}}])
    with pytest.raises(InputError, match="quantum-refused"):
        catalog.accelerator("heron")


def test_facts_carry_unit_source_and_kind() -> None:
    device = CATALOG.accelerator("a100-sxm-80gb")
    assert device.source_of("tdp_w") == device.source_of("tdp")
    assert device.source_of("idle_w").kind == "measured"
    assert device.source_of("price_usd").kind == "remembered"
    assert device.source_of("peak_flop_per_s.bf16").kind == "read"
    assert "Epoch" in device.source_of("peak_flop_per_s.fp64").source
    assert "Epoch" not in device.source_of("peak_flop_per_s.bf16").source
    fact = device.fact("memory_bytes_per_s")
    assert (fact.value, fact.unit) == (2.039e12, "B/s")
    assert device.fact("peak_flop_per_s.bf16").value == 312e12
    assert device.need("memory") == 80 * 2**30  # makers print GB and mean GiB
    fields = [fact.field for fact in device.facts()]
    assert len(fields) == len(set(fields))
    assert {"tdp_w", "peak_flop_per_s.bf16", "compute_units"} <= set(fields)
    assert "vendor" not in fields
    assert set(device.remembered()) <= set(fields)


def test_a_value_that_is_not_known_is_refused_by_name() -> None:
    with pytest.raises(InputError) as caught:
        CATALOG.accelerator("inferentia2").need("tdp_w")
    assert caught.value.problems[0].code == "catalog-value-missing"
    with pytest.raises(InputError) as caught:
        CATALOG.accelerator("inferentia2").fact("colour")
    assert caught.value.problems[0].code == "unknown-catalog-field"


def test_entries_are_immutable_shared_and_pickled() -> None:
    device = CATALOG.accelerator("h100")
    assert CATALOG.accelerator("H100 SXM5 80GB") is device
    with pytest.raises(Exception, match="frozen"):
        device.tdp_w = 1.0
    with pytest.raises(TypeError):
        device.peak_flop_per_s["bf16"] = 1.0
    again = pickle.loads(pickle.dumps(device))
    assert again == device
    assert list(again.facts()) == list(device.facts())


def test_show_has_every_value() -> None:
    shown = CATALOG.show("A100-80GB")
    assert (shown.kind, shown.entry.id, shown.also) == ("accelerator", "a100-sxm-80gb", ())
    assert shown.facts == tuple(shown.entry.facts())
    frontier = CATALOG.show("frontier")
    assert frontier.kind == "system"
    assert "pue/frontier" in frontier.also
    assert CATALOG.show("pue/frontier").kind == "pue"
    assert CATALOG.show("frontier", "pue").facts[0].value == 1.03
    with pytest.raises(InputError, match="did you mean"):
        CATALOG.show("frontierr")


@pytest.mark.parametrize("kind", KINDS)
def test_listing_has_a_row_for_each_entry(kind: str) -> None:
    found = CATALOG.listing(KINDS[kind].plural)
    assert [row["id"] for row in found] == CATALOG.names(kind)
    assert len({tuple(row) for row in found}) == min(len(found), 1)
    headline = (found[0] if found else {}).keys() - {"id", "title", "remembered"}
    assert all(any(row[field] is not None for row in found) for field in headline)


# --- regions
def test_a_region_is_found_by_its_own_name_in_every_cloud() -> None:
    assert CATALOG.carbon_intensity("us-east1").value == pytest.approx(575.77 / 3.6e9)
    assert CATALOG.carbon_intensity("us-east-1").value == pytest.approx(415.8 / 3.6e9)
    assert CATALOG.carbon_intensity("East US").name == CATALOG.carbon_intensity("eastus").name == "azure-east-us"
    assert CATALOG.carbon_intensity("france").name == CATALOG.carbon_intensity("FR").name == "fra"
    with pytest.raises(InputError) as caught:
        CATALOG.carbon_intensity("US_EAST1")
    assert caught.value.problems[0].code == "ambiguous-catalog-name"
    fact = CATALOG.carbon_intensity("Norway")
    assert (fact.unit, fact.kind) == ("kg/J", "read")


def test_electricity_by_state_country_and_cloud_region() -> None:
    virginia = CATALOG.electricity_price("US-VA")
    assert virginia.value == pytest.approx(0.0892 / 3.6e6)
    assert CATALOG.electricity_price("us-east-1") == CATALOG.electricity_price("us-east4") == virginia
    assert CATALOG.electricity_price("US-VA", sector="commercial").value == pytest.approx(0.0895 / 3.6e6)
    germany = CATALOG.electricity_price("Germany")
    assert germany.value == pytest.approx(0.233 * 1.08 / 3.6e6)
    assert germany.kind == "derived"
    assert "EUR" in germany.source
    assert CATALOG.electricity_price("NO").kind == "remembered"
    with pytest.raises(InputError):  # South Carolina has no entry; it must not be taken for AWS's us-east-1 in Virginia
        CATALOG.electricity_price("us-east1")


def test_pue_by_operator_and_region() -> None:
    assert CATALOG.pue("google").value == 1.1
    assert CATALOG.pue("google").low == 1.06
    assert CATALOG.pue("us-central1").value == 1.11
    assert CATALOG.pue("Jean Zay").kind == "remembered"


# --- answers from several entries
def test_idle_power_is_the_entry_or_a_marked_rule() -> None:
    assert CATALOG.idle_power("a100-80gb").kind == "measured"
    rule = CATALOG.idle_power("tpu-v3")
    share = CATALOG.power("idle-share").idle_share_frac["tpu"]
    assert rule.value == pytest.approx(share * 450)
    assert rule.kind == "remembered"  # as the idle power is that the rule follows from
    assert "thermal design power" in rule.source
    with pytest.raises(InputError, match="catalog-value-missing"):
        CATALOG.idle_power("inferentia2")


def test_node_power_is_the_entry_or_a_marked_rule() -> None:
    known = CATALOG.node_power("dgx-a100-80gb")
    assert (known.base_idle.value, known.base_max.value) == (970, 3300)
    rule = CATALOG.node_power("dgx-b200").base_idle
    assert rule.value == pytest.approx(CATALOG.power("idle-share").base_idle_share_frac * 14300)
    assert rule.kind == "remembered"
    assert CATALOG.node_power("dgx-a100-80gb").base_idle.kind == "derived"
    twin = CATALOG.node_power("aws-p5.48xlarge")
    assert twin.base_max.value == CATALOG.node_power("dgx-h100").base_max.value
    assert "dgx-h100" in twin.base_max.source
    for name in CATALOG.names("node"):
        node = CATALOG.node(name)
        if node.max_w or node.power_as:
            idle, most = CATALOG.node_power(name)
            assert 0 < idle.value <= most.value
    with pytest.raises(InputError, match="max_w"):
        CATALOG.node_power("tpu-v3-host")


def test_host_rate() -> None:
    assert CATALOG.host_rate("h100").value == 63e9
    assert CATALOG.host_rate("gb200").value == 450e9


# --- prices: USD an hour, from the published tables
@pytest.mark.parametrize(
    ("provider", "accelerator", "term", "price"),
    [
        ("aws", "a100-40gb", "on-demand", 2.745),
        ("aws", "a100-80gb", "on-demand", 3.431),
        ("aws", "a100-80gb", "spot", 1.201),
        ("aws", "h100", "on-demand", 6.88),
        ("aws", "h100", "spot", 3.302),
        ("aws", "h200", "on-demand", 7.912),
        ("aws", "b200", "on-demand", 14.242),
        ("aws", "v100", "on-demand", 3.06),
        ("aws", "t4", "on-demand", 0.526),
        ("aws", "trainium1", "on-demand", 1.344),
        ("aws", "vu47p", "on-demand", 1.98),
        ("lambda", "h100", "on-demand", 3.99),
        ("lambda", "b200", "on-demand", 6.69),
        ("lambda", "a100-80gb", "on-demand", 2.79),
        ("lambda", "gh200", "on-demand", 2.29),
        ("nebius", "h100", "on-demand", 2.95),
        ("nebius", "h200", "on-demand", 3.5),
        ("nebius", "h100", "spot", 1.25),
        ("gcp", "tpu-v4", "on-demand", 3.22),
        ("gcp", "tpu-v4", "spot", 0.9215),
        ("gcp", "tpu-v2", "on-demand", 4.5 / 4),
        ("market", "h100", "1-year", 2.15),
    ],
)
def test_prices(provider: str, accelerator: str, term: str, price: float) -> None:
    fact = CATALOG.price(provider=provider, accelerator=accelerator, term=term)
    assert fact.unit == "USD/s"
    assert fact.value * 3600 == pytest.approx(price, abs=6e-4)


@pytest.mark.parametrize(
    ("provider", "accelerator", "low", "middle", "high"),
    [
        ("azure", "h100", 11.061, 14.379, 23.326),
        ("azure", "h200", 10.6, 13.78, 21.2),
        ("azure", "mi300x", 6.0, 7.5, 12.0),
        ("azure", "alveo-u250", 1.65, 1.98, 2.393),
        ("gcp", "a100-80gb", 5.069, 5.581, 6.248),
        ("gcp", "tpu-v6e", 2.7, 2.7, 3.24),
    ],
)
def test_prices_without_a_region_are_the_median_and_say_so(provider: str, accelerator: str, low: float, middle: float, high: float) -> None:
    fact = CATALOG.price(provider=provider, accelerator=accelerator)
    assert [3600 * v for v in (fact.low, fact.value, fact.high)] == pytest.approx([low, middle, high], abs=1e-3)
    assert "median of" in fact.note


def test_prices_by_region_instance_and_term() -> None:
    whole = CATALOG.price(provider="aws", instance="p5.48xlarge")
    each = CATALOG.price(provider="aws", accelerator="h100", instance="p5.48xlarge", region="us-east-1")
    assert whole.value == pytest.approx(8 * each.value)
    assert whole.value * 3600 == pytest.approx(55.04)
    iowa = CATALOG.price(provider="gcp", accelerator="h100", instance="a3-highgpu-8g", region="us-central1")
    assert iowa.value * 3600 * 8 == pytest.approx(88.49, abs=0.01)
    ladder = [
        CATALOG.price(provider="gcp", accelerator="h100", region="us-central1", term=t).value for t in ("on-demand", "1-year", "3-year")
    ]
    assert ladder == sorted(ladder, reverse=True)


@pytest.mark.parametrize(
    ("query", "hint"),
    [
        ({"provider": "ovh", "accelerator": "h100"}, "providers: "),
        ({"provider": "aws", "accelerator": "mi300x"}, "sold by: azure"),
        ({"provider": "aws", "accelerator": "h100", "term": "3-year"}, "terms: on-demand, spot"),
        ({"provider": "azure", "accelerator": "h100", "region": "mars"}, "regions have it"),
    ],
)
def test_a_price_that_nobody_asks_is_refused_with_what_there_is(query: dict, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        CATALOG.price(**query)
    (problem,) = caught.value.problems
    assert problem.code == "no-catalog-price"
    assert hint in problem.hint


def test_spot_interruption() -> None:
    """AWS on 2025-06-28: H100 in eleven regions, five of them between 5 and 10 % a month."""
    fact = CATALOG.spot_interruption(accelerator="h100")
    assert fact.value == pytest.approx(0.075)
    assert "11 rows" in fact.note
    assert CATALOG.spot_interruption(accelerator="v100").value == 0.2
    with pytest.raises(InputError, match="no-spot-record"):
        CATALOG.spot_interruption(accelerator="mi300x")


# --- plug-ins and default
def test_default_is_one_catalog_with_plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CATALOGS._items, "mine", lambda: {"accelerators": {"a100-sxm-80gb": {"tdp": "300 W"}}})
    default.cache_clear()
    try:
        assert default() is default()
        fact = default().accelerator("a100-80gb").fact("tdp_w")
        assert (fact.value, fact.kind) == (300, "given")
    finally:
        default.cache_clear()


def test_the_package_itself_answers_for_the_default_catalog() -> None:
    catalog = importlib.import_module("hpcsim.catalog")

    public = {name for name in vars(Catalog) if not name.startswith("_")}
    assert set(catalog._LOOKUPS) == public
    assert vars(catalog)["__getattr__"]("accelerator")("A100-80GB") is default().accelerator("a100-sxm-80gb")
    with pytest.raises(AttributeError):
        vars(catalog)["__getattr__"]("nothing")
