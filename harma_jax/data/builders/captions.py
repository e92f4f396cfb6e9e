"""The TFDS builder `captions`, with configs for RSICD, RSITMD and any other source."""

import collections
import concurrent.futures
import functools
import os
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds

from harma_jax.data.annotations import CaptionTable, load_captions
from harma_jax.data.builders.encode import AHEAD, encode_image_file
from harma_jax.data.reading import AS_WRITTEN, Reading
from harma_jax.data.tracking import Track, untracked
from harma_jax.raster.how import DEFAULT, How

CONFIGS = [
  tfds.core.BuilderConfig(name=name, description=description)
  for name, description in {
    'captions': 'Images with captions, from annotations in any form that is read.',
    'rsicd': 'RSICD: 10,921 aerial images of 224 x 224, five captions each.',
    'rsitmd': 'RSITMD: 4,743 aerial images of 256 x 256, five captions each.',
  }.items()
]

HOMEPAGES = {
  'captions': None,
  'rsicd': 'https://github.com/201528014227051/RSICD_optimal',
  'rsitmd': 'https://github.com/xiaoyuan1996/AMFMN',
}


class Captions(tfds.core.GeneratorBasedBuilder):
  """One example an image, in the order of `load_captions`.

  Its features: `image` (a JPEG or PNG, pixels as in the source), `image_file` (relative
  to the image folder), `captions` (texts) and `caption_rows` (i64, where each of them
  stands among the captions of the split).

  Needs `file_format='array_record'` where there is no TensorFlow; read it with
  `as_data_source`, or with `harma_jax.data.prepared`.
  """

  VERSION = tfds.core.Version('1.0.0')
  BUILDER_CONFIGS = CONFIGS
  # Where TFDS looks for checksums of downloads, of which there are none. To find out
  # it imports importlib_resources, which it does not install.
  code_path = None

  def __init__(
    self,
    *,
    source: str | os.PathLike,
    splits: Sequence[str],
    annotations: str = 'auto',
    images: str = 'images',
    threads: int = 1,
    track: Track = untracked,
    how: How = DEFAULT,
    reading: Reading = AS_WRITTEN,
    **of_tfds,
  ):
    """See `load_captions` for `source`, `annotations`, `images` and `reading`."""
    self._read = {'root': source, 'annotations': annotations, 'images': images}
    self._read['reading'] = reading
    self._splits, self._threads, self._track = tuple(splits), threads, track
    self._how = how
    super().__init__(**of_tfds)

  def _info(self) -> tfds.core.DatasetInfo:
    features = {
      'image': tfds.features.Image(shape=(None, None, 3)),
      'image_file': tfds.features.Text(),
      'captions': tfds.features.Sequence(tfds.features.Text()),
      'caption_rows': tfds.features.Sequence(np.int64),
    }
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.builder_config.description,
      homepage=HOMEPAGES[self.builder_config.name],
      features=tfds.features.FeaturesDict(features),
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager) -> dict[str, Iterator[tuple[int, dict]]]:
    del dl_manager  # nothing is downloaded
    return {split: self._generate_examples(split) for split in self._splits}

  def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
    table = load_captions(split=split, **self._read)
    examples = _examples(table, threads=self._threads, how=self._how)
    yield from self._track(enumerate(examples), title=split, total=table.n_images)


def _examples(table: CaptionTable, *, threads: int, how: How) -> Iterator[dict]:
  rows = collections.defaultdict(list)
  for row, image in enumerate(table.caption_image.tolist()):
    rows[image].append(row)
  for image, content in enumerate(_encoded(table, threads=threads, how=how)):
    yield {
      'image': content,
      'image_file': table.image_files[image],
      'captions': [table.captions[row] for row in rows[image]],
      'caption_rows': rows[image],
    }


def _encoded(table: CaptionTable, *, threads: int, how: How) -> Iterator[bytes]:
  """The bytes of all images in order; not more than `AHEAD` are held."""
  encode = functools.partial(encode_image_file, how=how)
  with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    for start in range(0, table.n_images, AHEAD):
      images = range(start, min(start + AHEAD, table.n_images))
      yield from pool.map(encode, map(table.image_path, images))
