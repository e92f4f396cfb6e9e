"""How well indicators tell swapped captions: values, and areas under the curve."""

import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import mannwhitneyu

from harma_jax.objective.alignment import make_objective
from harma_jax.objective.contrast import contrast_of
from harma_jax.objective.head import Head, harmonized_head
from harma_jax.objective.indicators import scores_of
from harma_jax.objective.logits import Logits

CAPTIONS = 5
LOSSES = ('contrastive', 'triplet')


def judge(
  image_features: np.ndarray,
  text_features: np.ndarray,
  *,
  logits: Logits,
  batch_size: int,
) -> dict[int, dict[str, np.ndarray]]:
  """Indicators f32[M, n], low where a caption seems wrong, for M of 5, 2 and 1."""
  found = {}
  for n in (CAPTIONS, 2, 1):
    parts = []
    for start in range(0, len(image_features) - batch_size + 1, batch_size):
      part = slice(start, start + batch_size)
      captions = tuple(text_features[part, k] for k in range(n))
      parts.append(indicators(n)(image_features[part], captions, logits))
    found[n] = {
      name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]
    }
  return found


@functools.cache
def indicators(n: int):
  """A jitted function of a batch's features; a pair of two captions is one sample."""
  heads = {
    f'captions, {name}': judging_head('captions', losses=(name,)) for name in LOSSES
  }
  if n == 1:
    heads = {
      'uniformity': judging_head('uniformity', losses=('contrastive',)),
      'directions': judging_head('directions', losses=('contrastive',)),
      'objectives': judging_head('objectives'),
    }

  def of(image_features, captions, logits):
    ids, step = jnp.arange(len(image_features)), jnp.int32(0)
    found = {
      f'cosine: {name}': head(image_features, captions, logits, ids, step).cosine
      for name, head in heads.items()
    }
    options = {
      'contrast': contrast_of('softmax'),
      'logits': logits,
      'key': jax.random.key(0),
    }
    features = (image_features, captions, ids)
    found['loss'] = scores_of('loss', *features, **options)
    found['similarity to the image'] = jnp.stack(
      [jnp.sum(image_features * caption, axis=1) for caption in captions]
    )
    if n > 1:
      similar = scores_of('caption_similarity', *features, **options)
      found['similarity of the captions'] = similar
    return {k: v.min(0, keepdims=True) if n == 2 else v for k, v in found.items()}

  return jax.jit(of)


def judging_head(pair: str, *, losses: Sequence[str] = LOSSES) -> Head:
  """A head that only measures the cosines of `pair`, of the losses that are named."""
  objective = make_objective(
    contrastive_weight=float('contrastive' in losses),
    triplet_weight=float('triplet' in losses),
    margin=0.2,
    gamma=2.0,
    triplet_reduction='mean',
    mask_same_image=True,
  )
  return harmonized_head(
    objective,
    pair=pair,
    realign=False,
    curriculum='off',
    indicator='conflict',
    threshold=(0.0, 0.0),
    unit='cosine',
    start_step=0,
    anneal_steps=0,
    renormalize=True,
    seed=0,
  )


def areas_of(
  n: int, found: dict[str, np.ndarray], wrong: np.ndarray, alone: dict
) -> Iterator[dict]:
  """A row for each indicator, over all captions and over those of their own text."""
  labels = wrong[:, :n].T
  subsets = {'all': np.ones_like(labels)}
  if n > 1:
    subsets['different texts'] = alone[n]
  if n == 2:
    labels = labels.any(axis=0, keepdims=True)
    subsets = {name: subset[:1] for name, subset in subsets.items()}
  for name, values in found.items():
    quantiles = np.quantile(values, (0.05, 0.5, 0.95))
    for subset, chosen in subsets.items():
      chosen = chosen[:, : values.shape[1]]
      label = labels[:, : values.shape[1]][chosen]
      yield {
        'kind': 'area',
        'captions': n,
        'indicator': name,
        'subset': subset,
        'auc': area(values[chosen], label),
        'n': int(label.size),
        'wrong': int(label.sum()),
        'quantiles': [round(float(value), 4) for value in quantiles],
        'below_0': round(float((values < 0).mean()), 4),
      }


def area(values: np.ndarray, wrong: np.ndarray) -> float:
  """The probability that a wrong sample has the lower value; ties count half."""
  found = mannwhitneyu(values[~wrong], values[wrong])
  return float(found.statistic / (wrong.sum() * (~wrong).sum()))
