"""Which part of a step a name is of."""

import pytest

from harma_jax.rehearsal.parts import PARTS, part_of

BLOCKS = 'transformer/while/body/eval_jaxpr/blocks'


@pytest.mark.parametrize(
  ('name', 'part'),
  [
    (f'jit(step)/jvp(ImageTower)/{BLOCKS}/mlp/up/dot_general', 'image tower, forward'),
    (
      f'jit(step)/transpose(jvp(TextTower))/{BLOCKS}/attention/split',
      'text tower, backward',
    ),
    (
      'jit(step)/jvp(TextTower)/transformer/while/body/jit(f)/dynamic_update_slice',
      'copies of residuals',
    ),
    (
      f'jit(step)/transpose(jvp(ImageTower))/{BLOCKS}/adapter/attention/out/mul',
      'adapters',
    ),
    (f'jit(step)/jvp(TextTower)/{BLOCKS}/adapter/SharedAdapter/up/add', 'adapters'),
    (
      'jit(step)/transpose(jvp())/while/body/checkpoint/rematted_computation/TextTower/'
      'ln_final/mul',
      'text tower, backward',  # of a microbatch
    ),
    (
      'jit(step)/jvp()/while/body/eval_jaxpr/ImageTower/ln_post/mul',
      'image tower, forward',
    ),
    ('jit(step)/shard_map/augment/while/body/operate/pallas_call', 'augmentation'),
    ('jit(step)/jvp(jit(log_softmax))/sub', 'loss'),
    ('jit(step)/look_up/shard_map/gather', 'look-up of images'),
    ('augment/vmap()/while/body/eval_jaxpr/gather', 'augmentation'),
    ('jit(step)/shard_map/augment/keys_of/xor', 'augmentation'),
    ('jit(step)/jit(tree_bias_correction)/div', 'the rest'),
    ('', 'the rest'),
  ],
)
def test_a_name_tells_the_part(name, part):
  assert part_of(name) == part
  assert part in PARTS
