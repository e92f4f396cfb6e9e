"""What to call work folders."""

import pathlib
from collections.abc import Sequence


def distinct_names(folders: Sequence[str]) -> list[str]:
  """The ends of their paths, as long as tells them apart; one part where none does."""
  paths = [pathlib.Path(folder).expanduser().resolve().parts for folder in folders]
  lengths = range(1, max(map(len, paths)) + 1)
  n = next((n for n in lengths if len({path[-n:] for path in paths}) == len(paths)), 1)
  return ['/'.join(path[-n:]) for path in paths]
