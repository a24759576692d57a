"""An image task made ready for one classifier: training images, objective, evaluation.

Does not: train, or keep decoded images.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from wegeft.config import TrainingConfig
from wegeft.errors import UserError
from wegeft.evaluation.config import EvaluationConfig
from wegeft.tasks.image_transform import Transform
from wegeft.tasks.prepared import EpochChoice, FirstPrompt
from wegeft.training.image_objective import ImageItem, ImageObjective
from wegeft.training.kept_prefix import KeptPrefixObjective, keep_prefix
from wegeft.training.objective import Objective

if TYPE_CHECKING:
    from wegeft.evaluation.result import Evaluation
    from wegeft.models import Backbone
    from wegeft.tasks.image import ImageProtocol, ImageTask


class PreparedImages:
    """See :class:`wegeft.tasks.prepared.Prepared`."""

    def __init__(self, task: "ImageTask", protocol: "ImageProtocol", backbone: "Backbone") -> None:
        """List the images; refuse a backbone that sees images of another size."""
        self._task = task
        self._positions: int = backbone.processor.positions
        _check_size(task, backbone.processor.size)
        self.train_items: Sequence[ImageItem] = [ImageItem(example) for example in task.train_examples()]
        self._images = ImageObjective(
            Transform(task.config.train_transform),
            task.config.normalisation,
            positions=self._positions,
            label_smoothing=protocol.label_smoothing,
        )
        self.objective: Objective[ImageItem] = self._images
        self.first_prompt: FirstPrompt | None = None
        self.epoch_choice: EpochChoice | None = None
        self._kept: dict[str, str] = {}

    def objective_for(self, model: nn.Module, config: TrainingConfig) -> Objective[ImageItem]:
        """See `wegeft.training.kept_prefix.keep_prefix`."""
        found = keep_prefix(self._images, self.train_items, model, config)
        self._kept = {"computed_once_up_to": found.prefix.name} if isinstance(found, KeptPrefixObjective) else {}
        return found

    def evaluate(self, model: nn.Module, config: EvaluationConfig, folder: Path) -> "Evaluation":
        """Top-1 accuracy on the test images; the predictions go to ``folder``."""
        from wegeft.evaluation.images import evaluate_images

        return evaluate_images(model, self._task, self._positions, config, folder)

    def remarks(self) -> dict[str, Any]:
        """By what the pixels are normalised, which published results differ in without saying so; what was kept."""
        return {"normalisation": self._task.config.normalisation.model_dump(mode="json"), **self._kept}


def _check_size(task: "ImageTask", size: int) -> None:
    """Raise a `UserError` if a transform makes images of another ``size`` than the backbone sees."""
    for key in ("train_transform", "test_transform"):
        config = getattr(task.config, key)
        made = config.crop or config.resize
        if made is not None and made != size:
            raise UserError(f"task.{key} makes images of {made} pixels and the backbone sees {size}.")
