"""The benchmark of a million pairs, with forty."""

import numpy as np
import pytest

from benchmarks import million_pairs
from harma_jax.data.builders.archives import prepare_archives
from harma_jax.data.builders.shard_writer import Writing
from harma_jax.data.prepared import read_prepared

pytest.importorskip('pyarrow', reason='writes parquet')

SIZES = {'EACH': 20, 'BATCH': 8, 'STEPS': 6, 'NOTED': 3, 'HEADERS': 10}


@pytest.fixture
def prepared(tmp_path, monkeypatch):
  for name, value in SIZES.items():
    monkeypatch.setattr(million_pairs, name, value)
  million_pairs.write_parquet(tmp_path / 'source', pairs=40)
  writing = Writing(checks=False)
  out = tmp_path / 'out'
  prepare_archives(str(tmp_path / 'source'), out, dataset='captions', writing=writing)
  return out


def test_all_is_compared_and_measured(prepared):
  found = million_pairs.stream(prepared)
  assert list(found['memory_mib_after_steps']) == [3, 6]
  assert found['images_a_second'] > 0


def test_an_order_that_differs_is_found_out(prepared, monkeypatch):
  table = read_prepared(prepared, split='train')
  tokens = np.ones((table.n_captions, 8), np.int32)
  order = million_pairs.batches_of

  def of_one_seed(table, tokens, *, seed=0, **options):
    return order(table, tokens, seed=0, **options)

  monkeypatch.setattr(million_pairs, 'batches_of', of_one_seed)
  with pytest.raises(SystemExit, match='another seed has another order'):
    million_pairs.compare_orders(table, tokens)
