"""What is wrong with a config by itself, found before anything is read or compiled."""

import math
import numbers
import operator

from jax.sharding import Mesh
from ml_collections import ConfigDict

from harma_jax.augment.level import MAX_LEVEL
from harma_jax.building.batch import ROUNDINGS
from harma_jax.building.data import build_how
from harma_jax.building.model import build_model
from harma_jax.building.objective import contrastive_of, objective_settings
from harma_jax.building.step import build_head, build_optimizer, state_shapes
from harma_jax.building.text import cleaning, context_length, long_texts
from harma_jax.devices.mesh import check_batch, make_mesh
from harma_jax.errors import UserError, expect, expect_one_of
from harma_jax.evaluation.ties import SELECTORS
from harma_jax.model.attention_kernel import has_choice
from harma_jax.objective.alignment import make_objective
from harma_jax.objective.contrast import contrast_of
from harma_jax.raster.how import check_how

AT_LEAST = {
  'train.microbatch': 0,
  'train.steps_per_dispatch': 1,
  'seed': 0,
  'model.image_size': 0,
  'model.bottleneck': 1,
  'model.shared_bottleneck': 1,
  'model.adapter_heads': 1,
  'model.lora.rank': 1,
  'model.adaptformer.bottleneck': 1,
  'model.clip_adapter.reduction': 1,
  'train.epochs': 0,
  'optimizer.learning_rate': 0,
  'optimizer.weight_decay': 0,
  'optimizer.clip_norm': 0,
  'harmonization.chunk': 1,
  'data.captions_per_image': 1,
  'data.cache_side': 1,
  'data.max_pixels': 1,
  'data.threads': 0,
  'data.workers': 0,
  'checkpoint.every_steps': 0,
  'checkpoint.keep': 1,
  'checkpoint.keep_every': 0,
  'log_every': 1,
}
ABOVE_ZERO = ('model.lora.alpha', 'evaluation.every_epochs')


def check_config(config: ConfigDict, *, devices: list | None = None) -> None:
  """Builds and compares what needs no data.

  Args:
    config: of a stage.
    devices: default all devices of all processes.

  Raises:
    UserError: a value that is none of its field's, fields that exclude each other, or
      batches that the devices do not divide.
  """
  _check_ranges(config)
  _check_augment(config)
  _check_splits(config)
  _check_reading(config)
  mesh = make_mesh(fsdp=config.mesh.fsdp, devices=devices)
  _check_batch(config, mesh=mesh)
  check_batch(config.evaluation.batch_size, mesh=mesh, field='evaluation.batch_size')
  if config.train.microbatch:
    check_batch(config.train.microbatch, mesh=mesh, field='train.microbatch')
  model = build_model(config)
  expect(
    config.model.attention != 'cudnn' or has_choice(model.dtype),
    'model.attention',
    'auto or xla where there is no NVIDIA GPU or no half precision',
    found=config.model.attention,
  )
  context_length(config, model)
  cleaning(config)
  long_texts(config, model)
  _check_harmonization(config)
  _check_image_reuse(config)
  build_head(config, make_objective(**objective_settings(config)), total_steps=1)
  optimizer, _ = build_optimizer(config, total_steps=1)
  state_shapes(config, model, optimizer)


def _check_batch(config: ConfigDict, *, mesh: Mesh) -> None:
  size, rounding = config.train.batch_size, config.train.batch_rounding
  expect_one_of(ROUNDINGS, 'train.batch_rounding', found=rounding)
  check_batch(size, mesh=mesh, field='train.batch_size', may_round=size > 0)


def _check_ranges(config: ConfigDict) -> None:
  for field, least in AT_LEAST.items():
    value = operator.attrgetter(field)(config)
    expect(least <= value < math.inf, field, f'{least} or more', found=value)
  for field in ABOVE_ZERO:
    value = operator.attrgetter(field)(config)
    expect(0 < value < math.inf, field, 'a number above 0', found=value)
  on_nonfinite = config.train.on_nonfinite
  choices = ('raise', 'skip')
  what = f'one of {", ".join(choices)}'
  expect(on_nonfinite in choices, 'train.on_nonfinite', what, found=on_nonfinite)
  warmup = config.optimizer.warmup
  expect(0 <= warmup <= 1, 'optimizer.warmup', 'a share of all steps', found=warmup)
  ratio = config.model.clip_adapter.ratio
  expect(0 < ratio < 1, 'model.clip_adapter.ratio', 'between 0 and 1', found=ratio)


def _check_augment(config: ConfigDict) -> None:
  scale = tuple(config.augment.crop_scale)
  expect(
    _is_pair(scale) and 0 < scale[0] <= scale[1] <= 1,
    'augment.crop_scale',
    'the least and the largest share of the area, above 0 and up to 1',
    found=scale,
  )
  drawn = tuple(config.augment.rand_augment)
  expect(
    _is_pair(drawn) and drawn[0] in range(100) and 0 <= drawn[1] <= MAX_LEVEL,
    'augment.rand_augment',
    f'a number of operations and their level, 0 to {MAX_LEVEL}',
    found=drawn,
  )


def _check_reading(config: ConfigDict) -> None:
  try:
    check_how(build_how(config))
  except UserError as error:
    raise UserError(f'data.{error} Set --config.data.FIELD=VALUE.') from error


def _check_image_reuse(config: ConfigDict) -> None:
  reuse, space = config.data.image_reuse, config.harmonization.space
  expect(
    not reuse or config.data.captions_per_image == 1,
    'data.image_reuse',
    'False with data.captions_per_image above 1, which encodes an image once',
    found=reuse,
  )
  expect(
    not reuse or space == 'embedding',
    'data.image_reuse',
    f'False with harmonization.space={space}, which encodes every sample alone',
    found=reuse,
  )


def _check_harmonization(config: ConfigDict) -> None:
  pair, count = config.harmonization.pair, config.data.captions_per_image
  if pair == 'captions':
    expect(
      count > 1, 'data.captions_per_image', '2 or more with pair=captions', found=count
    )
  elif pair != 'none':
    expect(
      count == 1,
      'data.captions_per_image',
      f'1 with harmonization.pair={pair}',
      found=count,
    )
  if pair == 'objectives':
    weights = config.objective.contrastive_weight, config.objective.triplet_weight
    expect(
      min(weights) > 0,
      'objective.triplet_weight',
      'both losses with a weight above 0 for harmonization.pair=objectives',
      found=weights,
    )
  if pair == 'directions' and not contrast_of(contrastive_of(config)).directed:
    expect(
      config.objective.triplet_weight > 0,
      'objective.triplet_weight',
      'a weight above 0 for harmonization.pair=directions with the sigmoid loss, which '
      'is the same in both directions',
      found=config.objective.triplet_weight,
    )
  for field in ('harmonization.start', 'harmonization.anneal', 'data.swap_captions'):
    share = operator.attrgetter(field)(config)
    expect(0 <= share <= 1, field, 'a share, 0 to 1', found=share)


def _is_pair(values: tuple) -> bool:
  return len(values) == 2 and all(isinstance(value, numbers.Real) for value in values)


def _check_splits(config: ConfigDict) -> None:
  select_by = config.evaluation.select_by
  expect_one_of(SELECTORS, 'evaluation.select_by', found=select_by)
  select_on = config.evaluation.select_on
  val, test = config.data.val_split, config.data.test_split
  if select_on not in ('val', 'test') or (select_on == 'test' and not test):
    raise UserError(
      'evaluation.select_on: expected val, or test with data.test_split set; '
      f'found {select_on!r} with data.test_split={test!r}.'
    )
  if test and test == val:
    raise UserError(
      f'data.test_split: expected another split than data.val_split; found {test!r} '
      'for both. Set --config.data.test_split= to evaluate on val alone.'
    )
  share = config.data.hold_out
  expect(0 <= share < 1, 'data.hold_out', 'a share, 0 to below 1', found=share)
  expect(
    not share or val != config.data.train_split,
    'data.val_split',
    'with data.hold_out another name than data.train_split',
    found=val,
  )
