"""Where the tokenizer of weights lies: beside them, or in their repository."""

import pathlib

import huggingface_hub
from absl import logging
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from harma_jax.data.tokenizer_files import SETTINGS_FILES, VOCABULARY_FILES
from harma_jax.errors import UserError
from harma_jax.rundir.workdir import TOKENIZER_FOLDER, is_workdir
from harma_jax.weights.sources import repository_of


def find_tokenizer(source: str) -> pathlib.Path | None:
  """The folder with the tokenizer of weights; None where none lies beside them.

  Files of the hub are downloaded once and kept in its cache.

  Args:
    source: what `--config.init` takes, or the file or folder of a tokenizer.

  Raises:
    UserError: the hub does not answer.
  """
  path = pathlib.Path(source).expanduser()
  if source and path.exists():
    folder = path if path.is_dir() else path.parent
    return _if_there(folder / TOKENIZER_FOLDER if is_workdir(folder) else folder)
  repository = repository_of(source)
  return _from_hub(repository) if repository else None


def _if_there(folder: pathlib.Path) -> pathlib.Path | None:
  found = any((folder / name).is_file() for name in VOCABULARY_FILES)
  return folder if found else None


def _from_hub(repository: str) -> pathlib.Path | None:
  cached = any(_get(repository, name, local=True) for name in VOCABULARY_FILES)
  for name in VOCABULARY_FILES:
    path = _get(repository, name, local=cached)
    if path:
      for settings in SETTINGS_FILES:
        _get(repository, settings, local=cached)
      return path.parent
  return None


def _get(repository: str, name: str, *, local: bool) -> pathlib.Path | None:
  """A file of a repository; None where it, or with `local` the cache, has none."""
  try:
    path = huggingface_hub.hf_hub_download(repository, name, local_files_only=local)
    return pathlib.Path(path)
  except EntryNotFoundError as error:
    if local or not isinstance(error, LocalEntryNotFoundError):
      logging.debug('%s has no %s: %s', repository, name, error)
      return None
    reason = error
  # What a network, a proxy or a disk may raise is one of many.
  except Exception as error:
    reason = error
  words = (str(reason).strip() or type(reason).__name__).splitlines()[0].rstrip('.')
  raise UserError(
    f'Expected the tokenizer of {repository}; found none in the cache of the hub, '
    f'which does not answer: {words}. Run once with a network (hf download '
    f'{repository} {name}), or set --config.model.tokenizer=FOLDER.'
  )
