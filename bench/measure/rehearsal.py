"""A training step run on tensors without data, to predict the memory it would take on CUDA."""

import itertools
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.library import _scoped_library
from torch.utils import _pytree as tree
from torch.utils._python_dispatch import TorchDispatchMode

from bench.measure import count
from bench.recipe import Recipe
from bench.training import frozen, gradcache
from bench.training.features import frozen_batch
from bench.training.trainer import Trainer, autocast, compute_dtype
from methods.base import Batch, Method, NotApplicable

CPU = torch.device("cpu")
CAPTIONS = 5
IMAGES = 10_000
"""Size of the training split that a method is told: enough to fill every queue."""
BLOCK = 512
"""CUDA's caching allocator rounds sizes up to multiples of this."""
WORKSPACE = 2 * (2 * 4096 + 8 * 16) * 1024
"""cuBLAS's workspaces inside "allocated": one of forward, one of backward (Hopper: 2 x 32 MiB)."""

# What autocast computes in float32 on CUDA and not on a CPU (torch, "CUDA Op-Specific
# Behavior"): by a cast of the inputs, which autograd then keeps, or by the type of the result.
_CAST = """layer_norm group_norm exp expm1 log log1p log2 log10 reciprocal rsqrt softplus logsumexp
    cosine_similarity mse_loss l1_loss smooth_l1_loss nll_loss kl_div pow.Tensor_Scalar
    pow.Tensor_Tensor pow.Scalar dist cdist renorm"""
_RESULT = """softmax.int log_softmax.int sum sum.dim_IntList prod prod.dim_int cumsum cumprod
    linalg_vector_norm"""


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside: those alive now, and their peak.

    Works on real and fake tensors. It cannot see memory that a kernel uses internally.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = self.peak = 0
        self._known: dict[int, tuple[int, Any]] = {}

    def add(self, tensor: Tensor) -> None:
        """Count a tensor's storage, unless it is counted already, until it is freed."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = -(-storage.nbytes() // BLOCK) * BLOCK
        self._known[key] = (size, weakref.ref(storage, lambda _: self._freed(key)))
        self.live += size
        self.peak = max(self.peak, self.live)

    def _freed(self, key: int) -> None:
        self.live -= self._known.pop(key)[0]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation and count what it returns."""
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, tuple | list) else (result,):
            if isinstance(item, Tensor):
                self.add(item)
        return result


def make_fake(module: nn.Module, mode: FakeTensorMode) -> None:
    """Replace all parameters and buffers by fake ones; those that are shared stay shared."""
    originals: dict[int, tuple[Tensor, Tensor]] = {}
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                if id(tensor) not in originals:  # the original stays alive: its id is not reused
                    originals[id(tensor)] = (tensor, mode.from_tensor(tensor))
                tensors[name] = originals[id(tensor)][1]  # type: ignore[assignment]


@contextmanager
def as_on_cuda() -> Iterator[None]:
    """Make autocast and dropout of a CPU keep for the backward pass what those of CUDA keep.

    CUDA's autocast computes more in float32 than a CPU's, above all layer norms, for which it keeps
    a float32 copy of each input. CUDA's dropout keeps a mask of bytes.
    """
    autocast = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)

    def lower(value: Any) -> bool:
        return isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)

    def in_float32(name: str, by_result: bool) -> Callable[..., Any]:
        packet, _, overload = name.partition(".")
        function = getattr(getattr(torch.ops.aten, packet), overload or "default")

        def run(*args: Any, **kwargs: Any) -> Any:
            with torch._C._ExcludeDispatchKeyGuard(autocast):
                if by_result:
                    if lower(args[0]) and kwargs.get("dtype") is None:
                        kwargs["dtype"] = torch.float32
                    return function(*args, **kwargs)
                args = tuple(value.float() if lower(value) else value for value in args)
                return function(*args, **kwargs)

        return run

    def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return torch.native_dropout(x, p, True)[0] if training and p > 0 else x

    with _scoped_library("aten", "IMPL") as library, mock.patch.object(F, "dropout", dropout):
        for names, by_result in ((_CAST, False), (_RESULT, True)):
            for name in names.split():
                library.impl(name, in_float32(name, by_result), "AutocastCPU")
        yield


@contextmanager
def predictable(remedy: str = "") -> Iterator[None]:
    """Raise NotApplicable if a step inside needs values, which tensors without data do not have."""
    try:
        yield
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise NotApplicable(
            f"its memory cannot be predicted, because its step looks at the values of tensors "
            f"({error.func}){remedy}"
        ) from None


@contextmanager
def few_chunks(count: int) -> Iterator[None]:
    """Let gradcache encode the first two and the last two of its `count` chunks only.

    The rest would show no new peak, and there may be thousands. In the pass without a graph the
    features add up, so memory is highest at the last chunk, or at the one before it if the last
    is short. In the pass with a graph each chunk takes what the second one took: the gradients are
    there since the first. A chunk that is left out gives features without values.
    """
    calls = itertools.count()
    shape, dtype = torch.Size(), torch.float32

    def encode_chunk(encode: gradcache.Encode, part: Any) -> Tensor:
        nonlocal shape, dtype
        if 2 <= next(calls) % count < count - 2:
            return torch.zeros(shape, dtype=dtype)
        features = encode(part)
        shape, dtype = features.shape, features.dtype
        return features

    with mock.patch.object(gradcache, "encode_chunk", encode_chunk):
        yield


class Rehearsal:
    """A method's real training step on fake tensors (or, to check it, on real ones) on the CPU.

    What is modelled: parameters and buffers, gradients, optimiser states, every tensor that an
    operation of forward, backward, clipping and AdamW returns, as long as it lives, rounded up to
    512 bytes; autocast and dropout as on CUDA; attention that keeps queries, keys, values, output
    and the logsumexp, as CUDA's flash and memory-efficient kernels do; recomputation; the batch.
    What is not: scratch inside a kernel (backward of attention, convolution), the loader's
    augmentation, fragmentation, and the CUDA context.

    cuda: False runs the step as a CPU does; of that only `kept` means anything. cached: batches of
    cached features, which do not count. images: of the training split, to be told to the method.
    """

    def __init__(
        self,
        method: Method,
        recipe: Recipe,
        size: int,
        length: int,
        *,
        fake: bool = True,
        cuda: bool = True,
        cached: bool = False,
        images: int = IMAGES,
    ) -> None:
        self.method, self.size, self.length = method, size, length
        self.cuda, self.cached = cuda, cached
        if recipe.precision == "fp16" or (cuda and recipe.precision == "auto"):
            # Sizes are those of fp16, whose scaler asks for values.
            recipe = replace(recipe, precision="bf16")
        self.recipe, self.dtype = recipe, compute_dtype(recipe.precision, CPU)
        for tower in (method.image_tower, method.text_tower):
            tower.checkpointing = recipe.checkpointing
        frozen.hold(method, recipe, self.dtype)
        self.mode: AbstractContextManager[Any] = nullcontext()
        if fake:
            self.mode = FakeTensorMode(allow_non_fake_inputs=True)
            make_fake(method, self.mode)
        method.train()
        method.on_fit(images)
        method.on_epoch(0, 1)
        method.on_step(99, 100)  # near the end, when a schedule has switched everything on
        self.trainer: Trainer | None = None
        if any(p.requires_grad for p in method.parameters()):
            self.trainer = Trainer(method, recipe, 1e-3, 100, CPU)
            for group in self.trainer.optimizer.param_groups:  # as on CUDA
                group["fused"], group["foreach"] = True, False
            self.peak(2)  # AdamW's states appear in the first step

    def _as_on_device(self) -> AbstractContextManager[Any]:
        return as_on_cuda() if self.cuda else nullcontext()

    def batch(self, images: int) -> Batch:
        """A batch of so many images, none of which share a caption."""
        generator = torch.Generator().manual_seed(0)
        rows = torch.arange(images)
        fields = {
            "images": torch.randn(images, 3, self.size, self.size),
            "texts": torch.randint(1, 99, (images, self.length), generator=generator),
            "image_ids": rows,
            "caption_ids": rows * CAPTIONS,
            "caption_sets": torch.arange(images * CAPTIONS).view(images, CAPTIONS),
            "scenes": torch.zeros(images, dtype=torch.long),
        }
        batch = Batch(**fields)
        return frozen_batch(self.method, batch, self.dtype, CPU) if self.cached else batch

    def peak(self, images: int) -> int:
        """Peak bytes of a training step (without training: of encoding a batch)."""
        live = LiveBytes()
        with self.mode, self._as_on_device():
            # Features are made here and not in the step.
            ready = self.batch(images) if self.cached else None
            with live:
                self._step(live, images, ready)
        return live.peak

    def _step(self, live: LiveBytes, images: int, ready: Batch | None) -> None:
        cached = [] if ready is None else tree.tree_leaves([ready.images, ready.texts])
        for tensor in [*self.resident(), *cached]:
            live.add(tensor)
        if self.trainer is not None:
            parts = self.recipe.accumulation
            with few_chunks(-(-images // (self.recipe.gradcache or images))):
                self.trainer.step([ready or self.batch(images) for _ in range(parts)])
        else:
            batch = ready or self.batch(images)
            with torch.no_grad(), autocast(self.dtype, CPU):
                self.method.encode_image(batch.images)
                self.method.encode_text(batch.texts)

    def parts(self) -> count.Parts:
        """Bytes of parameters, gradients and optimiser states."""
        return count.parts(self.method, self.trainer.optimizer if self.trainer else None)

    def kept(self, images: int) -> int:
        """Bytes that autograd keeps for backward."""
        own: list[Tensor] = [*self.method.parameters(), *self.method.buffers()]
        with self.mode, self._as_on_device():
            batch = self.batch(images)
            own += [t for t in (batch.images, batch.texts) if isinstance(t, Tensor)]
            context = partial(autocast, self.dtype, CPU)
            return gradcache.kept(self.method, batch, self.recipe.gradcache, context, own)

    def flops(self, images: int) -> tuple[int, int]:
        """FLOPs of forward and backward (recomputation and gradcache's second forward pass count in
        the backward)."""
        with self.mode, as_on_cuda(), torch.set_grad_enabled(self.trainer is not None):
            part = min(images, self.recipe.gradcache or images)
            batch = self.batch(part)

            def loss() -> Tensor:
                with autocast(self.dtype, CPU):
                    return self.method.loss(batch)

            forward, backward = count.flops(loss, self.method.parameters())
        if self.recipe.gradcache:
            forward, backward = forward * images // part, (forward + backward) * images // part
        return forward, backward

    def resident(self) -> list[Tensor]:
        """What stays in memory between two steps: parameters, buffers, optimiser states."""
        states = self.trainer.optimizer.state.values() if self.trainer else ()
        tensors = [t for state in states for t in state.values() if isinstance(t, Tensor)]
        return [*self.method.parameters(), *self.method.buffers(), *tensors]
