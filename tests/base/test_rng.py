"""Named random streams: independent, and the same everywhere."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcsim.base.rng import stream

names = st.lists(st.one_of(st.text(max_size=5), st.integers(-5, 5)), max_size=4)


def rederived(seed: int, *labels: str | int) -> np.random.Generator:
    """The documented derivation, written again: SHA-256 of the typed names, eight little-endian words after the seed, PCG64."""
    text = b""
    for i, label in enumerate(labels):
        text += (b"\x1f" if i else b"") + (b"int:" + str(label).encode() if isinstance(label, int) else b"str:" + label.encode())
    words = np.frombuffer(hashlib.sha256(text).digest(), dtype="<u4")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *map(int, words)])))


@pytest.mark.parametrize("labels", [(), ("jobs",), ("failures", "gpu", 17), ("é", -1), ("a", "b")])
@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**63 - 1])
def test_the_derivation(seed: int, labels: tuple[str | int, ...]) -> None:
    assert stream(seed, *labels).random(5).tolist() == rederived(seed, *labels).random(5).tolist()


@given(st.integers(0, 2**63 - 1), names, names)
def test_names_decide(seed: int, one: list[str | int], other: list[str | int]) -> None:
    same = [(type(n), n) for n in one] == [(type(n), n) for n in other]
    assert (stream(seed, *one).integers(2**63, size=4).tolist() == stream(seed, *other).integers(2**63, size=4).tolist()) is same


def test_names_cannot_be_forged() -> None:
    pairs = [(("a\x1fstr:b",), ("a", "b")), ((17,), ("17",)), (("a", ""), ("a",)), (("",), ()), (("a\x1f", "b"), ("a", "\x1fb"))]
    for one, other in pairs:
        assert stream(1, *one).random() != stream(1, *other).random()


def test_numpy_integers_are_integers() -> None:
    assert stream(1, "gpu", np.int64(17)).random() == stream(1, "gpu", 17).random()
    assert stream(1, "gpu", np.uint8(17)).random() == stream(1, "gpu", 17).random()


def test_another_consumer_shifts_nobody() -> None:
    alone = stream(3, "jobs").random(10)
    first, other = stream(3, "jobs"), stream(3, "failures")
    mixed = [(first.random(), other.random())[0] for _ in range(10)]
    assert mixed == alone.tolist()


def test_streams_of_neighbours_are_uncorrelated() -> None:
    draws = np.array([stream(1, "node", i).standard_normal(2000) for i in range(12)])
    correlation = np.corrcoef(draws) - np.eye(12)
    assert np.abs(correlation).max() < 5 / np.sqrt(2000)  # 5 standard errors of the correlation of independent draws


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        stream(-1, "jobs")


def test_hash_seed_changes_nothing() -> None:
    code = "from hpcsim.base.rng import stream; print(stream(7, 'jobs', 3).integers(2**63))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {f"{rederived(7, 'jobs', 3).integers(2**63)}\n"}
