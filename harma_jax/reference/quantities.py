"""Every quantity of a file, computed again of its weights and inputs."""

import json
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from harma_jax.reference.file import GIVEN
from harma_jax.reference.forward import Quantities, losses, outputs
from harma_jax.reference.model import model_of, reference_names
from harma_jax.reference.objectives import objectives_of
from harma_jax.reference.training import training
from harma_jax.weights.names import Name, take, tree_of


def quantities(reference: Mapping[str, np.ndarray]) -> Quantities:
  """Names and arrays, of all that parity can compute.

  Raises:
    UserError: an array that it needs is missing.
  """
  meta = json.loads(str(reference['meta']))
  model = model_of(meta)
  names = reference_names(model)
  params, inputs = _params(reference, names=names), _inputs(reference)
  objectives = objectives_of(margin=meta['margin'], gamma=meta['gamma'])
  yield from outputs(model, params, inputs, objectives=objectives)
  yield from training(
    model, params, inputs, names=names, objectives=objectives, meta=meta
  )
  sets = {name.split('/')[1] for name in reference if name.startswith('losses/')}
  for name in sorted(sets):
    given = [jnp.asarray(reference[f'losses/{name}/{part}']) for part in GIVEN]
    yield from losses(name, given, objectives=objectives, temperature=meta['temp'])


def _params(reference: Mapping[str, np.ndarray], *, names: list[Name]) -> dict:
  weights = {
    name.removeprefix('weights/'): array
    for name, array in reference.items()
    if name.startswith('weights/')
  }
  return jax.tree.map(jnp.asarray, tree_of(take(names, weights)))


def _inputs(reference: Mapping[str, np.ndarray]) -> tuple[jax.Array, ...]:
  """Images f32[B, side, side, 3], tokens i32[B, L], image ids i32[B]."""
  return (
    jnp.asarray(reference['inputs/images_nchw']).transpose(0, 2, 3, 1),
    jnp.asarray(reference['inputs/tokens']),
    jnp.asarray(reference['inputs/image_ids']),
  )
