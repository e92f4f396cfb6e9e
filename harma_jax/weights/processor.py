"""The file with which transformers turns images into a model's input."""

import json
import pathlib

from harma_jax.data.images import RESAMPLING
from harma_jax.model.families import CLIP
from harma_jax.model.sizes import Size

PROCESSOR_FILE = 'preprocessor_config.json'


def write_processor(folder: pathlib.Path, *, size: Size) -> None:
  """Writes what `AutoImageProcessor.from_pretrained(folder)` reads.

  Images are processed as in our evaluation: the whole image is resized, without a
  crop, then normalised.
  """
  text = json.dumps(image_processor(size), indent=2)
  (folder / PROCESSOR_FILE).write_text(text + '\n')


def image_processor(size: Size) -> dict:
  """What `preprocessor_config.json` holds."""
  name = 'CLIP' if size.family is CLIP else 'Siglip'
  seen = size.preprocessing
  return {
    'image_processor_type': f'{name}ImageProcessor',
    'processor_class': f'{name}Processor',
    'do_convert_rgb': True,
    'do_resize': True,
    'size': {'height': size.image_size, 'width': size.image_size},
    'resample': int(RESAMPLING[seen.interpolation]),
    'do_center_crop': False,
    'do_rescale': True,
    'rescale_factor': 1 / 255,
    'do_normalize': True,
    'image_mean': seen.mean,
    'image_std': seen.std,
  }
