"""Plans of data pipelines: amounts, work, moves, and everything that is refused."""

from __future__ import annotations

from typing import Any

import pytest

from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import default
from hpcsim.cluster.build import resolve
from hpcsim.run.bind import check
from hpcsim.scenario.load import load
from hpcsim.workload.pipeline_parts import PipelinePlan
from hpcsim.workload.pipelines import plan_pipeline

CLUSTER: dict[str, Any] = {
    "nodes": {"etl": {"count": 4, "cores": 10}},
    "fabric": {"topology": "single-switch", "link": "100 Gbit/s", "latency": "2 us"},
    "storage": {
        "lake": {"type": "object", "read": "10 GB/s", "write": "5 GB/s", "capacity": "100 TB"},
        "flash": {"type": "nvme", "read": "40 GB/s", "write": "20 GB/s", "copies": 3, "latency": "1 ms"},
    },
}
SITES: dict[str, Any] = {
    "nodes": {"here": {"count": 2, "cores": 8, "location": "bonn"}, "there": {"count": 2, "cores": 8, "location": "cloud"}},
    "fabric": {
        "link": "100 Gbit/s",
        "latency": "2 us",
        "wan": {"line": {"between": ["bonn", "cloud"], "link": "10 Gbit/s", "latency": "10 ms"}},
    },
    "storage": {
        "records": {"type": "gpfs", "read": "5 GB/s", "write": "5 GB/s", "location": "bonn"},
        "bucket": {"type": "object", "read": "5 GB/s", "write": "5 GB/s", "location": "cloud"},
    },
    "locations": {"bonn": {"country": "DEU"}, "cloud": {"country": "USA", "operator": "aws"}},
}


def data(stages: dict[str, Any], cluster: dict[str, Any] | None = None, **rest: Any) -> dict[str, Any]:
    pipeline = {"data": "1 TB", "stages": stages, **rest}
    return {"schema": 1, "name": "t", "question": "?", "cluster": cluster or CLUSTER, "workload": {"pipelines": {"p": pipeline}}}


def plan(stages: dict[str, Any], cluster: dict[str, Any] | None = None, **rest: Any) -> PipelinePlan:
    scenario = load(data(stages, cluster, **rest))
    return plan_pipeline("p", scenario.workload.pipelines["p"], resolve(scenario.cluster, default()), default())


def test_bytes_records_and_objects_go_from_stage_to_stage() -> None:
    made = plan(
        {
            "read": {"kind": "load", "from": "lake"},
            "clean": {"kind": "clean", "rate": "100 MB/s", "ratio": 0.8},
            "once": {"kind": "deduplicate", "method": "sha-256", "duplicate": 0.25},
            "cut": {"kind": "shard", "shard": "1 GB", "to": "flash"},
            "look": {"kind": "load", "from": "flash", "after": ["cut"]},
        },
        records=8_000_000,
        objects=1000,
    )
    assert [s.in_bytes for s in made.stages] == pytest.approx([1e12, 1e12, 0.8e12, 0.6e12, 0.6e12])
    assert [s.records for s in made.stages] == pytest.approx([8e6, 8e6, 8e6, 6e6, 6e6])
    assert [s.objects for s in made.stages] == [1000, 1000, 1000, 1000, 600]
    assert made.stages[1].core_s == pytest.approx(1e12 / 100e6)
    assert made.stages[2].core_s == pytest.approx(0.8e12 / default().data_method("sha-256").need("core_bytes_per_s"))
    written = made.stages[3].written
    assert written is not None
    assert (written.tier, written.size_bytes, written.factor) == ("flash", pytest.approx(0.6e12), 3.0)


def test_stages_join_and_part() -> None:
    made = plan(
        {
            "a": {"kind": "load", "from": "lake", "data": "3 TB"},
            "b": {"kind": "load", "from": "lake"},
            "both": {"kind": "stage", "ratio": 0.5, "after": ["a", "b"]},
            "left": {"kind": "archive", "to": "lake", "after": ["both"]},
            "right": {"kind": "archive", "to": "flash", "after": ["both"]},
        },
    )
    amounts = {s.name: (s.in_bytes, s.out_bytes) for s in made.stages}
    assert amounts["b"] == (3e12, 3e12)  # it follows a, as the one before it
    assert amounts["both"] == (6e12, 3e12)
    assert amounts["left"] == amounts["right"] == (3e12, 3e12)


def test_a_compressor_works_on_what_is_not_compressed() -> None:
    zstd = default().data_method("zstd-1")
    ratio = zstd.ratio["mixed"]
    made = plan(
        {
            "read": {"kind": "load", "from": "lake"},
            "zip": {"kind": "compress", "method": "zstd"},
            "unzip": {"kind": "decompress", "method": "zstd"},
        }
    )
    into, out = made.stages[1], made.stages[2]
    assert into.out_bytes == pytest.approx(1e12 / ratio)
    assert out.out_bytes == pytest.approx(1e12)
    assert into.core_s == pytest.approx(1e12 / zstd.need("core_bytes_per_s"))
    assert out.core_s == pytest.approx(1e12 / zstd.need("back_core_bytes_per_s"))


def test_waiting_for_answers() -> None:
    made = plan(
        {"read": {"kind": "load", "from": "lake"}, "ask": {"kind": "access-check", "latency": "2 ms", "batch": 50, "per": "record"}},
        records=10_000_000,
        count=2,
    )
    assert made.stages[1].answer_s == pytest.approx(10e6 / 50 * 2e-3 / (2 * 10))
    small = plan({"read": {"kind": "load", "from": "flash", "streams": 5}}, objects=1_000_000)
    assert small.stages[0].answer_s == pytest.approx(1e6 * 1e-3 / (4 * 5))
    assert small.stages[0].first_s == 1e-3


def test_data_between_locations_are_encrypted_on_the_way() -> None:
    stages = {"take": {"kind": "load", "from": "records", "nodes": "here"}, "send": {"kind": "archive", "to": "bucket", "nodes": "there"}}
    plain, safe = plan(stages, SITES), plan(stages, SITES, in_flight="aes-256-gcm")
    aes = default().data_method("aes-256-gcm")
    each = 1e12 / aes.need("core_bytes_per_s")
    assert [s.flight_core_s for s in plain.stages] == [0.0, 0.0]
    assert [s.flight_core_s for s in safe.stages] == pytest.approx([each, each])  # one side encrypts, the other decrypts
    assert safe.stages[1].moves[0].size_bytes == pytest.approx(1e12 * (1 + 22 / 16384))
    assert plan(stages, SITES, in_flight={"method": "ktls"}).stages[0].flight_core_s == 0.0
    everywhere = plan(stages, SITES, in_flight={"method": "aes-256-gcm", "everywhere": True})
    assert everywhere.stages[0].flight_core_s == pytest.approx(2 * each)  # it also decrypts what it reads


def test_the_way_back_of_a_backup() -> None:
    made = plan(
        {
            "read": {"kind": "load", "from": "flash"},
            "zip": {"kind": "compress", "method": "lz4"},
            "lock": {"kind": "encrypt", "method": "aes-256-gcm"},
            "copy": {"kind": "backup", "to": "lake", "restores": "5 TB"},
        },
        every="24 h",
        times=3,
    )
    back = made.restore
    assert back is not None
    assert [(s.name, s.kind) for s in back.stages] == [
        ("restore", "restore"), ("un-lock", "decrypt"), ("un-zip", "decompress"), ("put-back", "restore"),
    ]  # fmt: skip
    assert back.stages[0].moves[0].tier == "lake"
    assert back.stages[0].in_bytes == pytest.approx(5e12 / default().data_method("lz4").ratio["mixed"])
    assert back.stages[-1].out_bytes == pytest.approx(5e12)
    assert back.stages[-1].moves[-1].tier == "flash"


def test_without_security_the_same_bytes_move() -> None:
    made = plan(
        {
            "read": {"kind": "load", "from": "lake"},
            "hide": {"kind": "anonymise", "rate": "10 MB/s", "ratio": 0.5},
            "note": {"kind": "audit", "log": "100 B", "to": "flash"},
            "keep": {"kind": "archive", "to": "flash"},
        },
        records=1000,
    )
    bare = made.without_security()
    assert [s.out_bytes for s in bare.stages] == [s.out_bytes for s in made.stages]
    assert [s.core_s for s in bare.stages] == [0, 0, 0, 0]
    assert [len(s.moves) for s in bare.stages] == [1, 0, 0, 1]
    assert made.stages[2].written is not None
    assert made.stages[2].written.size_bytes == 1e5


READ = {"kind": "load", "from": "lake"}


@pytest.mark.parametrize(
    ("stages", "rest", "code", "path"),
    [
        ({"a": {**READ, "after": ["b"]}, "b": {"kind": "stage", "after": ["a"]}}, {}, "stage-cycle", "stages.a.after"),
        ({"a": READ, "b": {"kind": "stage", "after": ["aa"]}}, {}, "unknown-stage", "stages.b.after.0"),
        ({"a": {"kind": "load", "from": "lakes"}}, {}, "unknown-storage-tier", "stages.a.from"),
        ({"a": READ, "b": {"kind": "archive", "to": "lakes"}}, {}, "unknown-storage-tier", "stages.b.to"),
        ({"a": {**READ, "ratio": 0}}, {}, "not-a-fraction", "stages.a.ratio"),
        ({"a": {**READ, "ratio": -1}}, {}, "not-a-fraction", "stages.a.ratio"),
        ({"a": {"kind": "load"}}, {}, "stage-without-source", "stages.a"),
        ({"a": READ, "b": {"data": "2 TB", "after": "a"}}, {}, "stage-without-source", "stages.b"),
        ({"a": READ, "b": {"data": "2 TB"}}, {}, "stage-without-source", "stages.b"),
        ({"a": READ}, {"data": None}, "stage-without-data", "stages.a"),
        ({}, {}, "pipeline-empty", ""),
        ({"a": READ}, {"every": "1 h"}, "pipeline-times", ""),
        ({"a": {**READ, "nodes": "etls"}}, {}, "unknown-node-group", "stages.a.nodes"),
        ({"a": READ}, {"count": 5}, "pipeline-nodes", "count"),
        ({"a": {**READ, "rate": "1 GB/s", "cores": 11}}, {}, "stage-cores", "stages.a.cores"),
        ({"a": {**READ, "rate": "1 GB/s", "node_rate": "2 GB/s"}}, {}, "stage-rates", "stages.a"),
        ({"a": READ, "b": {"kind": "clean"}}, {}, "stage-missing", "stages.b"),
        ({"a": READ, "b": {"kind": "compress"}}, {}, "stage-missing", "stages.b"),
        ({"a": READ, "b": {"kind": "compress", "method": "aes"}}, {}, "stage-method", "stages.b.method"),
        ({"a": READ, "b": {"kind": "compress", "method": "zstd-99"}}, {}, "unknown-catalog-name", "stages.b.method"),
        ({"a": READ, "b": {"kind": "compress", "method": "lz4", "content": "dna"}}, {}, "stage-content", "stages.b.content"),
        ({"a": {**READ, "log": "1 B"}}, {}, "stage-key", "stages.a"),
        ({"a": READ, "b": {"kind": "audit", "log": "1 B", "to": "lake"}}, {}, "stage-count", "stages.b"),
        ({"a": READ, "b": {"kind": "access-check", "latency": "1 ms"}}, {}, "stage-count", "stages.b"),
        ({"a": READ, "b": {"kind": "encrypt", "method": "aes"}, "c": {"kind": "compress", "method": "lz4"}}, {}, "stage-on-encrypted", "stages.c"),
        ({"a": READ, "b": {"kind": "encrypt", "method": "aes"}, "c": {"kind": "label", "rate": "1 MB/s"}}, {}, "stage-on-encrypted", "stages.c"),
        ({"a": READ, "b": {"kind": "backup", "to": "lake"}}, {"data": "40 TB", "every": "24 h", "times": 3}, "pipeline-tier-full", ""),
        ({"a": {**READ, "kind": "wash"}}, {}, "not-a-choice", "stages.a.kind"),
    ],
)  # fmt: skip
def test_what_is_refused(stages: dict[str, Any], rest: dict[str, Any], code: str, path: str) -> None:
    problems = check_data(data(stages, **rest))
    assert [p.code for p in problems] == [code]
    assert problems[0].path == ".".join(part for part in ("workload.pipelines.p", path) if part)
    assert problems[0].hint or code == "not-a-choice"


def check_data(raw: dict[str, Any]) -> list[Any]:
    try:
        scenario = load(raw)
    except InputError as error:
        return error.problems
    return check(scenario)


def test_what_is_refused_of_places_and_ciphers() -> None:
    def codes(**change: Any) -> list[str]:
        return [p.code for p in check_data(data(OUT, {**SITES, **change.pop("cluster", {})}, **change))]

    assert codes(in_flight="zstd-1") == ["stage-method"]
    assert codes(in_flight="rot13") == ["unknown-catalog-name"]
    assert codes(data_in=[]) == ["pipeline-rule-empty"]
    assert codes(cluster={"locations": {"bonn": {"country": "de"}}}) == ["location-country"]
    assert codes(cluster={"locations": {"bonn": {"region": "nowhere"}}}) == ["unknown-catalog-name"]
    assert codes(cluster={"locations": {"paris": {"country": "FRA"}}}) == ["storage-location"]
    assert codes(cluster={"storage": {**SITES["storage"], "bucket": {**SITES["storage"]["bucket"], "location": "mars"}}}) == [
        "storage-location"
    ]
    assert codes(in_flight="aes-256-xts") == []


def test_the_order_of_stages_is_content() -> None:
    zipped, locked = {"kind": "compress", "method": "lz4"}, {"kind": "encrypt", "method": "aes"}
    first = load(data({"a": READ, "b": zipped, "c": locked}))
    second = load(data({"a": READ, "c": locked, "b": {**zipped, "content": "encrypted"}}))
    assert first.spec.workload.pipelines["p"].stages["c"].after == ("b",)
    assert load(first.data()) == first
    assert first.digest() != load(data({"a": READ, "c": locked, "b": zipped})).digest()
    assert list(second.vary({"workload.pipelines.p.data": "2 TB"}).spec.workload.pipelines["p"].stages) == ["a", "c", "b"]


def test_all_problems_come_at_once() -> None:
    problems = check_data(data({"a": {"kind": "load", "from": "lakes"}, "b": {"kind": "archive", "to": "flush", "nodes": "x"}}))
    assert sorted(p.code for p in problems) == ["unknown-node-group", "unknown-storage-tier"]


def test_a_stage_on_several_groups_needs_to_say_which() -> None:
    cluster = {**CLUSTER, "nodes": {"a": {"count": 1, "cores": 1}, "b": {"count": 1, "cores": 1}}}
    assert [p.code for p in check_data(data({"a": READ}, cluster))] == ["pipeline-node-group"]


OUT = {
    "take": {"kind": "load", "from": "records", "nodes": "here"},
    "hide": {"kind": "anonymise", "rate": "20 MB/s", "ratio": 0.6, "nodes": "here"},
    "send": {"kind": "archive", "to": "bucket", "nodes": "here"},
}


def test_data_that_may_not_leave() -> None:
    found = check_data(data(OUT, SITES, data_in=["EU"]))
    assert [(p.code, p.path) for p in found] == [("data-may-not-leave", "workload.pipelines.p.stages.send.to")]
    assert "cloud (USA)" in found[0].message
    assert "anonymise" in found[0].hint
    free = {**OUT, "hide": {**OUT["hide"], "leaves": True}}
    assert check_data(data(free, SITES, data_in=["EU"])) == []
    assert check_data(data(OUT, SITES, data_in=["EU", "USA"])) == []
    assert check_data(data(OUT, SITES, data_in=["bonn", "clou*"])) == []


def test_who_may_read() -> None:
    found = check_data(data(OUT, SITES, operators=["own"]))
    assert [p.code for p in found] == ["data-may-not-be-read"]
    assert check_data(data(OUT, SITES, operators=["own", "aws"])) == []
    assert [p.code for p in check_data(data(OUT, SITES, operators=["asw"]))][:1] == ["operator-unknown"]
    assert [p.code for p in check_data(data(OUT, SITES, data_in=["Bon"]))][:1] == ["data-in-unknown"]


def test_encryption_releases_nothing_and_an_audit_log_stays_bound() -> None:
    locked = {**OUT, "hide": {"kind": "encrypt", "method": "aes", "nodes": "here"}}
    assert [p.code for p in check_data(data(locked, SITES, data_in=["DEU"]))] == ["data-may-not-leave"]
    logged = {
        **OUT,
        "hide": {**OUT["hide"], "leaves": True},
        "log": {"kind": "audit", "log": "1 kB", "to": "bucket", "nodes": "here", "after": ["hide"]},
    }
    assert [p.path.rpartition(".stages.")[2] for p in check_data(data(logged, SITES, data_in=["DEU"], records=5))] == ["log.to"]


def test_data_on_nodes_elsewhere_are_refused_too() -> None:
    moved = {**OUT, "hide": {**OUT["hide"], "nodes": "there", "leaves": True}}
    assert [p.path.rpartition(".stages.")[2] for p in check_data(data(moved, SITES, data_in=["DEU"]))] == ["hide.nodes"]


def test_a_place_of_unknown_country_is_in_none() -> None:
    found = check_data(data({"a": READ}, data_in=["DEU"]))
    assert {p.code for p in found} == {"data-may-not-leave"}
    assert "cluster.site.region" in found[0].hint


def test_what_is_read_where_bound_data_lie_is_bound_again() -> None:
    """A released stage before it does not free what a stage then reads itself: source data, data of others before it, or an audit log."""
    free = {**OUT, "hide": {**OUT["hide"], "leaves": True}}

    def found(stages: dict[str, Any]) -> list[tuple[str, str]]:
        problems = check_data(data(stages, SITES, data_in=["DEU"], records=5))
        return [(p.code, p.path.rpartition(".stages.")[2]) for p in problems]

    def used(tier: str, **more: Any) -> dict[str, Any]:
        return {"use": {"kind": "load", "from": tier, "nodes": "there", **more}}

    refused = [("data-may-not-leave", "use.nodes")]
    assert found({**free, **used("bucket")}) == []
    assert found({**free, **used("records")}) == refused
    assert found({**free, "put": {"kind": "archive", "to": "records", "nodes": "here"}, **used("records")}) == refused
    flash = {"local": {"type": "nvme", "read": "5 GB/s", "write": "5 GB/s", "location": "bonn"}}
    cluster = {**SITES, "storage": {**SITES["storage"], **flash}}

    def through_local(first: dict[str, Any], last: dict[str, Any]) -> list[str]:
        stages = {"take": {**OUT["take"], **first}, "hide": free["hide"], "put": {**last, "nodes": "here"}, **used("local")}
        return [p.path.rpartition(".stages.")[2] for p in check_data(data(stages, cluster, data_in=["DEU"], records=5))]

    assert through_local({}, {"kind": "archive", "to": "local"}) == []
    assert through_local({"to": "local"}, {"kind": "archive", "to": "local"}) == ["use.nodes"]
    assert through_local({}, {"kind": "audit", "log": "1 kB", "to": "local"}) == ["use.nodes"]
    assert through_local({}, {"kind": "archive", "to": "bucket"}) == ["use.nodes"]  # nobody wrote there: it holds other data
    # what is read is bound and written on: the tier that it is written to is bound as well
    again = {**free, "back": {"kind": "load", "from": "records", "to": "local", "nodes": "here"}, **used("local")}
    assert [p.path.rpartition(".stages.")[2] for p in check_data(data(again, cluster, data_in=["DEU"]))] == ["use.nodes"]


def test_a_setting_is_the_edit_of_the_file() -> None:
    """Data of its own set free a stage that did not say what it follows, and only such a one; taking them away binds it again."""
    base = {
        "a": READ,
        "b": {"kind": "clean", "rate": "1 GB/s"},
        "c": {"from": "lake"},
        "d": {"kind": "load", "from": "lake", "data": "3 TB"},
    }
    for said in ({}, {"after": None}, {"after": "b"}, {"after": []}):
        stages = {**base, "c": {**base["c"], **said}}
        for stage, more in (("c", "2 TB"), ("d", None)):
            varied = load(data(stages)).vary({f"workload.pipelines.p.stages.{stage}.data": more})
            edited = load(data({**stages, stage: {**stages[stage], "data": more}}))
            assert varied == edited
            assert varied.digest() == edited.digest()
        assert load(load(data(stages)).data()) == load(data(stages))
    assert [
        p.code for p in check_data(load(data({"a": READ, "b": base["b"]})).vary({"workload.pipelines.p.stages.b.data": "2 TB"}).data())
    ] == ["stage-without-source"]


def test_what_a_stage_begins_with_comes_from_somewhere() -> None:
    """1 TB handed on and 2 TB that arrive at 1 GB/s: 3 TB in, of which 2 take their time to arrive; the first terabyte is begun with once."""
    made = plan({"a": READ, "b": {"kind": "collect", "arrives": "1 GB/s", "data": "2 TB", "after": "a"}})
    assert [(s.begin_bytes, s.in_bytes, s.arrive_s) for s in made.stages] == [(1e12, 1e12, 0), (2e12, 3e12, 2000)]
    read = plan({"a": READ, "b": {"from": "lake", "data": "2 TB", "after": "a"}})
    assert [sum(m.size_bytes for m in s.moves) for s in read.stages] == [1e12, 3e12]
