"""What a stage's devices are, in words."""

from harma_jax.devices.targets import named_target, read_topology
from harma_jax.rehearsal.stage_words import device_in_words


def test_a_kind_of_device_is_told_with_its_numbers():
  assert device_in_words(named_target('v5e')) == (
    '197 TFLOP/s in bfloat16, 819 GB/s, 15.75 GiB for programs'
  )
  assert device_in_words(named_target('h100')).endswith(
    'programs, the 75% that jax takes (XLA_CLIENT_MEM_FRACTION changes it)'
  )
  assert device_in_words(read_topology('tpu:8').target) is None
