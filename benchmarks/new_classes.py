"""RSICD cut by scene class: a CLIP of twenty classes, to be adapted to ten others.

  python -m benchmarks.new_classes --root=RSICD --out=FOLDER

writes FOLDER/known and FOLDER/new, data sets of captions whose images stay in RSICD.
`known` has the splits `train` and `val` of RSICD; `new` too, but RSICD's `val` is its
`test`, and every seventh training image its `val`, on which settings are chosen. Images
whose names tell no class are in neither. As a config, benchmarks/new_classes.py:FOLDER
is a tiny CLIP trained from random weights on `known`, then adapted to `new`.
"""

import argparse
import json
import pathlib
from collections.abc import Sequence

from ml_collections import ConfigDict

from harma_jax.configs.rsicd import get_config as rsicd
from harma_jax.data.annotations import CaptionTable, load_captions

PERIOD = 3  # in the order of names, the first class of so many is new
HELD_OUT = 7  # of the new training images, the first of so many chooses settings


def get_config(folder: str) -> ConfigDict:
  """The config of a folder that `main` has written."""
  config = rsicd('tiny')
  config.model.size = 'tiny-16'
  config.data.root = str(pathlib.Path(folder) / 'new')
  config.train.update({'epochs': 1.5, 'batch_size': 128})
  config.pretrain.train.epochs = 8.0
  config.pretrain.data = {
    'root': str(pathlib.Path(folder) / 'known'),
    'test_split': '',
  }
  return config


def main(arguments: Sequence[str] | None = None) -> None:
  """Writes both data sets and prints how large they are."""
  # No flags of absl's: this file is also read as a config.
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--root', type=pathlib.Path, required=True)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  options = parser.parse_args(arguments)
  root, out = options.root.resolve(), options.out
  tables = {split: load_captions(root, split=split) for split in ('train', 'val')}
  new = new_classes(tables['train'])
  for name, parts in cut(tables, new=new).items():
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in parts.items():
      text = ''.join(json.dumps(row) + '\n' for row in rows)
      (folder / f'captions_{split}.jsonl').write_text(text)
    print(f'{name}:', {split: count(rows) for split, rows in parts.items()})
    if not (folder / 'images').is_symlink():
      (folder / 'images').symlink_to(root / 'images')
  print('new classes:', ', '.join(sorted(new)))


def class_of(file: str) -> str:
  """The scene class that an image's name begins with; '' where it tells none."""
  return pathlib.PurePath(file).stem.rpartition('_')[0]


def new_classes(table: CaptionTable) -> set[str]:
  """Every third class, in the order of their names."""
  return set(sorted({class_of(file) for file in table.image_files} - {''})[::PERIOD])


def cut(
  tables: dict[str, CaptionTable], *, new: set[str]
) -> dict[str, dict[str, list[dict]]]:
  """The rows of every split of both data sets."""
  rows = {split: rows_of(table) for split, table in tables.items()}
  known = {
    split: [row for row in of_split if class_of(row['image']) not in {'', *new}]
    for split, of_split in rows.items()
  }
  train, test = (
    [row for row in rows[split] if class_of(row['image']) in new]
    for split in ('train', 'val')
  )
  held_out = set(sorted({row['image'] for row in train})[::HELD_OUT])
  parts = {
    'train': [row for row in train if row['image'] not in held_out],
    'val': [row for row in train if row['image'] in held_out],
    'test': test,
  }
  return {'known': known, 'new': parts}


def rows_of(table: CaptionTable) -> list[dict]:
  """A row of an annotation file for every image."""
  rows = [{'image': file, 'caption': []} for file in table.image_files]
  for image, caption in zip(table.caption_image, table.captions, strict=True):
    rows[image]['caption'].append(caption)
  return rows


def count(rows: Sequence[dict]) -> dict[str, int]:
  """How many images and captions."""
  captions = sum(len(row['caption']) for row in rows)
  return {'images': len(rows), 'captions': captions}


if __name__ == '__main__':
  main()
