import dataclasses
import logging

import jax
import pytest

from harma_jax.errors import UserError
from harma_jax.model.adapter import AdapterSettings
from harma_jax.model.clip import Clip
from harma_jax.model.families import CLIP, SIGLIP
from harma_jax.model.sizes import SIZES, describe, named_size
from harma_jax.stepping.optim import count, label_leaves, patterns_of, split_params

NAMES = tuple(SIZES)  # before other tests add theirs


@pytest.mark.parametrize('name', NAMES)
def test_sizes_can_be_built(name):
  size = named_size(name)
  assert size.family is SIGLIP or not size.unseen_pixels
  for tower in (size.image, size.text):
    assert tower.width % tower.heads == 0


def test_every_size_of_clip_comes_with_either_activation():
  names = [name for name in NAMES if SIZES[name].family is CLIP]
  plain = [name for name in names if not name.endswith('-quickgelu')]
  assert len(names) == 2 * len(plain)
  for name in plain:
    quick = named_size(f'{name}-quickgelu')
    assert named_size(name).activation == 'gelu'
    assert quick == dataclasses.replace(named_size(name), activation='quick_gelu')


def test_the_activation_has_no_default():
  fields = {field.name: field for field in dataclasses.fields(named_size('tiny'))}
  assert fields['activation'].default is dataclasses.MISSING


@pytest.mark.parametrize(
  ('name', 'plain'),
  [
    ('ViT-B-32', 151_277_313),
    ('ViT-B-16', 149_620_737),
    ('ViT-L-14', 427_616_513),
    ('ViT-L-14-336', 427_944_193),
    ('ViT-H-14', 986_109_441),
    ('ViT-B-16-SigLIP', 203_155_970),
    ('ViT-B-16-SigLIP2', 375_187_970),
    ('ViT-L-16-SigLIP2-256', 881_526_786),
    ('ViT-SO400M-14-SigLIP-384', 877_960_498),
    ('ViT-SO400M-16-SigLIP2-256', 1_135_670_962),
    ('ViT-gopt-16-SigLIP2-256', 1_871_393_906),
  ],
)
def test_plain_sizes_have_the_published_parameter_counts(name, plain):
  # As OpenCLIP counts them, and the temperature beside its logit scale.
  clip = Clip(size=named_size(name))
  assert count(jax.eval_shape(clip.init, jax.random.key(0))) == plain + 1


def test_adapters_of_vit_b_32_have_the_released_size():
  size = named_size('ViT-B-32')
  clip = Clip(size=size, adapter=AdapterSettings(), shared_adapter='text')
  shapes = jax.eval_shape(clip.init, jax.random.key(0))
  labels = label_leaves(shapes, patterns_of('adapters', shared=True))
  assert count(split_params(shapes, labels)[0]) == 5_934_397
  assert count(shapes) == 157_211_710


def test_adapters_of_siglip_are_in_the_blocks_alone():
  size = named_size('ViT-SO400M-14-SigLIP-384')
  clip = Clip(size=size, adapter=AdapterSettings(), shared_adapter='both')
  shapes = jax.eval_shape(clip.init, jax.random.key(0))
  labels = label_leaves(shapes, patterns_of('adapters', shared=True))
  width, inner, shared = 1152, 128, 64
  attention = 4 * (inner * inner + inner)
  own = width * inner + inner + inner * width + width + attention + 2
  of_both = 2 * inner * shared + inner + shared + 4 * (shared * shared + shared) + 1
  layers = 27
  # The temperature and the bias of the similarities train too.
  expected = 2 * layers * own + layers * of_both + 2
  assert count(split_params(shapes, labels)[0]) == expected


@pytest.mark.parametrize('name', NAMES)
def test_a_described_size_is_found_again(name):
  size = SIZES[name]
  assert named_size(describe(size), image_size=size.image_size) == size


@pytest.mark.parametrize(
  'name',
  [
    'ViT-B-16-quickgelu,context_length=248',
    'ViT-B-16-SigLIP2,activation=gelu,text_activation=gelu_tanh',
    'tiny-siglip,image.layers=2,image.mlp_width=100,vocabulary=70',
  ],
)
def test_what_is_otherwise_stands_behind_the_name(name):
  assert describe(named_size(name)) == name


def test_one_activation_is_that_of_both_towers():
  size = named_size('tiny-siglip,activation=gelu')
  assert (size.activation, size.text_activation) == ('gelu', None)


@pytest.mark.parametrize(
  'change',
  ['heads=3', 'image.layers=0', 'image.layers=two', 'activation=relu', 'layers', ''],
)
def test_what_is_no_field_of_a_size_is_the_users_mistake(change):
  with pytest.raises(UserError, match=r'NAME,FIELD=VALUE .*image\.heads.*; found'):
    named_size(f'tiny-siglip,{change}')


def test_features_that_siglip_would_have_to_project_are_the_users_mistake():
  with pytest.raises(UserError, match=r'as the image tower \(128\).*embedding=64'):
    named_size('tiny-siglip,embedding=64')


def test_patches_of_siglip_need_not_divide_the_side(caplog):
  size = named_size('ViT-SO400M-14-SigLIP-384')
  assert (size.image_positions, size.unseen_pixels) == (27 * 27, 6)
  with caplog.at_level(logging.INFO):
    for _ in range(2):
      named_size('ViT-SO400M-14-SigLIP-384', image_size=45)
  assert caplog.text.count('3 x 3 patches of 14 px: the last 3 px') == 1
  with pytest.raises(UserError, match='at least one patch of 14 px'):
    named_size('ViT-SO400M-14-SigLIP-384', image_size=13)


def test_another_image_size_changes_nothing_else():
  size = named_size('ViT-B-32', image_size=288)
  assert size == dataclasses.replace(named_size('ViT-B-32'), image_size=288)


def test_unknown_name_is_the_users_mistake():
  with pytest.raises(UserError, match=r'model\.size: .*ViT-B-32.*; found .ViT-B32.'):
    named_size('ViT-B32')


def test_a_side_that_patches_do_not_divide_is_the_users_mistake():
  with pytest.raises(UserError, match=r'multiple of the 32 px .*ViT-B-32; found 225'):
    named_size('ViT-B-32', image_size=225)
