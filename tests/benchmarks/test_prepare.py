"""The benchmark of preparing: what it makes, and how it sums up."""

import pytest

from benchmarks import prepare
from harma_jax.data.prepared import read_prepared

pytest.importorskip('pyarrow', reason='writes parquet')


def test_ratios_are_of_one_round():
  rounds = [
    {'copy': 10.0, 'prepare, 1': 5.0},
    {'copy': 100.0, 'prepare, 1': 20.0},
    {'copy': 50.0, 'prepare, 1': 15.0},
  ]
  ratios = prepare.summary(rounds)['ratios']
  assert ratios == {'prepare, 1 / copy': {'median': 0.3, 'least': 0.2, 'most': 0.5}}


def test_both_forms_hold_the_same_pictures(tmp_path):
  prepare.write_shards(tmp_path, count=16)
  tables = []
  for form in ('tar', 'parquet'):
    out = tmp_path / f'out_{form}'
    prepare.prepare(tmp_path / form, out, workers=1)
    tables.append(read_prepared(out, split='train'))
  first, second = tables
  assert first.captions == second.captions
  assert first.n_images == 16
  for row in range(16):
    content = first.image_path(row).read_bytes()
    assert content == second.image_path(row).read_bytes()
