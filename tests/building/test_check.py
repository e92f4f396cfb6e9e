"""Values that a config cannot have: each is refused before anything is read."""

import re

import pytest

from harma_jax.building.check import ABOVE_ZERO, AT_LEAST, check_config
from harma_jax.errors import UserError, expect


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    ({'seed': -1}, 'seed: expected 0 or more; found -1'),
    ({'model.size': 'ViT-B-64'}, "model.size: expected one of .*; found 'ViT-B-64'"),
    ({'model.image_size': 15}, 'model.image_size: expected a multiple of the 8 px'),
    ({'model.image_size': -8}, 'model.image_size: expected 0 or more; found -8'),
    ({'model.shared_adapter': 'image'}, "model.shared_adapter: .* found 'image'"),
    ({'model.adapter_padding': 'all'}, "model.adapter_padding: .* found 'all'"),
    ({'model.bottleneck': 12}, 'model.bottleneck: expected a multiple of the 8 heads'),
    ({'model.adapter_heads': 0}, 'model.adapter_heads: expected 1 or more; found 0'),
    ({'model.layers': 'loop'}, "model.layers: expected one of .*; found 'loop'"),
    ({'model.remat': 'all'}, "model.remat: expected one of .*; found 'all'"),
    ({'model.dtype': 'float16'}, "model.dtype: expected one of .*; found 'float16'"),
    ({'objective.contrastive': 'hinge'}, 'contrastive: .* auto, softmax, sigmoid'),
    (
      {
        'objective.contrastive': 'sigmoid',
        'objective.triplet_weight': 0.0,
        'harmonization.pair': 'directions',
      },
      'triplet_weight: .* which is the same in both directions; found 0.0',
    ),
    ({'objective.triplet_reduction': 'max'}, "triplet_reduction: .* found 'max'"),
    ({'objective.contrastive_weight': 0.0}, 'objective: expected weights .* above 0'),
    ({'optimizer.train': 'adapters'}, 'a model with adapters; found .*=none'),
    ({'model.adapters': 'prefix'}, "model.adapters: .* none; found 'prefix'"),
    ({'model.lora.rank': 0}, 'model.lora.rank: expected 1 or more; found 0'),
    ({'model.clip_adapter.ratio': 1.0}, 'clip_adapter.ratio: expected between 0 and'),
    ({'optimizer.train': 'some'}, "optimizer.train: expected one of .* found 'some'"),
    ({'optimizer.schedule': 'step'}, "optimizer.schedule: .* found 'step'"),
    ({'optimizer.warmup': 2.0}, 'optimizer.warmup: .* found 2.0'),
    ({'optimizer.learning_rate': -0.1}, 'learning_rate: expected 0 or more'),
    ({'optimizer.learning_rate': float('nan')}, 'learning_rate: .* found nan'),
    ({'train.epochs': -1.0}, 'train.epochs: expected 0 or more; found -1.0'),
    ({'train.epochs': float('inf')}, 'train.epochs: .* found inf'),
    ({'train.on_nonfinite': 'stop'}, 'on_nonfinite: expected one of raise, skip'),
    ({'train.batch_size': 12}, 'train.batch_size: .* 8 devices; found 12.*=16'),
    ({'train.microbatch': 12}, 'train.microbatch: .* 8 devices; found 12.*=16'),
    ({'train.microbatch': -8}, 'train.microbatch: expected 0 or more; found -8'),
    ({'train.steps_per_dispatch': 0}, 'steps_per_dispatch: expected 1 or more'),
    (
      {'data.image_reuse': True, 'data.captions_per_image': 2},
      'data.image_reuse: expected False with data.captions_per_image above 1',
    ),
    (
      {'data.image_reuse': True, 'harmonization.space': 'adapter'},
      'data.image_reuse: expected False with harmonization.space=adapter',
    ),
    ({'train.batch_size': 0}, 'train.batch_size: .* found 0'),
    ({'evaluation.batch_size': 0}, 'evaluation.batch_size: .* found 0'),
    ({'evaluation.batch_size': 12}, 'evaluation.batch_size: .* found 12'),
    ({'evaluation.every_epochs': 0.0}, 'evaluation.every_epochs: .* above 0'),
    ({'evaluation.select_on': 'train'}, "evaluation.select_on: .* found 'train'"),
    ({'evaluation.select_on': 'test', 'data.test_split': ''}, 'data.test_split set'),
    ({'data.test_split': 'val'}, "data.test_split: .* found 'val' for both"),
    ({'data.bands': '4,3'}, r'data.bands: expected red, .*found .4,3'),
    ({'data.stretch': 'best'}, r'data.stretch: expected auto, .* --config.data'),
    ({'data.hold_out': 1.0}, 'data.hold_out: expected a share, 0 to below 1; found 1'),
    (
      {'data.hold_out': 0.1, 'data.val_split': 'train'},
      "data.val_split: expected with data.hold_out another name .* found 'train'",
    ),
    ({'data.threads': -1}, 'data.threads: expected 0 or more; found -1'),
    ({'data.workers': -1}, 'data.workers: expected 0 or more; found -1'),
    ({'data.context_length': 99}, 'data.context_length: expected 2 to 8.*found 99'),
    ({'augment.crop_scale': (0.5, 2.0)}, 'augment.crop_scale: .* found .0.5, 2.0'),
    ({'augment.crop_scale': (0.5,)}, 'augment.crop_scale: .* found .0.5,'),
    ({'augment.crop_scale': ('a', 'b')}, 'augment.crop_scale: '),
    ({'augment.rand_augment': (2, 11)}, 'augment.rand_augment: .* 0 to 10'),
    ({'augment.rand_augment': (2.5, 7)}, 'augment.rand_augment: .* found .2.5, 7'),
    ({'mesh.fsdp': 3}, 'mesh.fsdp: expected a divisor of the 8 devices; found 3'),
    ({'checkpoint.keep': 0}, 'checkpoint.keep: expected 1 or more; found 0'),
    ({'checkpoint.every_steps': -1}, 'checkpoint.every_steps: .* found -1'),
    ({'log_every': 0}, 'log_every: expected 1 or more; found 0'),
  ],
  ids=lambda value: ','.join(value) if isinstance(value, dict) else '',
)
def test_refuses(small_config, changes, words):
  with pytest.raises(UserError) as error:
    check_config(small_config(changes))
  assert re.search(words, str(error.value)), error.value


def test_accepts_the_small_run_and_the_edges_of_ranges(small_config):
  check_config(small_config())
  edges = {name: type(least)(least) for name, least in AT_LEAST.items()}
  del edges['model.bottleneck'], edges['model.shared_bottleneck']
  check_config(small_config(edges | dict.fromkeys(ABOVE_ZERO, 0.001)))


def test_an_expectation_says_what_was_found_and_what_to_set():
  expect(True, 'a.b', 'nothing', found=1)
  with pytest.raises(UserError) as error:
    expect(False, 'a.b', 'an even number', found=3)
  assert str(error.value) == (
    'a.b: expected an even number; found 3. Set --config.a.b=VALUE.'
  )
