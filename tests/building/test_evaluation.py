"""What is evaluated of a config."""

import logging

import numpy as np

from harma_jax.building.data import build_table
from harma_jax.building.evaluation import build_evaluation_split
from harma_jax.building.model import build_model
from harma_jax.building.text import build_tokens
from harma_jax.data.images import read_image, resize_for_evaluation


def test_a_split_holds_resized_images_in_order(small_config, small_data, caplog):
  config = small_config()
  table, model = build_table(config, 'test'), build_model(config)
  with caplog.at_level(logging.WARNING):
    split = build_evaluation_split(config, table, model)
  assert (split.name, split.images.shape) == ('test', (6, 16, 16, 3))
  assert np.array_equal(split.tokens, build_tokens(config, table, model))
  for row, pixels in enumerate(split.images):
    image = read_image(table.image_path(row))
    assert np.array_equal(pixels, resize_for_evaluation(image, side=16))
