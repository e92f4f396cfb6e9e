"""The date in the name of a scene, as products write it."""

import datetime
import re

# As of Sentinel, Landsat and most file names: eight digits that no other digit touches,
# or the same with dashes or underscores between.
_DAY = re.compile(r'(?<!\d)((?:19|20)\d{2})([-_]?)(\d{2})\2(\d{2})(?!\d)')


def date_of(name: str) -> str:
  """`YYYY-MM-DD` of the first day that a path names, from its end; '' for none.

  Sentinel-2's names hold the sensing before the processing time.
  """
  for part in reversed(name.split('/')):
    for match in _DAY.finditer(re.sub(r'(\d{8})T\d{6}', r'\1', part)):
      year, _, month, day = match.groups()
      try:
        return datetime.date(int(year), int(month), int(day)).isoformat()
      except ValueError:
        continue
  return ''
