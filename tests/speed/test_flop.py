"""What is counted of a step."""

from harma_jax.speed.flop import flop_per_pair


def test_flop_are_those_of_the_unrolled_step_without_recomputation(small_recipe):
  toy = {'model.adapters': 'harma', 'optimizer.train': 'adapters'}
  flop = [
    flop_per_pair(small_recipe(toy | changes))
    for changes in (
      {},
      {'model.layers': 'unroll', 'model.remat': 'block'},
      {'data.context_length': 4},
    )
  ]
  assert flop[0] == flop[1]
  assert 0.3 < flop[2] / flop[0] < 1


def test_flop_grow_with_the_batch_by_little_more_than_its_pairs(small_recipe):
  small, large = (
    flop_per_pair(small_recipe({'train.batch_size': size})) for size in (8, 16)
  )
  assert 1 <= large / small < 1.1
