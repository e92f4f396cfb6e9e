"""What is evaluated of a config: whole splits, and their features."""

import math
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from harma_jax.building.data import build_how
from harma_jax.building.text import build_tokens, cleaning, longest_length
from harma_jax.data.annotations import CaptionTable
from harma_jax.data.pipeline import (
  image_batches,
)
from harma_jax.devices.mesh import make_mesh, tree_shardings
from harma_jax.evaluation.duplicates import caption_groups
from harma_jax.evaluation.evaluator import EvaluationSplit, make_features
from harma_jax.evaluation.ranks import Features
from harma_jax.model.clip import Clip


def build_evaluation_split(
  config: ConfigDict, table: CaptionTable, model: Clip
) -> EvaluationSplit:
  """A split with all its images decoded and resized."""
  images = image_batches(
    table,
    side=model.size.image_size,
    batch_size=config.evaluation.batch_size,
    threads=config.data.threads,
    max_pixels=config.data.max_pixels,
    how=build_how(config),
    interpolation=model.size.preprocessing.interpolation,
  )
  tokens = build_tokens(config, table, model)
  return EvaluationSplit(
    name=table.split,
    images=np.concatenate(list(images)),
    tokens=tokens,
    caption_image=table.caption_image,
    groups=caption_groups(table.captions, cleaning=cleaning(config)),
    length=longest_length(config, model, tokens),
  )


def build_features(
  config: ConfigDict, model: Clip
) -> Callable[[dict, EvaluationSplit], Features]:
  """`features(params, split)` of parameters on the host, for a run that has ended.

  There may be other devices here than in training: what they divide is no matter.
  """
  mesh = make_mesh(fsdp=math.gcd(config.mesh.fsdp, len(jax.devices())))
  batch_size = mesh.size * math.ceil(config.evaluation.batch_size / mesh.size)
  features_of = make_features(model, mesh=mesh, batch_size=batch_size)

  def features(params, split):
    placed = jax.device_put(params, tree_shardings(params, mesh=mesh))
    return features_of(placed, split)

  return features
