"""Training batches of the host, timed."""

from harma_jax.speed.report import measure


def test_the_pipeline_is_measured_alone(small_config):
  found = measure(small_config(), mode='pipeline', steps=3, warmup=1)
  assert found['pairs_per_second']['mean'] > 0
  assert found['flop_per_pair'] is None
  assert found['peak_memory_source'].startswith('none')
