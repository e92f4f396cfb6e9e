"""Which splits a folder of captioned images has, and the file each is read from."""

import functools
import pathlib
from collections.abc import Sequence

from harma_jax.data.annotation_files import (
  SPLIT_WORDS,
  WANTED,
  check_file_split,
  find_annotations,
  read_entries,
  require_folder,
  splits_in,
)
from harma_jax.data.prepared import is_prepared
from harma_jax.data.reading import AS_WRITTEN, Reading
from harma_jax.errors import UserError


def find_splits(
  root: pathlib.Path,
  *,
  annotations: str = 'auto',
  asked: Sequence[str] = (),
  reading: Reading = AS_WRITTEN,
) -> dict[str, pathlib.Path]:
  """The annotation file of each split that is there, `train`, `val`, `test` first.

  Splits are looked for under the names of `SPLIT_WORDS` and those `asked` for; a file
  whose rows name their split has the splits they name.

  Raises:
    UserError: no split is found, a folder is missing, or a file cannot be read; the
      folder is a prepared one.
  """
  root = require_folder(root, field='data.root', what='the folder of the data set')
  if annotations == 'auto' and is_prepared(root):
    raise UserError(
      f'{root}: expected a source of annotations and images; found what prepare wrote. '
      'Train on it as it is, or name the source that it was made from.'
    )
  found = {}

  @functools.cache
  def named_in(path):
    return splits_in(read_entries(path, reading=reading), restval=reading.restval)

  for split in (*SPLIT_WORDS, *asked):
    if _has_file(root, split=split, annotations=annotations):
      path = find_annotations(root, split=split, annotations=annotations)
      alone = '{split}' in annotations or _is_named(path, split=split)
      found |= dict.fromkeys(named_in(path) or [split] * alone, path)
  if not found:  # the message of `load_captions` says what was looked for
    find_annotations(root, split='train', annotations=annotations)
  order = (*SPLIT_WORDS, *sorted(found.keys() - set(SPLIT_WORDS)))
  return {split: found[split] for split in order if split in found}


def _has_file(root: pathlib.Path, *, split: str, annotations: str) -> bool:
  if annotations != 'auto':
    try:
      return find_annotations(root, split=split, annotations=annotations).is_file()
    except UserError:
      return False
  names = (name.replace('{split}', split) for kind in WANTED for name in kind)
  return any(any(root.glob(name)) for name in names)


def _is_named(path: pathlib.Path, *, split: str) -> bool:
  try:
    check_file_split(path, split=split)
  except UserError:
    return False
  return True
