"""Classifies images by the names of their classes, without training.

--images holds a folder of images for each class. An image is taken for the class whose
prompts it resembles most. --model=PATH in place of --workdir takes weights of another
program. A run's starting weights are measured beside its selected ones.

Examples:
  harma-jax classify --workdir=FOLDER --images=IMAGES
  harma-jax classify --model=PATH --images=IMAGES --out=FILE.json
"""

import functools
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags, logging

from harma_jax import cli
from harma_jax.errors import UserError
from harma_jax.raster.how import how_of
from harma_jax.reporting.progress import show_progress

if TYPE_CHECKING:
  from harma_jax.api import Model

_WORKDIR = cli.shared_flag('workdir')
_MODEL = flags.DEFINE_string('model', None, 'Weights, in place of a run.')
_IMAGES = cli.shared_flag('images')
_CLASSES = flags.DEFINE_string(
  'classes', None, 'Names of classes: lines of folder<TAB>name, or a .json object.'
)
_TEMPLATES = flags.DEFINE_string(
  'templates', None, 'Prompts, one a line; {} stands for the name of a class.'
)
_ON_BAD_IMAGE = cli.shared_flag('on_bad_image')
_BANDS = cli.shared_flag('bands')
_STRETCH = cli.shared_flag('stretch')
cli.shared_flag('out')
cli.shared_flag('json')


def main(argv: Sequence[str]) -> None:
  """Classifies what the command line names."""
  from harma_jax.api import BATCH_SIZE
  from harma_jax.classification.folders import read_folders
  from harma_jax.classification.results import classify_folders
  from harma_jax.classification.tables import print_results

  cli.no_arguments(argv)
  path = _path_of_model()
  classes = read_folders(
    _IMAGES.value, classes=_CLASSES.value or '', templates=_TEMPLATES.value or ''
  )
  models = load_models(path)
  found = classify_folders(
    models,
    classes,
    batch_size=BATCH_SIZE,
    skip=_ON_BAD_IMAGE.value == 'skip',
    how=how_of(bands=_BANDS.value, stretch=_STRETCH.value, others=models['model'].how),
    track=show_progress,
  )
  results = {'model_path': path, 'images': _IMAGES.value} | found
  cli.answer(results, functools.partial(print_results, results))


def load_models(path: str | os.PathLike) -> dict[str, 'Model']:
  """The model as `model`; of a run also `before`, unless its start is lost.

  Raises:
    UserError: there is no model, or it cannot be read.
  """
  from harma_jax.api import load, load_start
  from harma_jax.rundir.workdir import is_workdir

  path = os.path.expanduser(path)
  models = {'model': load(path)}
  if not is_workdir(path):
    return models
  try:
    return {'before': load_start(path)} | models
  except UserError as error:
    logging.warning('The weights before training are left out. %s', error)
    return models


def _path_of_model() -> str:
  if bool(_WORKDIR.value) == bool(_MODEL.value):
    found = 'both' if _MODEL.value else 'neither'
    raise UserError(
      'Expected --workdir=RUN, the folder of a run, or --model=PATH, weights; found '
      f'{found}. Give one.'
    )
  return _WORKDIR.value or _MODEL.value


if __name__ == '__main__':
  cli.run(main, compiles=True)
