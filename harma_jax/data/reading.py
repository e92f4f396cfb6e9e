"""What the user says of how annotations are to be read."""

import dataclasses
import functools

from absl import logging

from harma_jax.data.columns import read_asked
from harma_jax.errors import UserError, expect_one_of

MATCHES = ('exact', 'name')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
  """What is said of tables and of the names of images in them.

  Attributes:
    columns: which column is what, see `columns.py`; '' for what their names say.
    prefix: `OLD=NEW`, several with commas: the leading folder of an image's path that
      becomes another; NEW may be empty.
    match: `exact`, or `name` where a file counts as found that differs in case, ending
      or folder.
    restval: whether the rows of Karpathy's split `restval` are training data.
  """

  columns: str = ''
  prefix: str = ''
  match: str = 'exact'
  restval: bool = True

  def __post_init__(self):
    expect_one_of(MATCHES, 'data.match', found=self.match)
    read_asked(self.columns), _rules_of(self.prefix)  # tell of a mistake at once

  @property
  def rules(self) -> tuple[tuple[str, str], ...]:
    """The leading folders and what they become, without slashes at their ends."""
    return _rules_of(self.prefix)


@functools.lru_cache(maxsize=64)
def _rules_of(prefix: str) -> tuple[tuple[str, str], ...]:
  rules = []
  for part in filter(None, (part.strip() for part in prefix.split(','))):
    old, equals, new = part.partition('=')
    if not equals or not old.rstrip('/'):
      raise UserError(
        f'data.prefix: expected OLD=NEW, the leading folder of images and what it '
        f'becomes; found {part!r}. Pass --config.data.prefix=OLD=NEW, or OLD= to take '
        'it away.'
      )
    rules.append((old.rstrip('/'), new.rstrip('/') if new != '/' else new))
  return tuple(rules)


AS_WRITTEN = Reading()


@functools.lru_cache(maxsize=256)
def say_once(message: str) -> None:
  """Logs a line, though the file that it is about is read several times."""
  logging.info('%s', message)
