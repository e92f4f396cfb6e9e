"""Scenes by GDAL: any box of them, without holding the whole."""

import contextlib
import functools
import math
import pathlib
import queue
import threading
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from absl import logging
from PIL import Image

from harma_jax.raster.dataset import careful, open_dataset
from harma_jax.raster.formats import TiffHeader
from harma_jax.raster.how import How
from harma_jax.raster.pixels import Pixels, join, turn, turned_box
from harma_jax.raster.plan import (
  Plan,
  check_dataset,
  make_plan,
  read_valid,
  read_values,
  to_colors,
)
from harma_jax.raster.stretch import make_table
from harma_jax.raster.units import Units

UNIT = 512  # pixels; a unit is of whole blocks, about so high and wide
KEPT_BYTES = 192 * 2**20  # of decoded units

# Kinds of files whose bands were chosen for want of better: said once.
_GUESSES = set()


class GdalScene:
  """A file that GDAL reads; any number of threads may ask for boxes.

  Attributes:
    size: width and height, upright.
    bits: of a value.
    unit: width and height of what is decoded at once, as it is stored.
  """

  def __init__(
    self,
    source: pathlib.Path | bytes,
    *,
    kind: str,
    header: TiffHeader | None,
    how: How,
    name: str,
  ):
    self._open = functools.partial(open_dataset, source, kind=kind)
    self._free, self._is_closed = queue.SimpleQueue(), False
    self._how, self._header, self._kind, self._name = how, header, kind, name
    self._lock = threading.Lock()
    self.orientation = header.orientation if header else 1
    with self.dataset() as scene:
      check_dataset(scene, header)
      self._stored = scene.width, scene.height
      self.bits = 8 * np.dtype(scene.dtypes[0]).itemsize
      self.unit = _unit_of(scene)
    self.size = self._stored[::-1] if self.orientation >= 5 else self._stored
    kept = KEPT_BYTES // (self.unit[0] * self.unit[1] * 3)
    self._units = Units(self._decode, most=max(kept, 1))

  @contextlib.contextmanager
  def dataset(self) -> Iterator:
    """A rasterio dataset of the file that no other thread has meanwhile."""
    try:
      scene = self._free.get_nowait()
    except queue.Empty:
      scene = self._open()
    try:
      with careful():
        yield scene
    finally:
      self._free.put(scene)
      if self._is_closed:
        self.close()

  def close(self) -> None:
    """Closes the file; where a thread still reads, when it has done so."""
    self._is_closed = True
    with contextlib.suppress(queue.Empty):
      while True:
        self._free.get_nowait().close()

  @property
  def plan(self) -> Plan:
    """How values become colours; the first call reads a sample where it is needed."""
    with self._lock:
      return self._plan

  @property
  def facts(self) -> Mapping:
    """How the file is read, as JSON has it."""
    return {'reader': 'GDAL', 'format': self._kind} | self.plan.facts()

  def read(self, box: Sequence[int]) -> Pixels:
    """The pixels of a box: left, top, width, height, upright."""
    stored = turned_box(box, size=self.size, orientation=self.orientation)
    left, top, width, height = stored
    columns = range(left // self.unit[0], -(-(left + width) // self.unit[0]))
    rows = range(top // self.unit[1], -(-(top + height) // self.unit[1]))
    units = self._units.take((y, x) for y in rows for x in columns)
    return turn(join(units, box=stored, unit=self.unit), self.orientation)

  def overview(self, side: int) -> Image.Image:
    """All of it as RGB, at most `side` pixels wide and high."""
    plan, shrunk = self.plan, min(side / max(self._stored), 1)
    shape = tuple(max(round(length * shrunk), 1) for length in reversed(self._stored))
    numbers, no_data = plan.choice.numbers, plan.no_data
    with self.dataset() as scene:
      values = read_values(scene, numbers, None, shape=shape)
      valid = read_valid(scene, values, no_data, None, shape=shape)
    colors = to_colors(values, valid, plan, table=self._table)
    return turn(Pixels(colors, valid), self.orientation).image()

  def _decode(self, key: tuple[int, int]) -> Pixels:
    from rasterio.windows import Window

    plan, (width, height) = self.plan, self.unit
    top, left = key[0] * height, key[1] * width
    size = min(width, self._stored[0] - left), min(height, self._stored[1] - top)
    window = Window(left, top, *size)
    with self.dataset() as scene:
      values = read_values(scene, plan.choice.numbers, window)
      valid = read_valid(scene, values, plan.no_data, window)
    return Pixels(to_colors(values, valid, plan, table=self._table), valid)

  @functools.cached_property
  def _plan(self) -> Plan:
    with self.dataset() as scene:
      plan = make_plan(scene, how=self._how, header=self._header, unit=self.unit)
      if plan.choice.is_guess:
        _warn_of_guess(self._name, count=scene.count, kind=(self._kind, plan.dtype))
      return plan

  @functools.cached_property
  def _table(self) -> np.ndarray | None:
    plan = self.plan
    return make_table(plan.stretch, dtype=plan.dtype) if plan.changes else None


def _warn_of_guess(name: str, *, count: int, kind: tuple) -> None:
  """Says once for each kind of file that its first three bands are shown."""
  if (count, *kind) in _GUESSES:
    return
  _GUESSES.add((count, *kind))
  hint = '; 4,3,2 if they are those of Sentinel-2, in its order' if count > 9 else ''
  logging.warning(
    '%s has %d bands and no word on which are red, green and blue: the first three are '
    'shown, as of all files like it. Say which with bands=R,G,B%s.',
    *(name, count, hint),
  )


def _unit_of(scene) -> tuple[int, int]:
  blocks = scene.block_shapes[0][::-1]
  return tuple(
    min(math.ceil(UNIT / block), math.ceil(length / block)) * block
    for block, length in zip(blocks, (scene.width, scene.height), strict=True)
  )
