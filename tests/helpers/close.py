"""How far apart two results may lie that are equal on paper.

A sum of floating-point numbers depends on the order of its terms, and a product of matrices chooses
that order by the shapes it is given, by the number of threads and by what the CPU can do: an AMD
EPYC with AVX-512 BF16 gives other last digits for a batch of two than for a batch of six. So bit
for bit (`torch.equal`) is asked for only where the same operations run on the same values in the
same shapes in one process, or where nothing is computed but copied. Everything else goes through
`close`, and nothing is compared with a figure that some machine once computed.
"""

from typing import Any

import torch
from torch import Tensor

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2}
"""For numbers of about 1, as in features of unit length. float32: a hundred times its precision
(1.2e-7), for some hundred operations on the way. bfloat16: eight times its precision (3.9e-3)."""


def close(
    actual: Any, expected: Any, dtype: torch.dtype = torch.float32, scale: float = 1.0
) -> None:
    """Assert that tensors (or nested lists of them) differ by no more than rounding does.

    `dtype`: in what the products were computed; `scale`: how large the numbers are.
    """
    if isinstance(actual, Tensor) and isinstance(expected, Tensor):
        assert actual.dtype == expected.dtype, f"{actual.dtype} instead of {expected.dtype}"
    limit = TOLERANCE[dtype]
    torch.testing.assert_close(actual, expected, rtol=limit, atol=limit * scale)
