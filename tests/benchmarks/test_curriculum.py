"""The study of the curriculum on tables that come with their noise."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import curriculum, curriculum_tables

LEVELS = ('00', '02')


@pytest.fixture
def rrsitr(tmp_path):
  """RSITMD's layout with RRSITR's tables: 8 + 4 + 4 images, 5 captions each."""
  (tmp_path / 'images').mkdir()
  rng = np.random.default_rng(0)
  for split, count in {'train': 8, 'val': 4, 'test': 4}.items():
    rows = []
    for image in range(count):
      pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
      Image.fromarray(pixels).save(tmp_path / f'images/{split}_{image}.tif')
      rows += [[f'/a/b/{split}_{image}.tif', f'{split} {image} {k}'] for k in range(5)]
    names = [f'RSITMD-NC-{level}' for level in LEVELS]
    for name in names if split == 'train' else [f'rsitmd_{split}']:
      if name.endswith('02'):  # a fifth of 40 captions change places
        titles = [row[1] for row in rows]
        for row in range(0, 40, 5):
          rows[row][1] = titles[(row + 5) % 40]
      with (tmp_path / f'{name}.csv').open('w', newline='') as file:
        csv.writer(file).writerows([['filename', 'title'], *rows])
  return tmp_path


@pytest.fixture
def study(rrsitr, monkeypatch):
  sizes = {'epochs': 2, 'plain_epochs': 1, 'batch_size': 8}
  monkeypatch.setitem(curriculum.DATA, 'rrsitr', sizes)
  config = curriculum.study_config('rrsitr', root=str(rrsitr))
  return curriculum.prepare(config, out=rrsitr / 'found.jsonl')


def test_noise_is_that_of_the_published_table(study):
  table, wrong = curriculum.noisy_captions(study, noise=0.2, seed=0)
  assert wrong.tolist() == [row % 5 == 0 for row in range(40)]
  assert table.captions[0] == 'train 1 0'
  assert not curriculum.noisy_captions(study, noise=0.0, seed=0)[1].any()


@pytest.mark.slow
def test_published_noise_is_trained_on_and_tested(study, capsys):
  place = {'noise': 0.2, 'seed': 0}
  curriculum.run_group(study, ('plain',), place=place, plain_steps=study.per_epoch)
  rows = [json.loads(line) for line in study.out.read_text().splitlines()]
  kinds = [(row['kind'], row.get('epoch')) for row in rows if row['kind'] != 'area']
  assert kinds == [
    *(('recall', 1), ('test', 1), ('recall', 2), ('test', 2)),
    ('end', None),
  ]
  curriculum_tables.main(str(study.out))
  assert 'test, at the epoch that is best on val' in capsys.readouterr().out


def test_the_test_split_is_of_the_epoch_that_is_best_on_val():
  run = {'noise': 0.2, 'seed': 0, 'setting': 'plain'}
  recalls = [run | {'epoch': e, 'mean_recall': r} for e, r in ((1, 3.0), (2, 2.0))]
  tests = [run | {'epoch': e, 'mean_recall': r} for e, r in ((1, 5.0), (2, 9.0))]
  assert curriculum_tables.selected(tests, recalls) == [tests[0] | {'epoch': 2}]
