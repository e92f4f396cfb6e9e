"""The flags of `search index`, and what they say as plain values."""

import itertools
import re
import time
from collections.abc import Iterator

from absl import flags

from harma_jax.cli.shared_flags import numbers, shared_flag
from harma_jax.errors import UserError
from harma_jax.raster.how import How, how_of
from harma_jax.search_index.shards import STORAGES

_TILE = flags.DEFINE_list('tile', '0', 'Pixels, or several sizes; 0: whole images.')
_STRIDE = flags.DEFINE_list('stride', '0', 'Pixels, of each tile; 0: half a tile.')
_BANDS = shared_flag('bands')
_STRETCH = shared_flag('stretch')
_MIN_VALID = flags.DEFINE_float(
  'min_valid', None, 'Tiles with a smaller share of data are left out: 0.01.'
)
_STORAGE = flags.DEFINE_enum(
  'storage', STORAGES[0], STORAGES, 'Of features; int16 takes half the bytes.'
)
_VERIFY = flags.DEFINE_bool(
  'verify', False, 'Compare files by content, not by size and time alone.'
)
_WATCH = flags.DEFINE_integer(
  'watch',
  0,
  'Seconds between looks at the folder, until stopped; 0: one look.',
  lower_bound=0,
)
_SHARE = flags.DEFINE_string('share', '0/1', 'I/N: the work of machine I out of N.')


def index_settings() -> dict:
  """What the flags say of making an index, as `Model.make_index` takes it."""
  return {
    'tile': numbers(_TILE),
    'stride': numbers(_STRIDE),
    'storage': _STORAGE.value,
    'verify': _VERIFY.value,
    'share': _share(),
  }


def looks() -> Iterator[int]:
  """0, then 1, 2, ... each after as many seconds as --watch says, if it does."""
  yield 0
  for number in itertools.count(1) if _WATCH.value else ():
    time.sleep(_WATCH.value)
    yield number


def how(others: How) -> How:
  """How files are read; as `others` says where no flag says it."""
  return how_of(
    bands=_BANDS.value,
    stretch=_STRETCH.value,
    min_valid=_MIN_VALID.value,
    others=others,
  )


def _share() -> tuple[int, int]:
  match = re.fullmatch(r'(\d+)/(\d+)', _SHARE.value)
  if not match:
    raise UserError(f'--share: expected I/N, as in 0/4; found {_SHARE.value!r}.')
  return int(match[1]), int(match[2])
