"""RSICD cut by scene class: nothing is lost, and nothing is in two places."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks import new_classes
from harma_jax.data.annotations import load_captions

CLASSES = ('airport', 'beach', 'center', 'desert', 'forest')
NEW = {'airport', 'desert'}


@pytest.fixture
def folders(tmp_path):
  """The folder that the command writes, of ten train and three val images a class."""
  root = tmp_path / 'rsicd'
  names = [*(f'{name}_{{}}.jpg' for name in CLASSES), '{:05d}.jpg']
  for split, count in {'train': 10, 'val': 3}.items():
    (root / 'images' / split).mkdir(parents=True)
    rows = []
    for image in (name.format(i) for name in names for i in range(count)):
      Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(
        root / 'images' / split / image
      )
      captions = [f'{split} {image} {k}' for k in range(2)]
      rows += [{'image': f'{split}/{image}', 'caption': text} for text in captions]
    (root / f'rsicd_{split}.json').write_text(json.dumps(rows))
  words = [f'--root={root}', f'--out={tmp_path}/out']
  new_classes.main(words)
  new_classes.main(words)  # again, over what is there
  return tmp_path / 'out'


def test_classes_are_on_one_side_only(folders):
  def classes(name, split):
    table = load_captions(folders / name, split=split)
    return {new_classes.class_of(file) for file in table.image_files}

  assert classes('known', 'train') == classes('known', 'val') == {*CLASSES} - NEW
  assert classes('new', 'train') == classes('new', 'test') == NEW


def test_splits_hold_all_captions_of_different_images(folders):
  tables = {
    s: load_captions(folders / 'new', split=s) for s in ('train', 'val', 'test')
  }
  assert {split: table.n_images for split, table in tables.items()} == {
    'train': 17,
    'val': 3,
    'test': 6,
  }
  files = [file for table in tables.values() for file in table.image_files]
  assert len(files) == len(set(files))
  for table in tables.values():
    for caption, image in zip(table.captions, table.caption_image, strict=True):
      assert table.image_files[image].split('/')[1] in caption


def test_the_config_is_of_that_folder(folders):
  config = new_classes.get_config(str(folders))
  assert load_captions(config.data.root, split='val').n_images == 3
  assert load_captions(config.pretrain.data['root'], split='val').n_images == 9
