"""Run under mpirun: a row-partitioned matrix product as :mod:`hpcsim.workload.matrix` plans it, with what this machine's ranks and messages do.

Prints one JSON line: the machine's rates (from a warm-up that the timed runs do not reuse) and the seconds of the timed products.
"""

import json
import sys
import time

import numpy as np
from mpi4py import MPI

from hpcsim.workload.matrix import partition


def main(rows: int, inner: int, columns: int, repeats: int) -> None:
    world = MPI.COMM_WORLD
    rank, size = world.rank, world.size
    starts, counts = partition(rows, size)
    generator = np.random.default_rng(1)
    a = generator.random((rows, inner)) if rank == 0 else None
    b = generator.random((inner, columns)) if rank == 0 else np.empty((inner, columns))
    mine, part = np.empty((counts[rank], inner)), np.empty((counts[rank], columns))
    whole = np.empty((rows, columns)) if rank == 0 else None

    def round_trip(elements: int, times: int) -> float:
        buffer, best = np.zeros(elements), np.inf
        for _ in range(times):
            world.Barrier()
            begin = time.perf_counter()
            if rank == 0:
                world.Send(buffer, 1)
                world.Recv(buffer, 1)
            elif rank == 1:
                world.Recv(buffer, 0)
                world.Send(buffer, 0)
            best = min(best, time.perf_counter() - begin)
        return best / 2

    own = np.ones_like(mine)
    other = np.ones_like(b)
    seconds = []
    for _ in range(5):
        world.Barrier()
        begin = time.perf_counter()
        own @ other
        seconds.append(time.perf_counter() - begin)
    slowest = world.allgather(min(seconds))
    latency_s = round_trip(1, 200)
    large = max(inner * columns // 2, 1)
    rate = 8 * large / max(round_trip(large, 9) - latency_s, 1e-9)
    timed, right = [], True
    for _ in range(repeats):
        world.Barrier()
        begin = time.perf_counter()
        world.Bcast(b, 0)
        world.Scatterv([a, counts * inner, starts * inner, MPI.DOUBLE] if rank == 0 else None, mine, 0)
        np.matmul(mine, b, out=part)
        world.Gatherv(part, [whole, counts * columns, starts * columns, MPI.DOUBLE] if rank == 0 else None, 0)
        world.Barrier()
        timed.append(time.perf_counter() - begin)
    if rank == 0:
        right = bool(np.allclose(whole, a @ b))
        speed = 2.0 * float(counts[0]) * inner * columns / float(np.mean(slowest))
        print(json.dumps({"speed_flop_per_s": speed, "latency_s": latency_s, "bytes_per_s": rate, "seconds": timed, "right": right}))


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:5]))
