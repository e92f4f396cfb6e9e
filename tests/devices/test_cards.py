"""The text in which the CUDA compiler is told of a card."""

from harma_jax.devices.cards import config_text
from harma_jax.devices.targets import CARDS


def test_a_card_is_described_by_its_numbers():
  text = config_text(CARDS['a100-40'])
  assert text.startswith('gpu_device_info { name: "NVIDIA A100-SXM4-40GB" ')
  for words in (
    'cuda_compute_capability { major: 8 minor: 0 }',
    'core_count: 108 ',
    'memory_bandwidth: 1555000000000 ',
    'shared_memory_per_core: 167936 ',
    'shared_memory_per_block_optin: 166912 ',
    'block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 ',
    'platform_name: "CUDA"',
  ):
    assert words in text
  assert text.count('{') == text.count('}') == 3


def test_only_newer_cards_have_accelerated_features():
  has = {kind: 'ACCELERATED' in config_text(card) for kind, card in CARDS.items()}
  assert {kind for kind, newer in has.items() if newer} == {'h100', 'h200', 'b200'}
