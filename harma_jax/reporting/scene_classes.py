"""How similar images of one scene class are to the captions of another."""

import collections
import pathlib
import re
from collections.abc import Sequence

import numpy as np

from harma_jax.data.annotation_files import SPLIT_WORDS
from harma_jax.reporting.charts import heat_map
from harma_jax.reporting.page import escape, figure, paragraph, section

MOST = 40  # classes that are drawn
_TITLE = 'Similarity by scene class'


def scene_class(file: str) -> str | None:
  """The class that an image's name tells, None where it tells none.

  `airport_12.jpg` and `airport/0012.jpg` are of class `airport`; names of splits, as in
  `val/00012.jpg` and `val_12.png`, are none.

  Args:
    file: path relative to the folder of images, with `/`.
  """
  path = pathlib.PurePosixPath(file)
  match = re.fullmatch(r'(\D*[^\W\d_])[_-]?\d+', path.stem)
  for name in (match[1] if match else '', path.parent.name):
    if name and name.casefold() not in SPLIT_WORDS:
      return name
  return None


def class_similarity(
  image_features: np.ndarray,
  text_features: np.ndarray,
  caption_image: np.ndarray,
  classes: Sequence[str | None],
) -> tuple[list[str], np.ndarray]:
  """The mean cosine of the images of each class and the captions of each.

  Args:
    image_features: f32[n_images, D], unit rows.
    text_features: f32[n_captions, D], unit rows.
    caption_image: i32[n_captions], the image that a caption belongs to.
    classes: of the images; None for those to leave out.

  Returns:
    The `MOST` most frequent classes with a caption, in alphabetical order, and
    f32[n, n]: row the class of the images, column that of the captions.
  """
  of_image = np.array([name or '' for name in classes])
  of_caption = of_image[caption_image]
  counts = collections.Counter(of_caption[of_caption != ''].tolist())
  names = sorted(name for name, _ in counts.most_common(MOST))
  # The mean of all inner products is the inner product of the means.
  images = [image_features[of_image == name].mean(axis=0) for name in names]
  texts = [text_features[of_caption == name].mean(axis=0) for name in names]
  return names, np.array(images) @ np.array(texts).T if names else np.zeros((0, 0))


def classes_section(
  image_features: np.ndarray,
  text_features: np.ndarray,
  caption_image: np.ndarray,
  files: Sequence[str],
) -> str:
  """A heat map of `class_similarity`; a sentence where names tell no classes.

  Args:
    image_features: f32[n_images, D], unit rows.
    text_features: f32[n_captions, D], unit rows.
    caption_image: i32[n_captions].
    files: of the images, relative to their folder.
  """
  classes = [scene_class(file) for file in files]
  names, values = class_similarity(
    image_features, text_features, caption_image, classes
  )
  if len(names) < 2:
    return section(
      _TITLE,
      paragraph(
        'Left out: the names of the images (as in airport_12.jpg, or '
        'airport/0012.jpg) do not tell two classes or more.'
      ),
    )
  words = _in_words(names, values)
  chart = heat_map(
    values,
    rows=[_short(name) for name in names],
    columns=[_short(name) for name in names],
    title=f'mean cosine of images and captions by scene class. {words}',
    left=122,
    below=130,
    turned=True,
    x_label='class of the captions',
    tips=True,
  )
  known = sum(name is not None for name in classes)
  caption = (
    f'Rows: class of the images, columns: class of the captions. Mean cosine from '
    f'{values.min():.3f} (no colour) to {values.max():.3f} (full colour), with the '
    f'selected weights. Classes are read from the names of {known:,} of the '
    f'{len(files):,} images.'
  )
  wide = f'<div class="wide" tabindex="0"><div class="map">{chart}</div></div>'
  return section(_TITLE, paragraph(words), figure(wide, escape(caption)))


def _in_words(names: Sequence[str], values: np.ndarray) -> str:
  """For how many classes the own captions are nearest, and where others are most."""
  right = int((values.argmax(axis=1) == np.arange(len(names))).sum())
  excess = values - values.diagonal()[:, None]
  np.fill_diagonal(excess, -np.inf)
  order = np.argsort(excess, axis=None)[::-1][:3]
  pairs = [np.unravel_index(k, excess.shape) for k in order]
  confused = '; '.join(
    f'images of {names[i]} and captions of {names[j]} ({values[i, j]:.3f}, own '
    f'captions {values[i, i]:.3f})'
    for i, j in pairs
  )
  return (
    f'For {right} of {len(names)} classes the images are on average most similar to '
    f'captions of their own class. Closest to their own, or beyond: {confused}.'
  )


def _short(name: str, *, most: int = 17) -> str:
  return name if len(name) <= most else f'{name[: most - 1]}…'
