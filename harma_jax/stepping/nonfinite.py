"""Names the samples of a step whose loss or gradient is not finite."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from harma_jax.data.annotations import CaptionTable
from harma_jax.devices.mesh import replicated
from harma_jax.model.clip import Clip
from harma_jax.stepping.microbatch import at_once
from harma_jax.stepping.step import encode_samples

NAMED = 5  # samples in a message


def make_finite_samples(
  model: Clip, inputs: Callable, *, mesh: Mesh, over_rows: Callable = at_once
) -> Callable:
  """Builds `finite_samples(params, resident, batch) -> (rows, finite)`.

  `rows` i32[B, M] are the captions of the global batch and `finite` bool[B, M] whether
  their embeddings and their images' are; both on every device. The arguments are those
  of a step compiled with `inputs`, and `over_rows` is that of `make_train_step`.
  """

  def finite_samples(params, resident, batch):
    made = inputs(resident, batch)
    rows = made['rows'].reshape(len(made['rows']), -1)
    tokens = made['tokens'].reshape(*rows.shape, -1)
    embeddings = encode_samples(
      model, params, made['images'], tokens, own=made.get('own'), over_rows=over_rows
    )
    images, *texts = (jnp.isfinite(each).all(axis=1) for each in embeddings)
    return rows, jnp.stack([images & text for text in texts], axis=1)

  return jax.jit(finite_samples, out_shardings=replicated(mesh))


def describe_samples(table: CaptionTable, rows: np.ndarray, finite: np.ndarray) -> str:
  """Which embeddings of a batch are not finite, with the first few samples.

  Where all are finite these are the first ones of the batch.

  Args:
    table: of the training captions.
    rows: i32[B, M], of the batch.
    finite: bool[B, M], as `make_finite_samples` tells.
  """
  bad = rows[~finite]
  what = (
    f'of {rows.size} samples {bad.size} have an embedding that is not finite'
    if bad.size
    else f'the embeddings of all {rows.size} samples are finite'
  )
  shown = bad if bad.size else rows.ravel()
  named = '; '.join(
    f'row {row}, {table.image_path(table.caption_image[row])}, {table.captions[row]!r}'
    for row in shown[:NAMED]
  )
  return f'{what}. The first of them: {named}'
