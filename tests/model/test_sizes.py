import dataclasses

import jax
import pytest

from harma_jax.errors import UserError
from harma_jax.model.adapter import AdapterSettings
from harma_jax.model.clip import Clip
from harma_jax.model.sizes import SIZES, named_size
from harma_jax.stepping.optim import count, label_leaves, patterns_of, split_params

NAMES = tuple(SIZES)  # before other tests add theirs


@pytest.mark.parametrize('name', NAMES)
def test_sizes_can_be_built(name):
  size = named_size(name)
  assert size.image_size % size.patch_size == 0
  for tower in (size.image, size.text):
    assert tower.width % tower.heads == 0


def test_every_size_comes_with_either_activation():
  plain = [name for name in NAMES if not name.endswith('-quickgelu')]
  assert len(NAMES) == 2 * len(plain)
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


def test_another_image_size_changes_nothing_else():
  size = named_size('ViT-B-32', image_size=288)
  assert size == dataclasses.replace(named_size('ViT-B-32'), image_size=288)


def test_unknown_name_is_the_users_mistake():
  with pytest.raises(UserError, match=r'model\.size: .*ViT-B-32.*; found .ViT-B32.'):
    named_size('ViT-B32')


def test_a_side_that_patches_do_not_divide_is_the_users_mistake():
  with pytest.raises(UserError, match=r'multiple of the 32 px .*ViT-B-32; found 225'):
    named_size('ViT-B-32', image_size=225)
