"""A file as a picture of which any box can be had: one reader for all commands."""

import contextlib
import functools
import os
import pathlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, Protocol

import numpy as np
from PIL import Image

from harma_jax.raster import pillow
from harma_jax.raster.formats import LAB, TIFF, has_gdal, raster_kind, read_tiff_header
from harma_jax.raster.gdal import GdalScene
from harma_jax.raster.how import DEFAULT, How
from harma_jax.raster.limits import MAX_PIXELS
from harma_jax.raster.pixels import Pixels


class ImageFile(Protocol):
  """A `pathlib.Path`, or what opens like one and is shown as one by `str`."""

  def open(self, mode: str) -> BinaryIO: ...

  def read_bytes(self) -> bytes: ...


class Scene(Protocol):
  """A picture, upright; any number of threads may ask for boxes.

  Attributes:
    size: width and height.
    bits: of a value; what has more than 8 is stretched.
    unit: width and height of what is decoded at once.
    orientation: how what is stored was turned, 1 to 8 as EXIF has it.
    facts: how it is read, as JSON has it.
  """

  size: tuple[int, int]
  bits: int
  unit: tuple[int, int]
  orientation: int

  @property
  def facts(self) -> Mapping: ...

  def read(self, box: Sequence[int]) -> Pixels: ...

  def overview(self, side: int) -> Image.Image: ...

  def close(self) -> None: ...


class PillowScene:
  """A file that Pillow decodes as a whole when first asked for a box: a `Scene`."""

  def __init__(self, file: BinaryIO, *, how: How, max_pixels: int):
    self._stack = contextlib.ExitStack()
    self._file, self._how, self._lock = file, how, threading.Lock()
    opened = pillow.open_image(file, max_pixels=max_pixels)
    self._image = self._stack.enter_context(opened)
    self.size = self.unit = pillow.upright_size(self._image)
    self.orientation = pillow.orientation_of(self._image)
    self.bits = 16 if pillow.is_deep(self._image) else 8

  @property
  def facts(self) -> Mapping:
    """How the file is read, as JSON has it."""
    facts = {'reader': 'Pillow', 'format': self._image.format}
    stretch = self._decoded.stretch if self.bits > 8 else None
    if stretch:
      facts |= {'stretch': [stretch.black, stretch.white], 'stretch_by': stretch.by}
    return facts

  def read(self, box: Sequence[int]) -> Pixels:
    """The pixels of a box: left, top, width, height."""
    left, top, width, height = box
    image = self._decoded.image
    if (left, top, width, height) != (0, 0, *image.size):
      image = image.crop((left, top, left + width, top + height))
    return Pixels(np.asarray(image), None)

  def overview(self, side: int) -> Image.Image:
    """All of it as RGB, at most `side` pixels wide and high."""
    image = self._decoded.image.copy()
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image

  def close(self) -> None:
    """Closes the file."""
    self._stack.close()

  @property
  def _decoded(self) -> pillow.Decoded:
    with self._lock:
      return self._decode

  @functools.cached_property
  def _decode(self) -> pillow.Decoded:
    return pillow.decode(self._image, self._file, how=self._how)


@contextlib.contextmanager
def open_scene(
  source: str | os.PathLike | ImageFile | BinaryIO,
  *,
  name: str,
  how: How = DEFAULT,
  max_pixels: int = MAX_PIXELS,
) -> Iterator[Scene]:
  """Opens a picture by its content: TIFF and JPEG 2000 by GDAL, where it is there.

  Args:
    source: a path, what opens like one, or a binary file.
    name: what messages call it.
    how: what the user says of bands and values.
    max_pixels: most of width times height of what must be decoded as a whole.

  Raises:
    Exception: of many kinds, from here and from all of the scene's methods; see
      `limits.readable`.
  """
  with contextlib.ExitStack() as stack:
    source = pathlib.Path(source) if isinstance(source, str | os.PathLike) else source
    file = source
    if not hasattr(source, 'seek'):
      file = stack.enter_context(source.open('rb'))
    kind = raster_kind(file) if has_gdal() else ''
    header = read_tiff_header(file) if kind == TIFF else None
    if kind and not (header and header.photometric == LAB):
      file.seek(0)
      content = source if isinstance(source, pathlib.Path) else file.read()
      scene = GdalScene(content, kind=kind, header=header, how=how, name=name)
    else:
      scene = PillowScene(file, how=how, max_pixels=max_pixels)
    stack.callback(scene.close)
    yield scene
