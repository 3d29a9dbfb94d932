"""User catalogs on top of the built-in one."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcsim.base.errors import InputError
from hpcsim.catalog.lookup import Catalog

MINE = """\
references:
  sheet: data sheet of the maker
accelerators:
  my-chip:
    title: My chip
    aliases: [MC-1]
    category: asic
    peak: {bf16: 100 TFLOP/s}
    memory: 64 GB
    sources:
      peak: read @sheet
      memory: measured on our own board
  A100-80GB:
    matmul: {bf16: 280 TFLOP/s, fp16: 281 TFLOP/s}
    tdp: 350 W
models:
  tiny: {title: Tiny, family: gpt, layers: 2, hidden: 64, ffn: 256, heads: 4, vocab: 1000, bias: true, tied: true}
"""


def test_an_overlay_adds_and_overrides(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE)
    catalog = Catalog([path])
    chip = catalog.accelerator("mc1")
    assert chip.memory_bytes == 64e9
    assert chip.source_of("peak_flop_per_s.bf16") == ("data sheet of the maker", "read")
    assert chip.source_of("memory_bytes").kind == "measured"
    assert chip.source_of("category").kind == "given"
    a100 = catalog.accelerator("a100-sxm-80gb")
    assert a100.measured_matmul_flop_per_s == {"bf16": 280e12, "fp16": 281e12}
    assert a100.tdp_w == 350
    assert a100.source_of("tdp_w").kind == "given"
    assert str(path) in a100.source_of("tdp_w").source
    assert a100.source_of("measured_matmul_flop_per_s.bf16").kind == "given"
    built_in = Catalog().accelerator("a100-sxm-80gb")
    assert (a100.memory_bytes, a100.source_of("memory_bytes")) == (built_in.memory_bytes, built_in.source_of("memory_bytes"))
    assert built_in.tdp_w == 400
    assert catalog.model("tiny").layers == 2


def test_the_last_overlay_wins() -> None:
    catalog = Catalog([{"pue": {"google": {"value": 1.2}}}, {"pue": {"Google-Fleet": {"value": 1.3}}}])
    assert catalog.pue("google").value == 1.3
    assert catalog.pue("google").kind == "given"


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("accelerator:\n  x: {category: gpu, colour: red}\n", "2:22", "unknown field 'colour'"),
        ("accelerators:\n  a100-sxm-80gb:\n    tpd: 300 W\n", "3:5", "did you mean 'tdp'"),
        ("accelerators:\n  a100-sxm-80gb:\n    tdp: 300\n", "3:10", "has no unit"),
        ("accelerators:\n  a100-sxm-80gb:\n    memory: 300 W\n", "3:13", "is a power"),
        ("accelerators:\n  x: {category: warp}\n", "2:17", "gpu"),
        ("acelerators:\n  x: {}\n", "1:1", "did you mean 'accelerators'"),
        ("accelerators: 3\n", "1:15", "map of entries"),
        ("accelerators:\n  x: {category: gpu, tdp: 3 W, sources: {tdp: read @nowhere}}\n", "2:41", "not declared"),
        ("accelerators:\n  x: {category: gpu, tdp: 3 W, sources: {tdp: hearsay}}\n", "2:47", "names no source"),
    ],
)
def test_mistakes_are_placed(tmp_path: Path, text: str, place: str, words: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        Catalog([path])
    assert f"{path}:{place}: " in str(caught.value)
    assert words in str(caught.value)


def test_all_mistakes_of_an_overlay_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("accelerators:\n  x: {category: gpu, tdp: 3}\n  y: {category: gpu, memory: 4 W, colour: red}\n")
    with pytest.raises(InputError) as caught:
        Catalog([path])
    assert [p.line for p in caught.value.problems] == [2, 3, 3]


def test_a_name_of_two_entries_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        Catalog([{"accelerators": {"new": {"category": "gpu", "aliases": ["H100"]}}}])
    assert caught.value.problems[0].code == "catalog-collision"


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_an_unreadable_overlay_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        Catalog([tmp_path / name])
