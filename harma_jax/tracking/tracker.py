"""What a tracker is: a run to open, rows and tables to take, an end."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Protocol

PROJECT = 'harma_jax'  # where the tracker's own environment variable names no other


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackedRun:
  """A run as its tracker sees it.

  Attributes:
    folder: its work folder.
    name: what to call it.
    group: what runs of one command have in common.
    id: by which the tracker knows it from an earlier start; '' for none.
    last_saved: the step that it goes on from; None at the beginning.
    fields: of its config, by dotted name, without paths of the machine.
  """

  folder: pathlib.Path
  name: str
  group: str
  id: str
  last_saved: int | None
  fields: Mapping[str, object]


class Tracker(Protocol):
  """An open run at a tracker.

  Attributes:
    id: by which a later start finds it again.
    place: where to look at it, in words.
    replaces: whether rows after `last_saved` take the place of earlier ones.
  """

  id: str
  place: str
  replaces: bool

  def log(self, values: Mapping[str, float], *, step: int) -> None:
    """Takes the numbers of a row of `metrics.jsonl`, by names as `train/loss`."""

  def conclude(self, results: Mapping, summary: Mapping[str, float]) -> None:
    """Takes the tables of `results.json`, whole and as numbers by names."""

  def close(self) -> None:
    """Ends the run, and sends what is left."""
