"""What a compiler says where a program does not fit."""

import dataclasses
import re

SIZE = r'([\d.]+)([KMGT]?)'
PATTERNS = (
  rf'\({SIZE}\) exceeds available HBM \({SIZE}\)',
  rf'Used {SIZE}i?B? of {SIZE}i?B? hbm',
)
UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}
# Other errors are not of a program's size.
MARKS = ('RESOURCE_EXHAUSTED', 'CompileTimeHbmOom')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refusal:
  """Bytes of a device, None where the compiler does not tell.

  Attributes:
    needed: by the program.
    available: to it.
  """

  needed: int | None
  available: int | None


def read_refusal(message: str) -> Refusal | None:
  """The refusal that an error of a compiler is; None where it is another error."""
  if not any(mark in message for mark in MARKS):
    return None
  for pattern in PATTERNS:
    if match := re.search(pattern, message):
      needed, available = (
        int(float(number) * UNITS[unit])
        for number, unit in (match.groups()[:2], match.groups()[2:])
      )
      return Refusal(needed=needed, available=available)
  return Refusal(needed=None, available=None)
