"""Data sets of the Hugging Face hub, downloaded once and kept in its cache."""

import pathlib
import re
from typing import NamedTuple

import huggingface_hub

from harma_jax.data.local_paths import HUB
from harma_jax.errors import UserError

_ADDRESS = re.compile(
  r'hf://datasets/(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)(@(?P<revision>[\w./-]+?))?'
  r'(//?(?P<files>.+))?'
)
# What a copy of a data set may be of: nothing else is fetched.
_FILES = ('*.parquet', '*.tar', '*.tar.gz', '*.tgz', '*.zip')


class Address(NamedTuple):
  """A data set of the hub.

  Attributes:
    repository: `owner/name`.
    revision: branch, tag or commit; None for the hub's default.
    files: the pattern of the files that are meant; '' for all.
  """

  repository: str
  revision: str | None
  files: str


def is_on_hub(source: str) -> bool:
  """Whether a source is an address of the hub."""
  return source.startswith(HUB)


def read_address(source: str) -> Address:
  """The parts of `hf://datasets/OWNER/NAME[@REVISION][/FILES]`.

  Raises:
    UserError: it is not of that form.
  """
  match = _ADDRESS.fullmatch(source)
  if not match:
    raise UserError(
      f'--source: expected hf://datasets/OWNER/NAME, with @REVISION and /FILES where '
      f'they are meant; found {source!r}. Correct it.'
    )
  repository = f'{match["owner"]}/{match["name"]}'
  return Address(repository, match['revision'], match['files'] or '')


def download(source: str) -> pathlib.Path:
  """The folder of a data set in the cache of the hub, or the pattern of files there.

  Without a network the cache alone is asked.

  Raises:
    UserError: the address is none, or the hub and its cache do not have it.
  """
  address = read_address(source)
  patterns = [address.files] if address.files else list(_FILES)
  try:
    folder = huggingface_hub.snapshot_download(
      address.repository,
      repo_type='dataset',
      revision=address.revision,
      allow_patterns=patterns,
    )
  # What a network, a proxy or a disk may raise is one of many.
  except Exception as error:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise UserError(
      f'--source: expected the data set {address.repository!r} on the hub or in its '
      f'cache; found neither: {reason.rstrip(".")}. Download it where there is a '
      f'network (hf download --repo-type=dataset {address.repository}) and give the '
      'folder.'
    ) from error
  return pathlib.Path(folder) / address.files
