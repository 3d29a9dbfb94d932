"""One replica pass by pass: what the event engine must agree with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpcsim.cost.serving import Passes


@dataclass
class _Running:
    request: int
    left: int
    context: int


def serve_slowly(
    passes: Passes,
    arrivals: Sequence[float],
    prompts: Sequence[int],
    outputs: Sequence[int],
    *,
    room: float,
    most: int,
    pass_tokens: int,
    chunk: int,
) -> tuple[list[float], list[float], list[float]]:
    """Return when each request was taken up, had its first token and was done."""
    n = len(arrivals)
    start, first, end = ([float("nan")] * n for _ in range(3))
    waiting = list(range(n))
    chunking: list[list[int]] = []
    running: list[_Running] = []
    held, now = 0, 0.0

    def fits(request: int) -> bool:
        there = arrivals[request] <= now
        return there and len(running) + len(chunking) < most and held + prompts[request] + outputs[request] <= room

    def yields_first(request: int) -> None:
        nonlocal held
        first[request] = now
        if outputs[request] > 1:
            running.append(_Running(request, outputs[request] - 1, prompts[request]))
        else:
            end[request] = now
            held -= prompts[request] + outputs[request]

    def step() -> None:
        nonlocal held
        for one in running:
            one.context += 1
            one.left -= 1
        for one in [one for one in running if not one.left]:
            running.remove(one)
            end[one.request] = now
            held -= prompts[one.request] + outputs[one.request]

    while waiting or running or chunking:
        if not running and not chunking and arrivals[waiting[0]] > now:
            now = arrivals[waiting[0]]
        taken: list[int] = []
        tokens = 0
        while (
            waiting
            and fits(waiting[0])
            and (chunk or not taken or tokens + prompts[waiting[0]] <= pass_tokens)
            and len(running) + len(taken) < most
        ):
            request = waiting.pop(0)
            held += prompts[request] + outputs[request]
            tokens += prompts[request]
            start[request] = now
            if chunk:
                chunking.append([request, 0])
            else:
                taken.append(request)
        read = sum(one.context + 1 for one in running)
        if taken:
            attention = sum(passes.attention_s(prompts[request]) for request in taken)
            now += max(float(passes.linear_s[tokens] + passes.head_s[len(taken)]) + attention, passes.host_s)
            for request in taken:
                yields_first(request)
        elif chunking:
            left, parts = chunk, []
            for entry in chunking:
                part = min(left, prompts[entry[0]] - entry[1])
                parts.append((entry, part))
                left -= part
                if not left:
                    break
            attention = sum(passes.attention_s(part, entry[1]) for entry, part in parts)
            done = [entry for entry, part in parts if entry[1] + part == prompts[entry[0]]]
            batch = len(running)
            linear = float(passes.linear_s[batch + chunk - left] + passes.head_s[batch + len(done)])
            now += max(linear + passes.cache_s * read + attention, passes.host_s)
            step()
            for entry, part in parts:
                entry[1] += part
            for entry in done:
                chunking.remove(entry)
                yields_first(entry[0])
        elif running:
            now += max(float(passes.linear_s[len(running)] + passes.head_s[len(running)]) + passes.cache_s * read, passes.host_s)
            step()
    return start, first, end
