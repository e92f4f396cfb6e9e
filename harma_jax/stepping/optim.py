"""Which leaves train, and how: patterns over every leaf, schedule, AdamW."""

import re
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from harma_jax.errors import UserError, expect_one_of
from harma_jax.model.additions import ADDED
from harma_jax.stepping.released_adamw import released_adam, released_adamw

TRAINABLE, FROZEN = 'trainable', 'frozen'
SCHEDULES = ('linear', 'cosine', 'constant')
# With decay, and without.
KINDS = {
  'adamw': (optax.adamw, optax.adam),
  'adamw_released': (released_adamw, released_adam),
}
BIASES = ('bias', 'logit_bias')

# Kept here after every step. The lower end is CLIP's own (a logit scale of 100). SigLIP
# bounds nothing, and its published weights have scales of up to 118.
TEMPERATURE_RANGE = (0.01, 0.5)
TEMPERATURE_RANGE_WITH_BIAS = (0.001, 1.0)

# (pattern, label), the first that matches a leaf's whole path decides.
Patterns = Sequence[tuple[str, str]]

_UNUSED = (r'logit_scale', FROZEN)
_BACKBONE = (
  _UNUSED,
  (rf'(image|text)/(?!.*({ADDED})).*', FROZEN),
  (r'temperature|logit_bias', TRAINABLE),
)
_BLOCKS = '(image|text)/transformer/blocks'
# What each kind of `model.adapters` trains.
ADAPTERS: dict[str, Patterns] = {
  'harma': (
    (rf'{_BLOCKS}/(adapter/.*|block_gate)', TRAINABLE),
    (r'shared_adapter/.*', TRAINABLE),
  ),
  'lora': (
    (rf'{_BLOCKS}/(attention|mlp)/lora_(query|value|up|down)/[ab]/kernel', TRAINABLE),
  ),
  'adaptformer': ((rf'{_BLOCKS}/adaptformer/(down|up)/(kernel|bias)', TRAINABLE),),
  'clip_adapter': ((r'(image|text)/clip_adapter/(down|up)/kernel', TRAINABLE),),
  'none': (),
}
MODES: dict[str, Patterns] = {
  'adapters': _BACKBONE,  # behind those of the adapters
  'full': (_UNUSED, (r'.*', TRAINABLE)),
  'projection': (
    (r'(image|text)/(projection|head/.*|pooling/.*)', TRAINABLE),
    *_BACKBONE,
  ),
  # No step is taken; the loss's scalars have a place in the state all the same.
  'none': (
    _UNUSED,
    (r'temperature|logit_bias', TRAINABLE),
    (r'.*', FROZEN),
  ),
}


def patterns_of(mode: str, *, shared: bool, adapters: str = 'harma') -> Patterns:
  """The patterns of a training mode.

  Args:
    mode: `adapters`, `full`, `projection` (a probe: the two projections alone, or what
      a family has in their place, SigLIP's pooling of images and head of texts), or
      `none`.
    shared: whether the model has shared adapters.
    adapters: the model's kind of adapters, of `ADAPTERS`.

  Raises:
    UserError: an unknown mode, or no adapters to train.
  """
  if mode not in MODES:
    raise UserError(
      f'optimizer.train: expected one of {", ".join(MODES)}; found {mode!r}.'
    )
  rows = MODES[mode]
  if mode == 'adapters':
    rows = _added_patterns(adapters) + rows
  return [row for row in rows if shared or not row[0].startswith('shared')]


def _added_patterns(adapters: str) -> Patterns:
  if not ADAPTERS[adapters]:
    raise UserError(
      'optimizer.train=adapters: expected a model with adapters; found '
      f'model.adapters={adapters}. Set --config.model.adapters=harma, or '
      '--config.optimizer.train=full.'
    )
  return ADAPTERS[adapters]


def label_leaves(params: dict, patterns: Patterns) -> dict[str, str]:
  """Assigns every leaf to `trainable` or `frozen`.

  Args:
    params: nested dict of arrays (or shapes).
    patterns: rows of a regular expression, matched against the whole path of a leaf
      (`image/transformer/blocks/ln_1/scale`), and its label; the first match counts.

  Returns:
    The label of every path.

  Raises:
    UserError: a leaf that no pattern matches, a pattern that decides no leaf, or
      nothing to train; the message names them.
  """
  labels, used = {}, set()
  for path in traverse_util.flatten_dict(params, sep='/'):
    matches = (row for row in patterns if re.fullmatch(row[0], path))
    pattern, labels[path] = next(matches, (None, None))
    used.add(pattern)
  _check_labels(labels, unused=[row[0] for row in patterns if row[0] not in used])
  return labels


def _check_labels(labels: dict[str, str], *, unused: list[str]) -> None:
  unmatched = [path for path, label in labels.items() if label is None]
  if unmatched:
    raise UserError(
      'Expected a pattern for every parameter; none matches '
      f'{", ".join(unmatched)}. Add one that ends in trainable or frozen.'
    )
  if unused:
    raise UserError(
      f'Expected every pattern to decide a parameter; {", ".join(map(repr, unused))} '
      'decides none. The model has no such parameters, or an earlier pattern took them.'
    )
  if TRAINABLE not in labels.values():
    raise UserError('Expected parameters to train; the patterns freeze all of them.')


def split_params(params: dict, labels: dict[str, str]) -> tuple[dict, dict]:
  """Parts `params` into the trainable and the frozen subtree (nested dicts)."""
  flat = traverse_util.flatten_dict(params, sep='/')
  return tuple(
    traverse_util.unflatten_dict(
      {path: leaf for path, leaf in flat.items() if labels[path] == label}, sep='/'
    )
    for label in (TRAINABLE, FROZEN)
  )


def merge_params(*parts: dict) -> dict:
  """The tree whose disjoint subtrees are `parts`."""
  flat = {}
  for part in parts:
    flat |= traverse_util.flatten_dict(part)
  return traverse_util.unflatten_dict(flat)


def make_schedule(
  name: str, *, learning_rate: float, warmup_steps: int, total_steps: int
) -> optax.Schedule:
  """Linear warm-up from 0, then linear or cosine to 0 at `total_steps`, or constant.

  Raises:
    UserError: an unknown name.
  """
  after = max(total_steps - warmup_steps, 1)
  decays = {
    'linear': optax.linear_schedule(learning_rate, 0.0, after),
    'cosine': optax.cosine_decay_schedule(learning_rate, after),
    'constant': optax.constant_schedule(learning_rate),
  }
  if name not in decays:
    raise UserError(
      f'optimizer.schedule: expected one of {", ".join(SCHEDULES)}; found {name!r}.'
    )
  if not warmup_steps:
    return decays[name]
  warmup = optax.linear_schedule(0.0, learning_rate, warmup_steps)
  return optax.join_schedules([warmup, decays[name]], [warmup_steps])


def make_optimizer(
  schedule: optax.Schedule,
  *,
  kind: str = 'adamw',
  b1: float = 0.9,
  b2: float = 0.98,
  eps: float = 1e-8,
  weight_decay: float = 0.04,
  clip_norm: float = 0.0,
) -> optax.GradientTransformation:
  """AdamW over the trainable subtree, in the groups of the released code.

  Biases are not decayed; everything else is, gates, norms and temperature included.
  `clip_norm` above 0 first scales the gradient to at most that global norm.

  Raises:
    UserError: a kind that is none of `KINDS`: `adamw` is that of optax and torch,
      `adamw_released` that of the released code (`released_adamw`).
  """
  expect_one_of(KINDS, 'optimizer.kind', found=kind)
  adam = {'b1': b1, 'b2': b2, 'eps': eps}
  with_decay, without = KINDS[kind]
  groups = optax.partition(
    {
      'decayed': with_decay(schedule, **adam, weight_decay=weight_decay),
      'bias': without(schedule, **adam),
    },
    decay_groups,
  )
  return (
    optax.chain(optax.clip_by_global_norm(clip_norm), groups) if clip_norm else groups
  )


def decay_groups(params: dict) -> dict:
  """Labels `bias` for biases and `decayed` for all else, in the tree of `params`."""
  return traverse_util.path_aware_map(
    lambda path, _: 'bias' if path[-1] in BIASES else 'decayed', params
  )


def updates_made(optimizer_state: optax.OptState, *, default: jax.Array) -> jax.Array:
  """i32[]: the updates that an optimizer has made; `default` where it counts none."""
  counts = optax.tree.get_all_with_path(optimizer_state, 'count')
  return counts[0][1] if counts else default


def bound_temperature(params: dict) -> dict:
  """`params` with the temperature inside its range, if it is among them.

  The range is that of the sigmoid loss where a bias stands beside it.
  """
  if 'temperature' not in params:
    return params
  has_bias = 'logit_bias' in params
  bounds = TEMPERATURE_RANGE_WITH_BIAS if has_bias else TEMPERATURE_RANGE
  return {**params, 'temperature': jnp.clip(params['temperature'], *bounds)}


def count(params: dict) -> int:
  """How many numbers a tree of arrays holds."""
  return sum(leaf.size for leaf in jax.tree.leaves(params))
