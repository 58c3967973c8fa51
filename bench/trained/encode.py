"""A trained method on a whole test set: every image and caption encoded, ready to be ranked."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from bench import backbone
from bench.batches import TokenTable
from bench.data import Dataset, cache
from bench.data.resize import Pixels, Resize
from bench.evaluate import Evaluation
from bench.trained.restore import Restored
from bench.trial import EVAL_BATCH


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


def encode(
    restored: Restored,
    dataset: Dataset,
    decoded: Callable[[Dataset, int, Resize], Pixels] = cache.images,
) -> Encoded:
    """Encode the test split of a data set, the method's own or another one.

    `decoded` gives the images of a data set at a size, resized in a given way. Raises UserError
    where one cannot be read.
    """
    base = restored.backbone
    pixels = decoded(dataset, base.image_size, base.preprocess.resize)
    evaluation = Evaluation(dataset, "test", pixels, base)
    table = TokenTable(base.tokenizer, base.pad_id)
    mode = restored.trial.settings.get("scene_at_test", "none")
    # The method has changed the towers of `base`; scenes are predicted with untouched ones.
    untouched = backbone.load(restored.trial.backbone) if mode == "predicted" else base
    evaluation.label(mode, untouched, table)
    images, texts = evaluation.features(
        restored.method, table, restored.number_format, restored.device, EVAL_BATCH
    )
    return Encoded(evaluation, pixels, images, texts)
