"""`trackers.json`: the ids of a run at its trackers, and what these have already."""

import json
import pathlib
import threading
from collections.abc import Iterable, Mapping

from harma_jax.rundir.reading import read_json
from harma_jax.rundir.workdir import replace_text

TRACKERS_FILE = 'trackers.json'

Key = tuple[str, str, int]  # kind, split or '', step


def key_of(row: Mapping) -> Key:
  """What tells a row of `metrics.jsonl` from all others of its run."""
  return row['kind'], row.get('split', ''), row['step']


class Memory:
  """What a work folder remembers of its trackers, from one start to the next.

  A row that a stopped run wrote after its last checkpoint is written again; a tracker
  that cannot replace it has it already.
  """

  def __init__(
    self, folder: pathlib.Path, *, last_saved: int | None, dropped: Iterable[Mapping]
  ):
    """Reads it.

    Args:
      folder: of the run.
      last_saved: the step that it goes on from; without one the trackers begin anew.
      dropped: rows that this start takes out of `metrics.jsonl`.

    Raises:
      UserError: the file is damaged.
    """
    self._path, self._lock = folder / TRACKERS_FILE, threading.Lock()
    known = self._path.is_file() and last_saved is not None
    self._known = read_json(self._path) if known else {}
    keys = [key_of(row) for row in dropped]
    for of_tracker in self._known.values():
      sent = {*map(tuple, of_tracker['sent']), *keys}
      of_tracker['sent'] = sorted(key for key in sent if key[2] > last_saved)

  def id_of(self, name: str) -> str:
    """The id that a tracker has given the run; '' where it does not know it yet."""
    return self._known.get(name, {}).get('id', '')

  def sent_to(self, name: str) -> set[Key]:
    """The rows that come again and that the tracker has."""
    return {*map(tuple, self._known.get(name, {}).get('sent', []))}

  def remember(self, name: str, id_: str) -> None:
    """Writes the id that a tracker has given the run."""
    with self._lock:
      self._known[name] = self._known.get(name, {'sent': []}) | {'id': id_}
      replace_text(self._path, json.dumps(self._known, indent=2) + '\n')
