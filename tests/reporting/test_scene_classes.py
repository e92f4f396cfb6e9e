"""Classes from names, and similarities beside plain means over pairs."""

import re

import numpy as np
import pytest

from harma_jax.reporting.scene_classes import (
  MOST,
  class_similarity,
  classes_section,
  scene_class,
)


@pytest.mark.parametrize(
  ('file', 'expected'),
  [
    ('airport_12.jpg', 'airport'),
    ('val/airport_1.tif', 'airport'),
    ('denseresidential-7.png', 'denseresidential'),
    ('storage_tanks_3.jpg', 'storage_tanks'),
    ('harbour/0012.jpg', 'harbour'),
    ('train/harbour/0012.jpg', 'harbour'),
    ('val/00012.png', None),
    ('val_12.png', None),
    ('00908.jpg', None),
  ],
)
def test_a_class_is_read_from_the_name(file, expected):
  assert scene_class(file) == expected


@pytest.fixture
def features():
  rng = np.random.default_rng(0)
  return rng.normal(size=(6, 4)), rng.normal(size=(12, 4)), np.repeat(np.arange(6), 2)


def test_similarities_are_means_over_all_pairs(features):
  images, texts, owners = features
  classes = ['b', 'a', 'b', None, 'a', 'b']
  names, values = class_similarity(*features, classes)
  assert names == ['a', 'b']
  for row, of_images in enumerate(names):
    for column, of_texts in enumerate(names):
      pairs = [
        images[i] @ texts[j]
        for i in range(6)
        for j in range(12)
        if classes[i] == of_images and classes[owners[j]] == of_texts
      ]
      assert values[row, column] == pytest.approx(np.mean(pairs))


def test_a_map_has_a_cell_for_each_pair_of_classes(features):
  files = ['a_1.jpg', 'a_2.jpg', '<i>x_3.jpg', 'b_4.jpg', 'b_5.jpg', '7.jpg']
  text = classes_section(*features, files)
  assert len(re.findall('<rect [^>]*fill-opacity', text)) == 3 * 3
  assert 'names of 5 of the 6 images' in text
  assert '<i>x' not in text
  assert '&lt;i&gt;x' in text


def test_only_the_most_frequent_classes_are_drawn():
  rng = np.random.default_rng(0)
  n = MOST + 5
  owners = np.append(np.arange(n), [n - 1])
  classes = [f'c{k:03}' for k in range(n)]
  images, texts = rng.normal(size=(n, 4)), rng.normal(size=(n + 1, 4))
  names, values = class_similarity(images, texts, owners, classes)
  assert len(names) == MOST
  assert values.shape == (MOST, MOST)
  assert classes[-1] in names


@pytest.mark.parametrize('name', ['val_{}.png', 'harbour_{}.png', '{}.jpg'])
def test_without_two_classes_it_is_left_out(features, name):
  text = classes_section(*features, [name.format(k) for k in range(6)])
  assert 'Left out' in text
  assert '<svg' not in text
