"""What stands in a report whatever the mode, and in its line."""

import pytest

from harma_jax.configs.common import get_config
from harma_jax.errors import UserError
from harma_jax.speed.report import FIELDS, measure, summary


def test_a_mistake_in_the_config_is_found_first():
  with pytest.raises(UserError, match=r'model\.size'):
    measure(get_config(), mode='step', steps=1, warmup=0)


def test_the_summary_is_one_line():
  rate = {'median': 1234.5, 'p5': 1000.0, 'p95': 1500.0, 'mean': 1200.0}
  found = dict.fromkeys(FIELDS) | {
    'mode': 'step',
    'size': 'tiny',
    'dtype': 'float32',
    'batch': 8,
    'tokens': 32,
    'device_count': 2,
    'device': 'cpu',
    'pairs_per_second': rate,
    'model_flop_utilisation': 0.4,
  }
  assert summary(found) == (
    'step: tiny, float32, batch 8, 32 tokens, 2 x cpu; 1,234.5 pairs/s (1,000.0 to '
    '1,500.0); 40.0% of the matmul peak'
  )
