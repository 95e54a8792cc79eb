"""From `validation` and `data.val_selection` of a configuration to what keeps a fine-tuning's best weights."""

from __future__ import annotations

from datetime import timedelta

from videomae_train.config.cards import BestOf, classifier_card
from videomae_train.config.outcome import BEST_WEIGHTS
from videomae_train.config.schema import FinetuneConfig
from videomae_train.config.scores import describe_views
from videomae_train.config.videos import check_apart
from videomae_train.data.datamodule import FinetuneDataModule
from videomae_train.model import VideoMAEForVideoClassification, save_weights_folder
from videomae_train.model.cards import Videos
from videomae_train.training.agreement import Agreement
from videomae_train.training.plan import StepPlan
from videomae_train.training.preemption import StopRequest
from videomae_train.training.validating import Best, Validation

_PATIENCE = timedelta(hours=6)  # of the first rank that is through for the last


def finetune_validation(
    config: FinetuneConfig,
    data: FinetuneDataModule,
    model: VideoMAEForVideoClassification,
    plan: StepPlan,
    stop: StopRequest,
) -> list[Validation]:
    """Make what validates; nothing where there is no selection for it.

    Raises:
        ConfigError: Videos to validate on are trained on.
    """
    chosen = data.val_selection
    if chosen is None:
        return []
    assert data.val_options is not None
    check_apart(config, data.selection, chosen)
    views = describe_views(data.val_options)
    videos = Videos(chosen.name, chosen.fingerprint, len(chosen))

    def save(best: Best) -> None:
        card = classifier_card(
            config, plan, num_videos=len(data.selection), fingerprint=data.selection.fingerprint,
            best=BestOf(best, videos, views),
        )  # fmt: skip
        save_weights_folder(model, config.run / BEST_WEIGHTS, card=card)

    return [
        Validation(
            config.validation.steps_between(len(data.selection), plan.global_batch),
            data.validation_loader,
            f"{videos.selection} ({videos.fingerprint}), {views}",
            save,
            stop,
            Agreement(_PATIENCE),
        )
    ]
