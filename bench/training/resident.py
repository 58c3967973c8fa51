"""Keep the pixels of the training split on the GPU if they take only a small share of its memory.

A batch is then a selection of rows there, so nothing is copied from the host. The batches are the
same bit for bit, so this is not part of a trial's identity.

It is on by default. The bytes are allocated before training and stay until it ends, so
`bench.measure.meter.Memory` can subtract them from the peak: the result is exactly the peak without
them. But the method cannot use this memory, so a trial that nearly fills the GPU may run out of it.
`BENCH_RESIDENT=0` turns it off.
"""

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from bench import UserError
from bench.data.resize import Pixels

SHARE = 0.1
"""Share of the GPU's memory that may be used. RSITMD at 224 px takes 0.5 GiB, RSICD 1.2 GiB."""
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
