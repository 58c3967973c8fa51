"""The pixels of the training split on the GPU, where they fit a set share of its memory.

A batch is then an index there: no bytes are gathered on the host and none cross the bus. The
batches are the same bit for bit, so this belongs to the machine and not to a trial's identity.

It is on by default and counted apart. These bytes are allocated before training and stay until it
ends, so they are part of every moment's "allocated" by the same amount: taken off the peak
(`bench.measure.meter.Memory`), they leave exactly the peak of a training that gathers on the host.
What cannot be taken off is that they are not free for the method: a trial within that share of the
GPU's memory may run out of it. `BENCH_RESIDENT=0` turns it off, and so does whoever asks which
batch still fits (`benchmarks/efficiency.py`).
"""

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from bench import UserError
from bench.data.resize import Pixels

SHARE = 0.1
"""Of the GPU's whole memory. RSITMD at 224 px takes 0.5 GiB, RSICD 1.2 GiB."""
PART = 1024
"""Images copied at once, so that the host never holds the split a second time."""


def share() -> float:
    """The share of a GPU's memory that the split may take: $BENCH_RESIDENT, else 0.1."""
    text = os.environ.get("BENCH_RESIDENT", str(SHARE))
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UserError(f"$BENCH_RESIDENT is a share of the GPU's memory, 0 to 1, not {text!r}")
    return value


def fits(pixels: Pixels, rows: Sequence[int], device: torch.device) -> bool:
    """Whether the split lives on the device: a GPU of which it takes no more than its share."""
    if device.type != "cuda":
        return False
    total: int = torch.cuda.mem_get_info(device)[1]
    return len(rows) * pixels[:1].nbytes <= share() * total


def upload(pixels: Pixels, rows: Sequence[int], device: torch.device) -> tuple[Tensor, int]:
    """The rows `(len(rows), H, W, 3)` uint8 on the device, and the bytes that it allocated."""
    cuda = device.type == "cuda"
    before = torch.cuda.memory_allocated(device) if cuda else 0
    uploaded = torch.empty((len(rows), *pixels.shape[1:]), dtype=torch.uint8, device=device)
    taken = torch.cuda.memory_allocated(device) - before if cuda else uploaded.nbytes
    for start in range(0, len(rows), PART):
        part = pixels[list(rows[start : start + PART])]
        uploaded[start : start + len(part)] = torch.from_numpy(part)
    return uploaded, taken
