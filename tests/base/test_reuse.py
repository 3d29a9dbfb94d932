"""What is kept equals what is computed anew, and only inside the block that asks for it."""

from __future__ import annotations

import threading

import pytest

from hpcsim.base.errors import InputError, ProblemKind
from hpcsim.base.reuse import Memory, kept, reusing

ODD = ProblemKind("test-odd", "{value} is odd", "take an even one")


def half(value: int, made: list[int]) -> int:
    def make() -> int:
        made.append(value)
        if value % 2:
            raise ODD.error(value=value)
        return value // 2

    return kept("half", lambda: value, make)


def test_results_and_problems_are_made_once_inside_the_block_only() -> None:
    made: list[int] = []
    memory = Memory()
    for _ in range(2):
        assert half(4, made) == 2
    assert made == [4, 4]
    with reusing(memory):
        for _ in range(3):
            assert [half(4, made), half(8, made)] == [2, 4]
            with pytest.raises(InputError) as caught:
                half(3, made)
            assert [p.code for p in caught.value.problems] == ["test-odd"]
    assert made == [4, 4, 4, 8, 3]
    assert len(memory) == 3
    assert half(4, made) == 2
    assert made[-1] == 4


def test_kinds_do_not_meet_and_the_oldest_goes() -> None:
    memory, made = Memory(most=2, few={"big": 1}), []
    with reusing(memory):
        for kind in ("small", "big"):
            for key in (1, 2, 3, 3, 2, 1):
                kept(kind, lambda k=key: k, lambda kind=kind, k=key: made.append((kind, k)))  # type: ignore[misc]
    assert [k for kind, k in made if kind == "small"] == [1, 2, 3, 1]
    assert [k for kind, k in made if kind == "big"] == [1, 2, 3, 2, 1]
    assert len(memory) == 3


def test_other_threads_do_not_share_the_block() -> None:
    made: list[int] = []
    with reusing(Memory()):
        half(2, made)
        thread = threading.Thread(target=lambda: half(2, made))
        thread.start()
        thread.join()
        half(2, made)
    assert made == [2, 2]
