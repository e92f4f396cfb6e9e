"""Accuracies of classes and of all images, by the scores of one model or two."""

from collections.abc import Mapping

import numpy as np

from harma_jax.evaluation.zero_shot import (
  accuracy,
  accuracy_difference,
  chance_accuracy,
  class_accuracies,
  class_ranks,
  confusion_matrix,
  predictions,
)


def measure(
  scores: Mapping[str, np.ndarray], labels: np.ndarray, *, names: Mapping[str, str]
) -> dict:
  """What scores say of a model, and of the weights that it started from.

  Args:
    scores: f32[n, C] of `model`, and maybe of `before`.
    labels: i64[n], the right class of each image; each class has one.
    names: of the classes in their order, by folder.

  Returns:
    As JSON has it: `chance`; `before`, `model` and `difference`, of `accuracy` and
    `accuracy_difference`; `classes`, a row each; `confusion`, of the model.
  """
  n_classes = len(names)
  ranks = {key: class_ranks(of_model, labels) for key, of_model in scores.items()}
  results = {'chance': chance_accuracy(n_classes)}
  for key, own in ranks.items():
    results[key] = accuracy(own, labels, n_classes=n_classes)
  if 'before' in ranks:
    results['difference'] = accuracy_difference(
      ranks['before'], ranks['model'], labels, n_classes=n_classes
    )
  predicted = predictions(scores['model'], labels)
  confusion = confusion_matrix(predicted, labels, n_classes=n_classes)
  classes = _rows_of_classes(ranks, labels, names=names)
  return results | {'classes': classes, 'confusion': confusion.tolist()}


def _rows_of_classes(
  ranks: Mapping[str, np.ndarray], labels: np.ndarray, *, names: Mapping[str, str]
) -> list[dict]:
  """Of each class its folder, name, number of images, and each model's top-1 in %."""
  top1 = {
    key: class_accuracies(own, labels, n_classes=len(names))
    for key, own in ranks.items()
  }
  counts = np.bincount(labels, minlength=len(names))
  return [
    {'folder': folder, 'name': name, 'images': int(counts[number])}
    | {key: float(of_classes[number]) for key, of_classes in top1.items()}
    for number, (folder, name) in enumerate(names.items())
  ]
