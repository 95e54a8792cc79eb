"""Features of clips, and what they are worth without training: nearest neighbours, a linear map, effective rank."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from videomae_train.errors import TrainingError
from videomae_train.model import VideoMAEForPreTraining, VideoMAEForVideoClassification, VideoMAEModel

KNN_NEIGHBOURS = 20
KNN_TEMPERATURE = 0.07
_KNN_ROWS = 1024  # videos that are compared with all neighbours at once
_RIDGE = 0.1  # of the variance of a standardised feature, which is 1
_ROUNDING = 1e-6  # relative; variation below it is that of float32


@torch.inference_mode()
def clip_features(
    model: VideoMAEForPreTraining | VideoMAEForVideoClassification | VideoMAEModel, clips: Tensor
) -> Tensor:
    """Average the encoder's tokens over all patches of each clip; nothing is masked.

    Args:
        model: In evaluation mode, on the clips' device.
        clips: uint8 (B, T, C, H, W), RGB 0..255.

    Returns:
        float32 (B, D).
    """
    embed = model.encoder.patch_embed
    return model.encoder(embed.normalise(embed.cut(clips))).mean(1).float()


def knn_accuracy(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, k: int = KNN_NEIGHBOURS
) -> float:
    """Classify by the k nearest neighbours in the angle, weighted by exp(cosine / 0.07) (Wu et al., 2018).

    Args:
        train: Floating (n, D), the neighbours.
        train_labels: int64 (n,).
        test: Floating (m, D), what is classified.
        test_labels: int64 (m,).
        k: Neighbours; all where there are fewer.

    Returns:
        Share of right classes, in [0, 1].

    Raises:
        TrainingError: There is nothing to classify, or by.
    """
    _check_some(train, test)
    num_classes = int(train_labels.max()) + 1
    return _share_right(knn_shares(train, train_labels, test, num_classes=num_classes, k=k), test_labels)


def knn_shares(
    train: Tensor,
    train_labels: Tensor,
    test: Tensor,
    *,
    num_classes: int,
    k: int = KNN_NEIGHBOURS,
    temperature: float = KNN_TEMPERATURE,
) -> Tensor:
    """Give each class's share of the votes of the k nearest neighbours, weighted by exp(cosine / temperature).

    Args:
        train: Floating (n, D), the neighbours, n > 0.
        train_labels: int64 (n,), below num_classes.
        test: Floating (m, D), what is classified.
        num_classes: K.
        k: Neighbours; all where there are fewer.
        temperature: > 0; small ones leave the vote to the nearest.

    Returns:
        Floating (m, K), rows sum to 1.
    """
    neighbours = F.normalize(train).T
    shares = [torch.empty(0, num_classes)]
    for rows in F.normalize(test).split(_KNN_ROWS):
        cosines, nearest = (rows @ neighbours).topk(min(k, len(train)))
        votes = (cosines / temperature).softmax(1)
        shares.append(votes.new_zeros(len(rows), num_classes).scatter_add(1, train_labels[nearest], votes))
    return torch.cat(shares)


def ridge_accuracy(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor) -> float:
    """Classify by a linear map, the closed-form ridge regression of the classes on standardised features.

    A probe for comparing moments of one run: there is no rate or number of epochs to choose. It is not the linear
    probing of the literature, which trains with gradient descent and augmentation and gives higher figures.

    Arguments, result and errors as for `knn_accuracy`.
    """
    _check_some(train, test)
    train, test = train.double(), test.double()
    std, mean = torch.std_mean(train, dim=0, correction=0)
    scale = torch.where(std > _ROUNDING * mean.abs(), std, torch.inf)  # what does not vary says nothing
    features, wanted = (train - mean) / scale, F.one_hot(train_labels).to(train)
    offset = wanted.mean(0)
    gram = features.T @ features / len(features) + _RIDGE * torch.eye(features.shape[1]).to(features)
    weights = torch.linalg.solve(gram, features.T @ (wanted - offset) / len(features))
    return _share_right((test - mean) / scale @ weights + offset, test_labels)


def effective_rank(features: Tensor) -> float:
    """Count the directions that features use: exp of the entropy of singular values' shares (Roy & Vetterli, 2007).

    Args:
        features: Floating (n, D); their mean is taken off.

    Returns:
        Between 1 and min(n - 1, D); 0 where all features are the same (collapsed) within rounding.
    """
    features = features.double()
    values = torch.linalg.svdvals(features - features.mean(0))
    values = values[values > _ROUNDING * features.norm()]
    if not len(values):
        return 0.0
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def _share_right(scores: Tensor, labels: Tensor) -> float:
    return float((scores.argmax(1) == labels).double().mean())


def _check_some(train: Tensor, test: Tensor) -> None:
    if not len(train) or not len(test):
        raise TrainingError(
            where="probe",
            came=f"{len(train)} videos to learn from and {len(test)} to classify",
            expected="at least one of each that can be read",
            todo="`videomae check` says what is wrong with the others.",
        )
