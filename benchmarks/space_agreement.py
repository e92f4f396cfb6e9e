"""How well the angle on the embeddings predicts the angle over the trained weights.

  python -m benchmarks.space_agreement --workdir=RUN [--root=DATA] \
    > benchmarks/results/space_agreement.json

RUN is the folder of a finished run, whose best weights, data and trainable weights are
taken. Training images as they are evaluated, not augmented.
"""

import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

from benchmarks.judging import judging_head
from harma_jax.building.data import build_table
from harma_jax.building.model import build_model
from harma_jax.building.params import read_workdir
from harma_jax.building.text import build_tokens
from harma_jax.data.images import read_image, resize_for_evaluation
from harma_jax.data.pipeline import train_batches
from harma_jax.objective.head import PAIRS
from harma_jax.rundir.workdir import read_config
from harma_jax.stepping.optim import (
  count,
  label_leaves,
  merge_params,
  patterns_of,
  split_params,
)
from harma_jax.stepping.step import encode_samples, logits_of, weight_products

SHARE = 0.2  # of the captions, that both would drop
BATCHES, BATCH = 8, 64


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--workdir', required=True)
  parser.add_argument('--root', help='where the data set lies now')
  options = parser.parse_args()
  config = read_config(options.workdir)
  with config.unlocked():
    config.data.root = options.root or config.data.root
  model, params = build_model(config), read_workdir(options.workdir)
  labels = label_leaves(
    params, patterns_of(config.optimizer.train, shared='shared_adapter' in params)
  )
  trainable, frozen = split_params(jax.tree.map(jnp.asarray, params), labels)
  rows = [
    {'pair': pair, **agreement(*cosines(config, model, trainable, frozen, pair=pair))}
    for pair in PAIRS
  ]
  found = {
    'size': config.model.size,
    'trained': config.optimizer.train,
    'trainable': count(trainable),
    'samples': BATCHES * BATCH,
    'share': SHARE,
    'pairs': rows,
  }
  print(json.dumps(found, indent=2))


def cosines(config, model, trainable: dict, frozen: dict, *, pair: str) -> tuple:
  """f32[n] each: cosines on the embeddings and over the trainable weights."""
  table = build_table(config, config.data.train_split)
  n_captions = 2 if pair == 'captions' else 1
  head = judging_head(pair)

  @jax.jit
  def both(trainable, images, tokens):
    def encode(weights, *inputs):
      return encode_samples(model, merge_params(weights, frozen), *inputs)

    features, *captions = encode(trainable, images, tokens)
    logits = logits_of(merge_params(trainable, frozen))
    place = jnp.arange(len(images)), jnp.int32(0)
    measure = weight_products(encode, trainable, (images, tokens), chunk=8)
    return [
      head(features, tuple(captions), logits, *place, products).cosine[0]
      for products in (None, measure)
    ]

  parts = []
  tokens = build_tokens(config, table, model)
  for batch, _ in train_batches(
    table,
    tokens,
    seed=0,
    batch_size=BATCH,
    first_step=0,
    last_step=BATCHES,
    captions_per_image=n_captions,
  ):
    files = map(table.image_path, batch['image_ids'])
    images = np.stack(
      [resize_for_evaluation(read_image(f), side=model.size.image_size) for f in files]
    )
    chosen = tokens[batch['rows']].reshape(BATCH, n_captions, -1)
    parts.append(jax.device_get(both(trainable, images, chosen)))
  return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def agreement(embedding: np.ndarray, weights: np.ndarray) -> dict:
  """Of two indicators f32[n]: rank correlation, and decisions that are the same."""
  lowest = [values <= np.quantile(values, SHARE) for values in (embedding, weights)]
  return {
    'spearman': round(float(spearmanr(embedding, weights).statistic), 4),
    'same_sign': round(float(np.mean((embedding < 0) == (weights < 0))), 4),
    'same_decision_at_share': round(float(np.mean(lowest[0] == lowest[1])), 4),
    'dropped_by_both': round(float(np.mean(lowest[1][lowest[0]])), 4),
    'quantiles_embedding': _quantiles(embedding),
    'quantiles_weights': _quantiles(weights),
  }


def _quantiles(values: np.ndarray) -> list[float]:
  return [round(float(value), 3) for value in np.quantile(values, (0.05, 0.5, 0.95))]


if __name__ == '__main__':
  main()
