"""Compares this installation with stored results of the original implementation.

  python -m harma_jax.parity FILE.npz

The file holds weights under the original's names, inputs, and what the original
computed from them: hidden states, features, losses, gradients, six optimizer steps.
Every quantity is computed again; prints as JSON for each `max_abs_error`,
`max_rel_error` and `ok`, and exits 0 only if all agree, 1 if one does not, 2 if the
file cannot be read.
"""

import functools
import json
import pathlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax

from harma_jax import cli
from harma_jax.errors import UserError
from harma_jax.model.adapter import AdapterSettings
from harma_jax.model.clip import Clip
from harma_jax.model.sizes import Size, TowerSize
from harma_jax.objective.anchors import over_anchors
from harma_jax.objective.contrastive import contrastive
from harma_jax.objective.triplet import adaptive_triplet
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
from harma_jax.weights.names import Name, give, names_of, paths_of, take, tree_of
from harma_jax.weights.tensors import read_npz

TOLERANCE = 1e-4
TRACE_TOLERANCE = 5e-3

_NEEDED = ('meta', 'inputs/images_nchw', 'inputs/tokens', 'inputs/image_ids')

Quantities = Iterator[tuple[str, np.ndarray]]


def compare(reference: dict[str, np.ndarray]) -> dict[str, dict]:
  """Computes every quantity of a reference again.

  Args:
    reference: the arrays of a file, by name; `meta` says what model they are of.

  Returns:
    By quantity: `max_abs_error`, `max_rel_error` (relative to the largest entry of the
    expected array) and `ok` (the latter within 1e-4; 5e-3 in the optimizer trace).

  Raises:
    UserError: an array that parity needs is missing, or one that it cannot compute.
  """
  with jax.default_matmul_precision('highest'):
    computed = dict(_quantities(reference))
  extra = {name for name in reference if _is_quantity(name)} - set(computed)
  if extra:
    raise UserError(
      'Expected quantities that parity can compute; found also '
      f'{", ".join(sorted(extra))}.'
    )
  return {
    name: _agreement(name, value, reference[name])
    for name, value in computed.items()
    if name in reference
  }


def _is_quantity(name: str) -> bool:
  kind, *rest = name.split('/')
  given = kind == 'losses' and rest[-1] in _GIVEN
  return kind not in ('weights', 'inputs', 'meta') and not given


_GIVEN = ('image_features', 'text_features', 'image_ids')


def _agreement(name: str, computed: np.ndarray, expected: np.ndarray) -> dict:
  tolerance = TRACE_TOLERANCE if name.startswith('optim/') else TOLERANCE
  computed, expected = np.asarray(computed), np.asarray(expected)
  if computed.shape != expected.shape or expected.dtype.kind == 'U':
    equal = computed.shape == expected.shape and set(computed) == set(expected)
    error = 0.0 if equal else 1.0
    return {'max_abs_error': error, 'max_rel_error': error, 'ok': equal}
  if name.startswith('optim/') and name.endswith('in_proj_bias'):
    computed, expected = _without_key(computed), _without_key(expected)
  absolute = np.abs(computed.astype(np.float64) - expected).max(initial=0.0)
  largest = np.abs(expected).max(initial=0.0)
  relative = absolute / largest if largest else absolute
  return {
    'max_abs_error': float(absolute),
    'max_rel_error': float(relative),
    'ok': bool(relative <= tolerance),
  }


def _without_key(in_proj_bias: np.ndarray) -> np.ndarray:
  # Softmax ignores a key's bias: its gradient is 0, and Adam turns rounding to steps.
  query, _, value = np.split(in_proj_bias, 3)
  return np.concatenate([query, value])


def _quantities(reference: dict[str, np.ndarray]) -> Quantities:
  meta = json.loads(str(reference['meta']))
  model = model_of(meta)
  names = _names(model)
  weights = {
    name.removeprefix('weights/'): array
    for name, array in reference.items()
    if name.startswith('weights/')
  }
  params = tree_of(take(names, weights))
  params = jax.tree.map(jnp.asarray, params)
  inputs = (
    jnp.asarray(reference['inputs/images_nchw']).transpose(0, 2, 3, 1),
    jnp.asarray(reference['inputs/tokens']),
    jnp.asarray(reference['inputs/image_ids']),
  )
  yield from _outputs(model, params, inputs, meta)
  yield from _training(model, params, inputs, names, meta)
  sets = {name.split('/')[1] for name in reference if name.startswith('losses/')}
  for name in sorted(sets):
    given = [jnp.asarray(reference[f'losses/{name}/{part}']) for part in _GIVEN]
    yield from _losses(f'losses/{name}', given, meta)


def model_of(meta: dict) -> Clip:
  """The model that a reference file is of, by its `meta`."""
  image, text, adapter = meta['vision_cfg'], meta['text_cfg'], meta['adapter']
  size = Size(
    image=TowerSize(
      width=image['width'],
      layers=image['layers'],
      heads=image['width'] // image['head_width'],
    ),
    text=TowerSize(width=text['width'], layers=text['layers'], heads=text['heads']),
    image_size=image['image_size'],
    patch_size=image['patch_size'],
    embedding=meta['embed_dim'],
    activation='quick_gelu' if meta['quick_gelu'] else 'gelu',
    context_length=text['context_length'],
    vocabulary=text['vocab_size'],
  )
  settings = AdapterSettings(
    bottleneck=adapter['bottleneck'],
    shared_bottleneck=adapter['shared_bottleneck'],
    heads=adapter['heads'],
  )
  return Clip(size=size, adapter=settings, shared_adapter=meta['sharing'])


def _names(model: Clip) -> list[Name]:
  return names_of(
    paths_of(jax.eval_shape(model.init, jax.random.key(0))),
    image_layers=model.size.image.layers,
    text_layers=model.size.text.layers,
    shared_adapter=model.shared_adapter,
    layout='harma',
  )


def _objectives(meta: dict) -> dict:
  """The original's losses by its names, each `f(images, texts, ids, temperature)`."""

  def triplet(scale=1.0, **settings):
    settings = {'margin': meta['margin'], 'gamma': meta['gamma']} | settings
    loss = functools.partial(
      adaptive_triplet, reduction='sum', mask_same_image=False, **settings
    )
    return lambda u, v, ids, _: scale * over_anchors(loss, u, v, ids).mean()

  def multi(u, v, ids, temperature):
    def loss(similarity, own, same):
      return contrastive(similarity, same, temperature=temperature)

    return over_anchors(loss, u, v, ids).mean()

  # The original's plain losses lack the half; its hardest one sums over anchors.
  return {
    'contrastive_multi_positive': multi,
    'contrastive_single_positive': lambda u, v, ids, t: multi(
      u, v, jnp.arange(len(ids)), t
    ),
    'adaptive_triplet_sum': triplet(),
    'adaptive_triplet_sum_gamma1_margin04': triplet(gamma=1.0, margin=0.4),
    'plain_triplet_sum': triplet(scale=2.0, gamma=0.0),
    'plain_triplet_hardest': triplet(scale=2.0, gamma=0.0, negatives='hardest'),
  }


def _outputs(model: Clip, params: dict, inputs: tuple, meta: dict) -> Quantities:
  images, tokens, ids = inputs
  for tower, states in zip(
    ('image', 'text'), jax.jit(model.hidden_states)(params, images, tokens), strict=True
  ):
    for layer, state in enumerate(states):
      yield f'hidden/{tower}_block_{layer}', state
  image_features = jax.jit(model.encode_image)(params, images)
  text_features = jax.jit(model.encode_text)(params, tokens)
  yield 'outputs/image_features', image_features
  yield 'outputs/text_features', text_features
  for name, objective in _objectives(meta).items():
    value = objective(image_features, text_features, ids, params['temperature'])
    yield f'outputs/{name}', value


def _losses(prefix: str, given: list[jax.Array], meta: dict) -> Quantities:
  image_features, text_features, ids = given
  for name, objective in _objectives(meta).items():
    value, gradients = jax.value_and_grad(objective, argnums=(0, 1))(
      image_features, text_features, ids, meta['temp']
    )
    yield f'{prefix}/{name}', value
    yield f'{prefix}/{name}/grad_image', gradients[0]
    yield f'{prefix}/{name}/grad_text', gradients[1]


def _training(
  model: Clip, params: dict, inputs: tuple, names: list[Name], meta: dict
) -> Quantities:
  """Gradients at the given weights, then six optimizer steps on the same batch."""
  images, tokens, ids = inputs
  shared = 'shared_adapter' in params
  labels = label_leaves(params, patterns_of('adapters', shared=shared))
  trainable, frozen = split_params(params, labels)
  objectives = _objectives(meta)

  @jax.jit
  def loss_and_gradients(trainable):
    def loss(trainable):
      tree = merge_params(trainable, frozen)
      arguments = (
        model.encode_image(tree, images),
        model.encode_text(tree, tokens),
        ids,
        tree['temperature'],
      )
      return sum(
        objectives[name](*arguments)
        for name in ('contrastive_multi_positive', 'adaptive_triplet_sum')
      )

    return jax.value_and_grad(loss)(trainable)

  _, gradients = loss_and_gradients(trainable)
  yield from _theirs('grads', gradients, names, model)
  yield 'optim/no_decay_names', _undecayed(trainable, names, model)
  yield from _trace(loss_and_gradients, trainable, names, model, meta)


def _trace(loss_and_gradients, trainable, names, model, meta) -> Quantities:
  schedule = make_schedule(
    'linear',
    learning_rate=meta['lr'],
    warmup_steps=meta['warmup_steps'],
    total_steps=meta['total_steps'],
  )
  optimizer = make_optimizer(
    schedule,
    b1=meta['betas'][0],
    b2=meta['betas'][1],
    eps=meta['eps'],
    weight_decay=meta['weight_decay'],
  )
  state, losses = optimizer.init(trainable), []
  for step in range(1, 7):
    loss, gradients = loss_and_gradients(trainable)
    updates, state = optimizer.update(gradients, state, trainable)
    trainable = bound_temperature(optax.apply_updates(trainable, updates))
    losses.append(loss)
    if step in (2, 6):
      yield from _theirs(f'optim/after_step_{step}', trainable, names, model)
  rates = np.array([schedule(step) for step in range(meta['total_steps'])])
  yield 'optim/losses', np.array(losses)
  yield 'optim/lrs', rates[: len(losses)]
  yield f'optim/lr_schedule_{len(rates)}', rates


def _theirs(prefix: str, tree: dict, names: list[Name], model: Clip) -> Quantities:
  """The leaves of `tree` under the original's names, aliases included."""
  leaves = paths_of(tree)
  ours = [name for name in names if name.path in leaves]
  for name, tensor in give(ours, leaves, patch=model.size.patch_size).items():
    yield f'{prefix}/{name}', tensor


def _undecayed(trainable: dict, names: list[Name], model: Clip) -> np.ndarray:
  groups = paths_of(decay_groups(trainable))
  undecayed = [name for name in names if groups.get(name.path) == 'bias']
  return np.array([tensor for name in undecayed for tensor in name.wanted])


def read_reference(path: str) -> dict[str, np.ndarray]:
  """The arrays of a reference file.

  Raises:
    UserError: no such file, not an npz, or without what parity needs.
  """
  reference = read_npz(pathlib.Path(path))
  missing = [name for name in _NEEDED if name not in reference]
  if missing or not any(map(_is_quantity, reference)):
    raise UserError(
      f'Expected the keys {", ".join(_NEEDED)} and quantities to compare in {path}; '
      f'found {", ".join(list(reference)[:5]) or "nothing"}.'
    )
  return reference


def main(argv: list[str]) -> int:
  if len(argv) != 2:
    raise UserError(
      f'Expected one argument, python -m harma_jax.parity FILE.npz; found {argv[1:]}.'
    )
  report = compare(read_reference(argv[1]))
  print(json.dumps(report, indent=2))
  return 0 if all(row['ok'] for row in report.values()) else 1


if __name__ == '__main__':
  cli.run(main)
