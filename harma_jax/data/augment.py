"""The training augmentation of the released code: crop, flip, RandAugment.

Runs on the host, on one image at a time; every random choice comes from `rng`.
"""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

MAX_LEVEL = 10
FILL = (128, 128, 128)
_CROP_RATIO = (3 / 4, 4 / 3)
_CROP_TRIES = 10
_APPLY_PROBABILITY = 0.5

# (image, level of 0 to MAX_LEVEL, sign of -1 or 1) -> image; some ignore the last two.
Operation = Callable[[Image.Image, float, int], Image.Image]


def augment(
  image: Image.Image,
  rng: np.random.Generator,
  *,
  side: int,
  crop_scale: tuple[float, float] = (0.5, 1.0),
  flip: bool = True,
  quarter_turns: bool = False,
  rand_augment: tuple[int, float] = (2, 7),
) -> np.ndarray:
  """Augments one RGB image to u8[side, side, 3].

  Args:
    image: RGB, of any size.
    rng: source of every random choice.
    side: pixels of the result.
    crop_scale: the smallest and largest part of the image's area that a crop keeps.
    flip: whether half of the images are mirrored left to right.
    quarter_turns: whether to turn by 0, 90, 180 or 270 degrees, equally often.
    rand_augment: how many operations are drawn and their level of 10; (0, 0): none.
  """
  image = _crop(image, crop_box(image.size, rng, scale=crop_scale), side=side)
  if flip and rng.random() < 0.5:
    image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
  if quarter_turns:
    image = _quarter_turn(image, rng.integers(4))
  count, level = rand_augment
  return np.asarray(apply_random_operations(image, rng, count=count, level=level))


def crop_box(
  size: tuple[int, int], rng: np.random.Generator, *, scale: tuple[float, float]
) -> tuple[int, int, int, int]:
  """Draws the box (left, top, right, bottom) of torchvision's RandomResizedCrop.

  Area uniform in `scale`, ratio of width to height log-uniform in 3/4 to 4/3; after 10
  boxes that do not fit into `size` (width, height), the largest centred one that has an
  allowed ratio.
  """
  width, height = size
  for _ in range(_CROP_TRIES):
    area = width * height * rng.uniform(*scale)
    ratio = math.exp(rng.uniform(*(math.log(bound) for bound in _CROP_RATIO)))
    w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    if 0 < w <= width and 0 < h <= height:
      left, top = rng.integers(width - w + 1), rng.integers(height - h + 1)
      return int(left), int(top), int(left) + w, int(top) + h
  low, high = _CROP_RATIO
  w = min(width, max(1, round(height * high)))
  h = min(height, max(1, round(width / low)))
  left, top = (width - w) // 2, (height - h) // 2
  return left, top, left + w, top + h


def _crop(image: Image.Image, box: tuple[int, ...], *, side: int) -> Image.Image:
  # Not resize(box=box): its bicubic kernel would look at pixels outside of the crop.
  return image.crop(box).resize((side, side), Image.Resampling.BICUBIC)


def _quarter_turn(image: Image.Image, turns: int) -> Image.Image:
  turn = Image.Transpose
  by_turns = (None, turn.ROTATE_90, turn.ROTATE_180, turn.ROTATE_270)
  return image.transpose(by_turns[turns]) if turns else image


def apply_random_operations(
  image: Image.Image, rng: np.random.Generator, *, count: int, level: float
) -> Image.Image:
  """RandAugment as in ALBEF: `count` operations, each applied half of the time.

  They are drawn from OPERATIONS with replacement, all equally likely.
  """
  for operation in rng.choice(list(OPERATIONS), size=count):
    sign = 1 if rng.random() < 0.5 else -1
    if rng.random() < _APPLY_PROBABILITY:
      image = OPERATIONS[operation](image, level, sign)
  return image


def identity(image: Image.Image, level: float, sign: int) -> Image.Image:
  """The image as it is."""
  return image


def auto_contrast(image: Image.Image, level: float, sign: int) -> Image.Image:
  """Stretches every channel so that it spans 0 to 255."""
  return ImageOps.autocontrast(image)


def equalize(image: Image.Image, level: float, sign: int) -> Image.Image:
  """Flattens the histogram of every channel."""
  return ImageOps.equalize(image)


def brightness(image: Image.Image, level: float, sign: int) -> Image.Image:
  """Multiplies by a factor of 0.1 (level 0) to 1.9 (level 10), clipped to 0..255."""
  return ImageEnhance.Brightness(image).enhance(_factor(level))


def sharpness(image: Image.Image, level: float, sign: int) -> Image.Image:
  """Blends from smoothed (factor 0) over the image (1) to sharpened (above 1).

  Smoothed with [[1, 1, 1], [1, 5, 1], [1, 1, 1]] / 13, borders kept. The result is
  clipped to 0..255, where the released code lets it wrap around.
  """
  return ImageEnhance.Sharpness(image).enhance(_factor(level))


def shear_x(image: Image.Image, level: float, sign: int) -> Image.Image:
  """Moves a row at height y by `0.3 * level / 10 * y` to the right, or left."""
  return _warp(image, (1, -sign * 0.3 * level / MAX_LEVEL, 0, 0, 1, 0))


def shear_y(image: Image.Image, level: float, sign: int) -> Image.Image:
  """Moves a column at x by `0.3 * level / 10 * x` down, or up."""
  return _warp(image, (1, 0, 0, -sign * 0.3 * level / MAX_LEVEL, 1, 0))


def translate_x(image: Image.Image, level: float, sign: int) -> Image.Image:
  """Moves by `level` pixels to the left, or right."""
  return _warp(image, (1, 0, sign * level, 0, 1, 0))


def translate_y(image: Image.Image, level: float, sign: int) -> Image.Image:
  """Moves by `level` pixels up, or down."""
  return _warp(image, (1, 0, 0, 0, 1, sign * level))


def rotate(image: Image.Image, level: float, sign: int) -> Image.Image:
  """Turns by `30 * level / 10` degrees counter-clockwise, or clockwise.

  About pixel (width / 2, height / 2), as in the released code.
  """
  angle = math.radians(sign * 30 * level / MAX_LEVEL)
  cos, sin = math.cos(angle), math.sin(angle)
  x, y = image.width / 2, image.height / 2
  return _warp(
    image, (cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y)
  )


OPERATIONS: dict[str, Operation] = {
  'Identity': identity,
  'AutoContrast': auto_contrast,
  'Equalize': equalize,
  'Brightness': brightness,
  'Sharpness': sharpness,
  'ShearX': shear_x,
  'ShearY': shear_y,
  'TranslateX': translate_x,
  'TranslateY': translate_y,
  'Rotate': rotate,
}


def _factor(level: float) -> float:
  return level / MAX_LEVEL * 1.8 + 0.1


def _warp(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
  """Bilinear; `matrix`, row-major 2 x 3, takes the index of a pixel to its source's."""
  a, b, c, d, e, f = matrix
  # Pillow's coordinates put the centre of pixel 0 at 0.5, not at 0.
  c, f = c + (1 - a - b) / 2, f + (1 - d - e) / 2
  return image.transform(
    image.size,
    Image.Transform.AFFINE,
    (a, b, c, d, e, f),
    resample=Image.Resampling.BILINEAR,
    fillcolor=FILL,
  )
