"""Times gloo's all-reduce of f32 sums between processes on the interface that GLOO_SOCKET_IFNAME names (default: lo).

Usage: gloo_allreduce.py WORKERS ELEMENTS REPETITIONS [RANK STORE]

Prints the seconds of each repetition, one a line: from a barrier until the last process has the result. With a rank it
is one of the processes, and they meet at the file STORE; without, it starts all of them.
"""

import os
import sys
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def reduce_repeatedly(rank, workers, elements, repetitions, meeting_point):
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=workers)
    gradient = torch.ones(elements)
    for repetition in range(repetitions + 2):  # two to warm up
        dist.barrier()
        begun = time.perf_counter()
        dist.all_reduce(gradient)
        seconds = torch.tensor([time.perf_counter() - begun])
        dist.all_reduce(seconds, op=dist.ReduceOp.MAX)
        if rank == 0 and repetition >= 2:
            print(seconds.item(), flush=True)
        gradient.fill_(1.0)
    dist.destroy_process_group()


def main():
    workers, elements, repetitions = map(int, sys.argv[1:4])
    if len(sys.argv) > 4:
        reduce_repeatedly(int(sys.argv[4]), workers, elements, repetitions, sys.argv[5])
        return
    with tempfile.TemporaryDirectory() as folder:
        arguments = (workers, elements, repetitions, os.path.join(folder, "store"))
        mp.spawn(reduce_repeatedly, arguments, nprocs=workers)


if __name__ == "__main__":
    main()
