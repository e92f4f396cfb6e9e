"""Paths are of the file system: what names a bucket or a web page is told how to come
there, and never taken for a folder called `gs:`.
"""

import os
import re

from harma_jax.errors import UserError

# Addresses of the Hugging Face hub, whose data sets `data prepare --source` downloads.
HUB = 'hf://'

# gs://bucket/..., https://..., and what GDAL takes for the like, /vsigs/bucket/...
_REMOTE = re.compile(r'(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://(?P<rest>.*)', re.DOTALL)
_VIRTUAL = re.compile(r'/vsi(?P<scheme>[a-z0-9_]+)/(?P<rest>.*)', re.DOTALL)

# How a bucket becomes a folder, by the scheme that names it.
_MOUNTS = {
  'gs': 'gcsfuse {bucket} {folder}',
  's3': 'mount-s3 {bucket} {folder}',
  'az': 'blobfuse2 mount {folder} --container-name={bucket}',
}
_ALIASES = {
  **{'gcs': 'gs', 's3a': 's3', 's3n': 's3'},
  **dict.fromkeys(('abfs', 'abfss', 'adl', 'wasb', 'wasbs', 'azure'), 'az'),
}


def is_remote(path: str | os.PathLike) -> bool:
  """Whether a path names something that is not of the file system."""
  return _parts(path) is not None


def check_local(path: str | os.PathLike, what: str) -> None:
  """Checks that a path is one of the file system, there or not.

  Args:
    path: what a user gave.
    what: it was given for, as `--out`.

  Raises:
    UserError: it is an address of a bucket or of the web; says how to come there.
  """
  parts = _parts(path)
  if parts is None:
    return
  scheme, rest = parts
  raise UserError(
    f'{what}: expected a path of the file system; found {os.fspath(path)}. '
    f'{_cure(_ALIASES.get(scheme, scheme), rest)}'
  )


def _parts(path: str | os.PathLike) -> tuple[str, str] | None:
  text = os.fspath(path)
  if not isinstance(text, str):
    return None
  match = _REMOTE.match(text) or _VIRTUAL.match(text)
  return match and (match['scheme'].lower(), match['rest'])


def _cure(scheme: str, rest: str) -> str:
  bucket, _, inside = rest.partition('/')
  folder = f'/mnt/{bucket or "bucket"}'
  here = f'{folder}/{inside}'.rstrip('/')
  if scheme == 'file':
    return f'Leave "file://" out: {rest}'
  if scheme in ('http', 'https', 'ftp', 'curl'):
    return 'Download it first (curl -LO ADDRESS) and give the file.'
  if scheme in _MOUNTS:
    mount = _MOUNTS[scheme].format(bucket=bucket or 'BUCKET', folder=folder)
    return f'Mount the bucket ({mount}) and give {here}, or copy it here first.'
  return (
    'Mount it (rclone mount reads most kinds of storage) and give the path there, or '
    'copy it here first.'
  )
