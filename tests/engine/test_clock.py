from __future__ import annotations

import gc
from typing import Any

import pytest

from hpcsim.engine.clock import ARRIVAL, COMPLETION, LATE_COMPLETION, PASS, Clock


def test_events_happen_at_the_very_time_that_was_set() -> None:
    clock, seen = Clock(), []
    clock.at(0.1, lambda event: clock.at(0.1 + 0.2, lambda event: seen.append(clock.now)))
    clock.run()
    assert seen == [0.1 + 0.2]


def test_order_at_one_instant_is_by_priority_then_by_setting() -> None:
    clock, seen = Clock(), []
    for name, priority in (("late", LATE_COMPLETION), ("pass", PASS), ("arrival", ARRIVAL), ("first", COMPLETION), ("second", COMPLETION)):
        clock.at(5.0, lambda event, name=name: seen.append(name), priority=priority)
    clock.run()
    assert seen == ["first", "second", "arrival", "pass", "late"]


def test_processes_run_with_completions() -> None:
    clock, seen = Clock(), []

    def process() -> Any:
        yield clock.timeout(5.0)
        seen.append("process")

    clock.process(process())
    clock.at(5.0, lambda event: seen.append("arrival"), priority=ARRIVAL)
    clock.run()
    assert seen == ["process", "arrival"]


def test_a_horizon_is_part_of_the_run_and_the_rest_waits() -> None:
    clock, seen = Clock(), []
    for time in (1.0, 2.0, 3.0):
        clock.at(time, lambda event, time=time: seen.append(time), priority=LATE_COMPLETION)
    clock.run(2.0)
    assert (seen, clock.now, clock.handled) == ([1.0, 2.0], 2.0, 2)
    clock.run(2.5)
    assert clock.now == 2.5
    clock.run()
    assert (seen, clock.now, clock.handled) == ([1.0, 2.0, 3.0], 3.0, 3)


def test_events_in_the_past_are_a_mistake() -> None:
    clock = Clock(10.0)
    with pytest.raises(ValueError, match="before the present"):
        clock.at(9.0, print)
    with pytest.raises(ValueError, match="before the present"):
        clock.at(float("nan"), print)


def test_simpys_own_form_of_until() -> None:
    clock = Clock()
    assert clock.run(clock.timeout(3.0, value="done")) == "done"
    assert clock.now == 3.0


def test_a_failure_in_a_process_comes_out() -> None:
    clock = Clock()

    def process() -> Any:
        yield clock.timeout(1.0)
        raise RuntimeError("broken")

    clock.process(process())
    with pytest.raises(RuntimeError, match="broken"):
        clock.run()


def test_the_collectors_thresholds_are_put_back() -> None:
    before = gc.get_threshold()
    clock, seen = Clock(), []
    clock.at(1.0, lambda event: seen.append(gc.get_threshold()[0]))
    clock.run()
    assert gc.get_threshold() == before
    assert seen[0] > before[0]


def test_what_is_cancelled_does_not_happen_and_its_time_does_not_come() -> None:
    clock, seen = Clock(), []
    clock.at(1.0, lambda event: seen.append(clock.now))
    clock.at(9.0, lambda event: seen.append(clock.now)).cancel()
    clock.run()
    assert (seen, clock.now, clock.handled) == ([1.0], 1.0, 1)


def test_a_sleeper_can_be_woken() -> None:
    clock, seen = Clock(), []
    sleeps: list[Any] = []

    def sleeper() -> Any:
        for _ in range(2):
            sleeps.append(clock.sleep(10.0))
            woken = yield sleeps[-1]
            seen.append((clock.now, woken))

    clock.process(sleeper())
    clock.at(4.0, lambda event: clock.wake(sleeps[-1]))
    clock.at(20.0, lambda event: clock.wake(sleeps[0]))
    clock.run()
    assert seen == [(4.0, True), (14.0, False)]
    assert clock.now == 20.0
