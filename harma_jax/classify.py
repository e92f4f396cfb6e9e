"""Classifies a folder of images by the names of their classes, without training.

  python -m harma_jax.classify --workdir=RUN --images=FOLDER
    [--classes=FILE] [--templates=FILE] [--on_bad_image=raise|skip] [--json=OUT.json]

FOLDER holds a folder of images for each class. An image is taken for the class whose
prompts it resembles most. `--model=PATH` in place of `--workdir` takes weights of
another program. A run's starting weights are measured beside its selected ones.
"""

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from absl import flags, logging
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from harma_jax import cli
from harma_jax.api import BATCH_SIZE, Model, load, load_start
from harma_jax.classification.folders import (
  find_classes,
  name_classes,
  read_templates,
)
from harma_jax.errors import UserError
from harma_jax.evaluation.zero_shot import (
  TEMPLATES,
  accuracy,
  accuracy_difference,
  chance_accuracy,
  class_accuracies,
  class_ranks,
  confusion_matrix,
  most_confused,
  predictions,
)
from harma_jax.rundir.workdir import is_workdir
from harma_jax.search_index.reader import read_rows

_MODEL = flags.DEFINE_string('model', None, 'Weights, in place of a run.')
_IMAGES = cli.shared_flag('images')
_CLASSES = flags.DEFINE_string(
  'classes', None, 'Names of classes: lines of folder<TAB>name, or a .json object.'
)
_TEMPLATES = flags.DEFINE_string(
  'templates', None, 'Prompts, one a line; {} stands for the name of a class.'
)
_ON_BAD_IMAGE = flags.DEFINE_enum(
  'on_bad_image', 'raise', ('raise', 'skip'), 'What to do with unreadable images.'
)
_JSON = flags.DEFINE_string('json', None, 'A file for all numbers.')

SHOWN_PAIRS = 10
HEADERS = {
  'top1': 'top-1',
  'mean_per_class_top1': 'mean of classes',
  'top5': 'top-5',
}
ROWS = {
  'chance': 'chance',
  'before': 'before training',
  'model': 'model',
  'difference': 'model - before',
}


def main(argv: Sequence[str]) -> None:
  """Classifies what the command line names."""
  cli.no_arguments(argv)
  path = _path_of_model()
  results = classify(
    path,
    images=_IMAGES.value,
    classes=_CLASSES.value or '',
    templates=_TEMPLATES.value or '',
    skip=_ON_BAD_IMAGE.value == 'skip',
  )
  print_results(results)
  if _JSON.value:
    cli.write_json(_JSON, results)


def classify(
  path: str | os.PathLike,
  *,
  images: str | os.PathLike,
  classes: str = '',
  templates: str = '',
  skip: bool = False,
) -> dict:
  """Zero-shot accuracies of a model, and of the weights that its run started from.

  Args:
    path: as `harma_jax.load` takes it.
    images: a folder with a folder of images for each class.
    classes: a file of names, see `read_classes`; '' for the words of the folders.
    templates: a file of prompts; '' for `TEMPLATES`.
    skip: leave out images that cannot be read.

  Returns:
    As JSON has it: `model_path`, `images`, `n_images`, `templates`, `skipped` (file ->
    what is wrong); `chance`; `before` (where it is known), `model` and `difference`, of
    `accuracy` and `accuracy_difference`; `classes`, a row each; `confusion`, of the
    model, see `confusion_matrix`.

  Raises:
    UserError: a mistake in the folder, the files or the model; an image that cannot be
      read, unless `skip`, and with it a class that has no other.
  """
  folders = find_classes(images)
  names = name_classes(list(folders), file=classes)
  prompts = read_templates(templates) if templates else list(TEMPLATES)
  models = load_models(path)
  encoded = encode_folders(models, folders, skip=skip)
  scores = {
    key: encoded.features[key]
    @ model.encode_classes(list(names.values()), templates=prompts).T
    for key, model in models.items()
  }
  return {
    'model_path': os.fspath(path),
    'images': os.fspath(images),
    'n_images': len(encoded.labels),
    'templates': prompts,
    'skipped': encoded.skipped,
    **measure(scores, encoded.labels, names=names),
  }


def load_models(path: str | os.PathLike) -> dict[str, Model]:
  """The model as `model`; of a run also `before`, unless its start is lost.

  Raises:
    UserError: there is no model, or it cannot be read.
  """
  path = os.path.expanduser(path)
  models = {'model': load(path)}
  if not is_workdir(path):
    return models
  try:
    return {'before': load_start(path)} | models
  except UserError as error:
    logging.warning('The weights before training are left out. %s', error)
    return models


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encoded:
  """The images of all classes.

  Attributes:
    features: f32[n, D] by the key of the model.
    labels: i64[n], the numbers of the classes.
    skipped: file -> what is wrong with it.
  """

  features: dict[str, np.ndarray]
  labels: np.ndarray
  skipped: dict[str, str]


def encode_folders(
  models: Mapping[str, Model],
  folders: Mapping[str, Sequence[pathlib.Path]],
  *,
  skip: bool,
) -> Encoded:
  """Reads each image once, for all models, which see the same pixels.

  Raises:
    UserError: an image cannot be read; with `skip`, none of a class can be.
  """
  paths = [path for images in folders.values() for path in images]
  labels = np.repeat(np.arange(len(folders)), [len(i) for i in folders.values()])
  side = next(iter(models.values())).preprocessing['side']
  parts = {key: [] for key in models}
  kept, skipped = [], {}
  rows = _read(paths, side=side, skipped=skipped if skip else None)
  while batch := list(itertools.islice(rows, BATCH_SIZE)):
    files, pixels = zip(*batch, strict=True)
    kept += files
    for key, model in models.items():
      parts[key].append(model.encode_images(pixels))
  labels = labels[kept]
  _check_kept(labels, folders=list(folders), skipped=skipped)
  features = {key: np.concatenate(of_model) for key, of_model in parts.items()}
  return Encoded(features=features, labels=labels, skipped=skipped)


def _read(
  paths: Sequence[pathlib.Path], *, side: int, skipped: dict[str, str] | None
) -> Iterator[tuple[int, np.ndarray]]:
  """Numbers of files with u8[side, side, 3]; notes in `skipped` what cannot be read."""
  rows = read_rows(paths, side=side, tile=0, stride=0, threads=os.cpu_count())
  for file, found in _shown(rows, total=len(paths)):
    if not isinstance(found, UserError):
      yield file, found.images[0]
    elif skipped is None:
      raise UserError(f'{found} Or leave such images out: --on_bad_image=skip')
    else:
      skipped[str(paths[file])] = str(found)


def measure(
  scores: Mapping[str, np.ndarray], labels: np.ndarray, *, names: Mapping[str, str]
) -> dict:
  """The measured part of the results of `classify`.

  Args:
    scores: f32[n, C] of `model`, and maybe of `before`.
    labels: i64[n], the right class of each image; each class has one.
    names: of the classes in their order, by folder.
  """
  n_classes = len(names)
  ranks = {key: class_ranks(of_model, labels) for key, of_model in scores.items()}
  results = {'chance': chance_accuracy(n_classes)}
  for key, own in ranks.items():
    results[key] = accuracy(own, labels, n_classes=n_classes)
  if 'before' in ranks:
    results['difference'] = accuracy_difference(
      ranks['before'], ranks['model'], labels, n_classes=n_classes
    )
  top1 = {
    key: class_accuracies(own, labels, n_classes=n_classes)
    for key, own in ranks.items()
  }
  counts = np.bincount(labels, minlength=n_classes)
  results['classes'] = [
    {'folder': folder, 'name': name, 'images': int(counts[number])}
    | {key: float(of_classes[number]) for key, of_classes in top1.items()}
    for number, (folder, name) in enumerate(names.items())
  ]
  predicted = predictions(scores['model'], labels)
  confusion = confusion_matrix(predicted, labels, n_classes=n_classes)
  return results | {'confusion': confusion.tolist()}


def print_results(results: Mapping) -> None:
  """Prints top-1 of each class, the accuracies, and the commonest mistakes."""
  models = [key for key in ('before', 'model') if key in results]
  classes = _table('class', 'images', *(ROWS[key] for key in models))
  for row in results['classes']:
    cells = f'{row["images"]:,}', *(f'{row[key]:.1f}' for key in models)
    classes.add_row(Text(row['name']), *cells)
  _print('top-1 in % of each class', classes)
  overall = _table('', *(HEADERS[name] for name in results['chance']))
  for key, title in ROWS.items():
    if key in results:
      sign = '+' if key == 'difference' else ''
      cells = (_cell(found, sign=sign) for found in results[key].values())
      overall.add_row(title, *cells)
  _print(f'in % of {results["n_images"]:,} images, with 95 % intervals', overall)
  confused = _table('class', 'taken for', 'images', '% of the class')
  pairs = most_confused(np.array(results['confusion']), count=SHOWN_PAIRS)
  for right, wrong, images in pairs:
    own, other = results['classes'][right], results['classes'][wrong]
    cells = f'{images:,}', f'{100 * images / own["images"]:.1f}'
    confused.add_row(Text(own['name']), Text(other['name']), *cells)
  _print('most confused', confused)


def _cell(found: float | Mapping[str, float], *, sign: str) -> str:
  if isinstance(found, float):
    return f'{found:.1f}'
  value, low, high = (f'{found[key]:{sign}.1f}' for key in ('value', 'low', 'high'))
  return f'{value} ({low} to {high})'


def _print(title: str, table: Table) -> None:
  console = Console(width=100)
  console.print(title, highlight=False)
  console.print(table)


def _table(*names: str) -> Table:
  table = Table()
  for name in names:
    words = name in ('', 'class', 'taken for')
    table.add_column(name, justify='left' if words else 'right')
  return table


def _shown(rows: Iterable, *, total: int) -> Iterable:
  console = Console(stderr=True)
  shown = console.is_terminal
  return track(rows, 'images', total=total, console=console, disable=not shown)


def _check_kept(
  labels: np.ndarray, *, folders: Sequence[str], skipped: Mapping[str, str]
) -> None:
  empty = [folder for number, folder in enumerate(folders) if number not in labels]
  if empty:
    first = next(path for path in skipped if pathlib.Path(path).parent.name == empty[0])
    raise UserError(
      f'--images: expected a readable image in every folder; found none in {empty[0]}. '
      f'The first there: {skipped[first]}'
    )
  if skipped:
    logging.warning(
      'Skipped %d images that cannot be read, listed in --json; the first: %s',
      *(len(skipped), next(iter(skipped.values()))),
    )


def _path_of_model() -> str:
  if bool(cli.WORKDIR.value) == bool(_MODEL.value):
    found = 'both' if _MODEL.value else 'neither'
    raise UserError(
      'Expected --workdir=RUN, the folder of a run, or --model=PATH, weights; found '
      f'{found}. Give one.'
    )
  return cli.WORKDIR.value or _MODEL.value


if __name__ == '__main__':
  cli.run(main)
