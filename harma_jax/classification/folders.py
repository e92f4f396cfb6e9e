"""A folder with a folder of images for each class; the files that name them."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence

from harma_jax.classification.class_names import class_names, warn_of_run_together
from harma_jax.data.cleaning import CLEANINGS
from harma_jax.errors import UserError
from harma_jax.evaluation.zero_shot import TEMPLATES, check_templates
from harma_jax.search_index.files import SUFFIXES, is_image


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classes:
  """What is to be told apart.

  Attributes:
    images: the files of each class, by its folder's name.
    names: of the classes in the same order, by folder.
    templates: prompts; {} stands for the name of a class.
  """

  images: dict[str, list[pathlib.Path]]
  names: dict[str, str]
  templates: list[str]


def read_folders(
  images: str | os.PathLike, *, classes: str = '', templates: str = ''
) -> Classes:
  """A folder with a folder of images for each class, and how the classes are called.

  Args:
    images: the folder.
    classes: a file of names, see `read_classes`; '' for the words of the folders.
    templates: a file of prompts; '' for `TEMPLATES`.

  Raises:
    UserError: a mistake in the folder or the files.
  """
  found = find_classes(images)
  return Classes(
    images=found,
    names=name_classes(list(found), file=classes),
    templates=read_templates(templates) if templates else list(TEMPLATES),
  )


def find_classes(root: str | os.PathLike) -> dict[str, list[pathlib.Path]]:
  """The images that lie directly in each folder of `root`, by its name, sorted.

  Images are told by their ending. Links are followed; hidden files and folders are
  left out.

  Raises:
    UserError: `root` is no folder, has fewer than two folders, or one without images.
  """
  root = pathlib.Path(root).expanduser()
  if not root.is_dir():
    raise UserError(
      f'--images: expected a folder with a folder for each class; {root} is none. Set '
      '--images=FOLDER.'
    )
  folders = sorted(path for path in root.iterdir() if path.is_dir())
  folders = [path for path in folders if not path.name.startswith('.')]
  if len(folders) < 2:
    found = folders[0].name if folders else 'none'
    raise UserError(
      f'--images: expected two folders or more in {root}, one for each class; found '
      f'{found}. Set --images to the folder that holds them.'
    )
  classes = {}
  for folder in folders:
    images = sorted(path for path in folder.iterdir() if is_image(path.name))
    if not images:
      raise UserError(
        f'--images: expected images ({", ".join(SUFFIXES)}) in every folder of {root}; '
        f'found none directly in {folder.name}. Take it away, or set --images to the '
        'folder that holds a folder for each class.'
      )
    classes[folder.name] = images
  return classes


def name_classes(folders: Sequence[str], *, file: str = '') -> dict[str, str]:
  """The name of each folder's class: as `file` says, else of `class_names`.

  Args:
    folders: their names.
    file: see `read_classes`.

  Raises:
    UserError: as `read_classes`, or it names a folder that is not there; a name without
      a word, or the same words for two classes.
  """
  given = read_classes(file) if file else {}
  unknown = [folder for folder in given if folder not in folders]
  if unknown:
    raise UserError(
      f'--classes={file}: expected names of folders in --images, {_some(folders)}; '
      f'found {unknown[0]!r}. Correct it, or take it out.'
    )
  names = class_names(folders) | given
  warn_of_run_together({key: name for key, name in names.items() if key not in given})
  _check_names(names)
  return names


def read_classes(path: str | os.PathLike) -> dict[str, str]:
  """Names of classes by folder, of lines `folder<TAB>name` or, in a .json, an object.

  Raises:
    UserError: the file cannot be read, or holds anything else.
  """
  text = _read(path, flag='classes')
  if pathlib.Path(path).suffix == '.json':
    return _names_of_json(text, path=path)
  names = {}
  for number, line in enumerate(text.splitlines(), 1):
    if not line.strip():
      continue
    folder, tab, name = line.partition('\t')
    if not tab or folder in names:
      raise UserError(
        f'--classes={path}, line {number}: expected a folder, a tab and the name of '
        f'its class, each folder once; found {line!r}. Correct the line.'
      )
    names[folder] = name.strip()
  return names


def read_templates(path: str | os.PathLike) -> list[str]:
  """The lines of a file that are not empty.

  Raises:
    UserError: it cannot be read, or see `check_templates`.
  """
  lines = _read(path, flag='templates').splitlines()
  templates = [line.strip() for line in lines if line.strip()]
  check_templates(templates, field=f'--templates={path}')
  return templates


def _names_of_json(text: str, *, path: str | os.PathLike) -> dict[str, str]:
  try:
    names = json.loads(text)
  except json.JSONDecodeError as error:
    raise UserError(
      f'--classes={path}: expected JSON, {{"folder": "name"}}; found: {error}. Correct '
      'the file.'
    ) from error
  values = names.values() if isinstance(names, dict) else [names]
  wrong = [value for value in values if not isinstance(value, str)]
  if wrong:
    raise UserError(
      f'--classes={path}: expected one object, {{"folder": "name"}}; found '
      f'{json.dumps(wrong[0])[:80]}. Give each folder one text.'
    )
  return names


def _check_names(names: Mapping[str, str]) -> None:
  """Features can only tell classes apart whose names differ, however a model cleans."""
  for clean in CLEANINGS.values():
    folders = {}
    for folder, name in names.items():
      words = clean(name)
      if not words or words in folders:
        found = f'also {folders[words]}' if words else 'no word'
        raise UserError(
          f'--classes: expected a name of its own for each class; found {name!r} for '
          f'{folder}, {found}. Name it in the file of --classes: {folder}<TAB>name'
        )
      folders[words] = folder


def _some(folders: Sequence[str]) -> str:
  return ', '.join(folders[:5]) + (', ...' if len(folders) > 5 else '')


def _read(path: str | os.PathLike, *, flag: str) -> str:
  try:
    return pathlib.Path(path).expanduser().read_text(encoding='utf-8')
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(
      f'--{flag}={path}: expected a text file, UTF-8; found: {error}. Correct the path '
      'or the file.'
    ) from error
