"""A trained method on a whole test set: every image and caption encoded, ready to be ranked."""

from dataclasses import dataclass

from torch import Tensor

from bench import backbone
from bench.data import Dataset, cache
from bench.data.resize import Pixels
from bench.evaluate import EVAL_BATCH, Evaluation
from bench.trained.restore import Restored
from bench.workbench import Decode, Workbench


@dataclass(frozen=True)
class Encoded:
    """Features of a test set: images `(S, D)` and captions `(T, D)`, unit length, on the device."""

    evaluation: Evaluation
    pixels: Pixels
    images: Tensor
    texts: Tensor

    def metrics(self, images: Tensor | None = None) -> dict[str, float]:
        """Recalls and ceilings in percent; with other features of the same images: of those."""
        chosen = self.images if images is None else images.to(self.texts.device)
        return self.evaluation.metrics(self.evaluation.ranks(chosen, self.texts))


def encode(restored: Restored, dataset: Dataset, decode: Decode = cache.images) -> Encoded:
    """Encode the test split of a data set, the method's own or another one.

    Raises UserError where an image cannot be read.
    """
    bench = Workbench(dataset, restored.backbone, decode)
    mode = restored.trial.settings.get("scene_at_test", "none")
    # The method has changed the towers of its backbone; scenes are predicted with untouched ones.
    untouched = backbone.load(restored.trial.backbone) if mode == "predicted" else None
    evaluation = bench.evaluation("test", mode, untouched)
    images, texts = evaluation.features(
        restored.method, bench.tokens, restored.dtype, restored.device, EVAL_BATCH
    )
    return Encoded(evaluation, bench.pixels, images, texts)
