"""Gradients and optimizer steps, computed again."""

from collections.abc import Callable, Mapping

import jax
import numpy as np
import optax

from harma_jax.model.clip import Clip
from harma_jax.reference.forward import Quantities
from harma_jax.reference.model import renamed
from harma_jax.reference.objectives import TRAINED
from harma_jax.stepping.optim import (
  bound_temperature,
  decay_groups,
  label_leaves,
  make_optimizer,
  make_schedule,
  merge_params,
  patterns_of,
  split_params,
)
from harma_jax.weights.names import Name, paths_of

STEPS = 6
SHOWN = (2, 6)  # the steps after which the file has the weights


def training(
  model: Clip,
  params: dict,
  inputs: tuple,
  *,
  names: list[Name],
  objectives: Mapping[str, Callable],
  meta: Mapping,
) -> Quantities:
  """Gradients at the given weights, then six optimizer steps on the same batch.

  Args:
    model: of the file.
    params: all parameters.
    inputs: see `outputs`.
    names: see `reference_names`.
    objectives: see `objectives_of`.
    meta: of the file; has the optimizer's settings.
  """
  patterns = patterns_of('adapters', shared='shared_adapter' in params)
  trainable, frozen = split_params(params, label_leaves(params, patterns))
  take_gradients = _make_gradients(model, frozen, inputs, objectives=objectives)
  _, gradients = take_gradients(trainable)
  original = {'names': names, 'patch': model.size.patch_size}
  yield from _under('grads', gradients, **original)
  yield 'optim/no_decay_names', _undecayed(trainable, names=names)
  schedule = make_schedule(
    'linear',
    learning_rate=meta['lr'],
    warmup_steps=meta['warmup_steps'],
    total_steps=meta['total_steps'],
  )
  steps = _trace(take_gradients, trainable, schedule=schedule, meta=meta)
  for number, (_, after) in enumerate(steps, 1):
    if number in SHOWN:
      yield from _under(f'optim/after_step_{number}', after, **original)
  rates = np.array([schedule(step) for step in range(meta['total_steps'])])
  yield 'optim/losses', np.array([loss for loss, _ in steps])
  yield 'optim/lrs', rates[: len(steps)]
  yield f'optim/lr_schedule_{len(rates)}', rates


def _make_gradients(
  model: Clip, frozen: dict, inputs: tuple, *, objectives: Mapping[str, Callable]
) -> Callable:
  """`f(trainable)`: the loss that the original trains by, and its gradients."""
  images, tokens, ids = inputs

  @jax.jit
  @jax.value_and_grad
  def loss_and_gradients(trainable):
    tree = merge_params(trainable, frozen)
    arguments = (
      model.encode_image(tree, images),
      model.encode_text(tree, tokens),
      ids,
      tree['temperature'],
    )
    return sum(objectives[name](*arguments) for name in TRAINED)

  return loss_and_gradients


def _trace(
  take_gradients: Callable, trainable: dict, *, schedule: optax.Schedule, meta: Mapping
) -> list[tuple[jax.Array, dict]]:
  """Of each step the loss before it and the trainable parameters after it."""
  optimizer = make_optimizer(
    schedule,
    b1=meta['betas'][0],
    b2=meta['betas'][1],
    eps=meta['eps'],
    weight_decay=meta['weight_decay'],
  )
  state, steps = optimizer.init(trainable), []
  for _ in range(STEPS):
    loss, gradients = take_gradients(trainable)
    updates, state = optimizer.update(gradients, state, trainable)
    trainable = bound_temperature(optax.apply_updates(trainable, updates))
    steps.append((loss, trainable))
  return steps


def _under(prefix: str, tree: dict, *, names: list[Name], patch: int) -> Quantities:
  for name, tensor in renamed(tree, names=names, patch=patch):
    yield f'{prefix}/{name}', tensor


def _undecayed(trainable: dict, *, names: list[Name]) -> np.ndarray:
  groups = paths_of(decay_groups(trainable))
  undecayed = [name for name in names if groups.get(name.path) == 'bias']
  return np.array([tensor for name in undecayed for tensor in name.wanted])
