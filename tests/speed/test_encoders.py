"""The encoders, timed."""

from harma_jax.speed.report import measure


def test_the_encoders_are_measured(small_config):
  found = measure(small_config(), mode='eval', steps=2, warmup=1)
  assert found['images_per_second']['median'] > 0
  assert found['captions_per_second']['median'] > 0
  assert found['pairs_per_second'] is None
