"""Zero-shot classification: prompts, features of classes, accuracies, confusions."""

from collections.abc import Sequence

import numpy as np

from harma_jax.errors import UserError
from harma_jax.evaluation.recall import ranks_of_best

# `{}` is the name of a class. The mean over several articles, nouns and views depends
# less on the wording than any one of them.
TEMPLATES = (
  'a satellite photo of a {}.',
  'a satellite image of {}.',
  'an aerial photo of a {}.',
  'an aerial image of the {}.',
  'a remote sensing image of {}.',
  'a {} seen from above.',
  'an overhead view of {}.',
  'a high resolution aerial view of a {}.',
  'there is a {} in the satellite image.',
  'the scene is a {} with its surroundings.',
)


def make_prompts(names: Sequence[str], templates: Sequence[str]) -> list[str]:
  """All prompts of the first class, then those of the next.

  Args:
    names: of the classes.
    templates: texts in which `{}` stands for the name.

  Raises:
    UserError: see `check_templates`.
  """
  check_templates(templates)
  return [template.replace('{}', name) for name in names for template in templates]


def check_templates(templates: Sequence[str], *, field: str = 'templates') -> None:
  """Raises UserError, about `field`, unless there are templates and all have `{}`."""
  wrong = [template for template in templates if '{}' not in template]
  if wrong or not len(templates):
    found = repr(wrong[0]) if wrong else 'none'
    raise UserError(
      f'{field}: expected one template or more, each with {{}} where the name of a '
      f'class goes; found {found}. Write them as in {TEMPLATES[0]!r}.'
    )


def class_features(prompt_features: np.ndarray) -> np.ndarray:
  """f32[C, D]: the mean over a class's prompts, made a unit vector again.

  The prompt ensemble of CLIP (Radford et al., ICML 2021, section 3.1.4).

  Args:
    prompt_features: f32[C, P, D], unit vectors, of P prompts for each of C classes.
  """
  mean = prompt_features.mean(axis=1)
  return mean / np.linalg.norm(mean, axis=-1, keepdims=True)


def class_ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """i64[n]: wrong classes before or beside the right one; 0 is a hit at 1.

  Ties count against the model, and a score that is not a number ranks last, as in
  `recall_at_k`.

  Args:
    scores: f32[n, C], higher is more similar.
    labels: i[n], the right class of each image.
  """
  return ranks_of_best(scores, _right(labels, scores.shape[1]))


def predictions(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """i64[n]: the class that each image is taken for, a wrong one where it ties.

  It is the right one exactly where `class_ranks` is 0. Arguments as there.
  """
  known = np.nan_to_num(scores, nan=np.finfo(np.float32).min)
  wrong = np.where(_right(labels, scores.shape[1]), -np.inf, known)
  return np.where(class_ranks(scores, labels) == 0, labels, wrong.argmax(axis=1))


def confusion_matrix(
  predicted: np.ndarray, labels: np.ndarray, *, n_classes: int
) -> np.ndarray:
  """i64[C, C]: how many images of class i (row) are taken for class j (column)."""
  cells = np.bincount(labels * n_classes + predicted, minlength=n_classes**2)
  return cells.reshape(n_classes, n_classes)


def most_confused(confusion: np.ndarray, *, count: int) -> list[tuple[int, int, int]]:
  """The commonest mistakes: right class, class taken for, images; most images first.

  Args:
    confusion: i64[C, C], see `confusion_matrix`.
    count: of pairs at most; of equal ones the first in the matrix come first.
  """
  rows, columns = np.nonzero(confusion * (1 - np.eye(len(confusion), dtype=int)))
  images = confusion[rows, columns]
  order = np.argsort(-images, kind='stable')[:count]
  return [
    (int(rows[place]), int(columns[place]), int(images[place])) for place in order
  ]


def chance_accuracy(n_classes: int) -> dict[str, float]:
  """The accuracies in per cent that random orders of the classes have on average."""
  names = accuracy_names(n_classes)
  return {name: 100 * (5 if name == 'top5' else 1) / n_classes for name in names}


def accuracy_names(n_classes: int) -> tuple[str, ...]:
  """What is measured: among five classes or fewer, the top five hold every one."""
  return ('top1', 'mean_per_class_top1', *(('top5',) if n_classes > 5 else ()))


def accuracy(
  ranks: np.ndarray,
  labels: np.ndarray,
  *,
  n_classes: int,
  level: float = 0.95,
  resamples: int = 2000,
  seed: int = 0,
) -> dict[str, dict[str, float]]:
  """Accuracies in per cent, with percentile intervals of a bootstrap over images.

  Args:
    ranks: i64[n], of `class_ranks`.
    labels: i[n], the right classes; each class has an image.
    n_classes: how many there are.
    level: share of the resamples that an interval holds.
    resamples: how often as many images as there are are drawn with replacement.
    seed: of the draws.

  Returns:
    `top1` over all images, `mean_per_class_top1` over classes, each with the same
    weight, and, of more than five classes, `top5`: `value`, `low` and `high` of each.
    A class that a resample does not draw is left out of its mean.
  """
  how = {'n_classes': n_classes, 'resamples': resamples, 'seed': seed}
  [drawn] = _resampled([ranks], labels, **how)
  return _intervals(drawn, level=level, names=accuracy_names(n_classes))


def accuracy_difference(
  first: np.ndarray,
  second: np.ndarray,
  labels: np.ndarray,
  *,
  n_classes: int,
  level: float = 0.95,
  resamples: int = 2000,
  seed: int = 0,
) -> dict[str, dict[str, float]]:
  """Accuracies of a second model less those of a first one, on the same images.

  Both are resampled with the same draws.

  Args:
    first: i64[n], ranks of the first model.
    second: i64[n], of the second.
    labels, n_classes, level, resamples, seed: as `accuracy`.

  Returns:
    As `accuracy`.
  """
  how = {'n_classes': n_classes, 'resamples': resamples, 'seed': seed}
  before, after = _resampled([first, second], labels, **how)
  return _intervals(after - before, level=level, names=accuracy_names(n_classes))


def class_accuracies(
  ranks: np.ndarray, labels: np.ndarray, *, n_classes: int
) -> np.ndarray:
  """f64[C]: top-1 in per cent of each class, which has an image."""
  right = np.bincount(labels[ranks == 0], minlength=n_classes)
  return 100 * right / np.bincount(labels, minlength=n_classes)


def _right(labels: np.ndarray, n_classes: int) -> np.ndarray:
  return labels[:, None] == np.arange(n_classes)[None, :]


def _resampled(
  ranks: Sequence[np.ndarray],
  labels: np.ndarray,
  *,
  n_classes: int,
  resamples: int,
  seed: int,
) -> list[np.ndarray]:
  """Of each of `ranks` f64[1 + resamples, measures]: as measured, then as drawn.

  Images of one class and the same hits are alike: how many of them are drawn is all
  that counts, and they are far fewer kinds than images.
  """
  ks = (1, 5) if n_classes > 5 else (1,)
  hits = [own < k for own in ranks for k in ks]
  kinds, counts = np.unique(np.stack([labels, *hits], 1), axis=0, return_counts=True)
  rng = np.random.default_rng(seed)
  draws = rng.multinomial(len(labels), counts / len(labels), size=resamples)
  weights = np.concatenate([counts[None, :], draws]).astype(float)
  of_class = _right(kinds[:, 0], n_classes)
  columns = np.split(kinds[:, 1:], len(ranks), axis=1)
  return [_accuracies(own, of_class, weights) for own in columns]


def _accuracies(
  hits: np.ndarray, of_class: np.ndarray, weights: np.ndarray
) -> np.ndarray:
  """f64[draws, measures] in per cent, in the order of `accuracy_names`.

  Args:
    hits: i[kinds, ks], 0 or 1, at 1 first.
    of_class: bool[kinds, C].
    weights: f64[draws, kinds], how many images of each kind.
  """
  overall = weights @ hits / weights.sum(axis=1, keepdims=True)
  images = weights @ of_class
  right = (weights * hits[None, :, 0]) @ of_class
  drawn = images > 0
  share = np.divide(right, images, out=np.zeros_like(right), where=drawn)
  of_classes = share.sum(axis=1) / drawn.sum(axis=1)
  return 100 * np.insert(overall, 1, of_classes, axis=1)


def _intervals(
  drawn: np.ndarray, *, level: float, names: Sequence[str]
) -> dict[str, dict[str, float]]:
  low, high = np.quantile(drawn[1:], [(1 - level) / 2, (1 + level) / 2], axis=0)
  rows = zip(drawn[0].tolist(), low.tolist(), high.tolist(), strict=True)
  return {
    name: dict(zip(('value', 'low', 'high'), row, strict=True))
    for name, row in zip(names, rows, strict=True)
  }
