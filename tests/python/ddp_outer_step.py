"""Times outer steps of Lookbehind-SAM with PyTorch's DistributedDataParallel over gloo, as the authors' code makes them.

Usage: ddp_outer_step.py WORKERS BATCH K REPETITIONS RANK STORE

Each process is one rank; they meet at the file STORE, on the interface that GLOO_SOCKET_IFNAME names (default: lo). The
model is ResNet-18 for images of the size of the digits data set. An outer step makes 2k backward passes, in each of which
DistributedDataParallel averages the gradients, partly while the pass still computes. Rank 0 prints the seconds of each
outer step, one a line: from a barrier until the last process is done.
"""

import os
import sys
import time

import torch
import torch.distributed as dist
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from torch_models import build

MODEL = {"kind": "resnet", "name": "resnet18"}
SHAPE, CLASSES = (8, 8), 10
RHO, ALPHA, LR = 0.05, 0.5, 1e-3
WARMUP = 1


def backward(model, inputs, targets):
    """A gradient at the present weights, averaged over all ranks."""
    model.zero_grad(set_to_none=True)
    functional.cross_entropy(model(inputs), targets).backward()


def outer_step(model, inputs, targets, k):
    """One outer step: k climbs, and after each a descent of the fast weights."""
    parameters = list(model.parameters())
    with torch.no_grad():
        slow = [parameter.clone() for parameter in parameters]
        fast = [parameter.clone() for parameter in parameters]
    for _ in range(k):
        backward(model, inputs, targets)
        with torch.no_grad():
            norm = torch.sqrt(sum((parameter.grad**2).sum() for parameter in parameters))
            for parameter in parameters:
                parameter.add_(parameter.grad, alpha=RHO / (norm.item() + 1e-12))
        backward(model, inputs, targets)
        with torch.no_grad():
            for parameter, weights in zip(parameters, fast):
                weights.add_(parameter.grad, alpha=-LR)
    with torch.no_grad():
        for parameter, before, weights in zip(parameters, slow, fast):
            parameter.copy_(before + ALPHA * (weights - before))


def main():
    workers, batch, k, repetitions, rank = map(int, sys.argv[1:6])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[6]}", rank=rank, world_size=workers)
    model = DistributedDataParallel(build(MODEL, SHAPE, CLASSES))
    own = max(batch // workers, 1)
    inputs, targets = torch.rand(own, *SHAPE), torch.randint(CLASSES, (own,))
    for repetition in range(WARMUP + repetitions):
        dist.barrier()
        begun = time.perf_counter()
        outer_step(model, inputs, targets, k)
        seconds = torch.tensor([time.perf_counter() - begun])
        dist.all_reduce(seconds, op=dist.ReduceOp.MAX)
        if rank == 0 and repetition >= WARMUP:
            print(seconds.item(), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
