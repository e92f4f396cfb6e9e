"""Pictures of an index's rows as JPEG: the tile itself, or the scene it lies in."""

import io

from PIL import Image, ImageDraw

from harma_jax.raster.limits import readable
from harma_jax.raster.scene import open_scene
from harma_jax.search_index.index import Index
from harma_jax.search_index.reader import read_crop, stored_how

TILE, SCENE = 320, 1280  # pixels, the longer side


def tile_picture(index: Index, row: int) -> bytes:
  """JPEG of a row's box.

  Raises:
    UserError: its file cannot be read any more.
  """
  path = index.images / index.names[index.file[row]]
  how = stored_how(index.manifest['preprocessing'])
  image = read_crop(path, index.boxes[row].tolist(), how=how)
  image.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
  return _jpeg(image)


def scene_picture(index: Index, row: int) -> bytes:
  """JPEG of the whole image that a row is of, its box marked where it is a part.

  Raises:
    UserError: its file cannot be read any more.
  """
  path = index.images / index.names[index.file[row]]
  how = stored_how(index.manifest['preprocessing'])
  with readable(str(path)), open_scene(path, name=str(path), how=how) as scene:
    image, size = scene.overview(SCENE), scene.size
  box = index.boxes[row].tolist()
  if tuple(box) != (0, 0, *size):
    _mark(image, box, scale=image.width / size[0])
  return _jpeg(image)


def _mark(image: Image.Image, box: list[int], *, scale: float) -> None:
  """Draws a frame that shows on dark and on bright ground."""
  left, top = (round(side * scale) for side in box[:2])
  right, bottom = (
    round((start + length) * scale)
    for start, length in zip(box[:2], box[2:], strict=True)
  )
  draw = ImageDraw.Draw(image)
  for grown, color in ((4, 'black'), (2, '#ffd400')):
    edges = (left - grown, top - grown, right + grown, bottom + grown)
    draw.rectangle(edges, outline=color, width=2)


def _jpeg(image: Image.Image) -> bytes:
  buffer = io.BytesIO()
  image.save(buffer, 'JPEG', quality=88)
  return buffer.getvalue()
