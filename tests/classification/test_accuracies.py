"""Rows of classes, confusions and differences on four images."""

import numpy as np
import pytest

from harma_jax.classification.accuracies import measure

NAMES = {'BareLand': 'bare land', 'port': 'a harbour'}
LABELS = np.array([0, 0, 0, 1])


@pytest.fixture(scope='module')
def scores():
  """Before, all is taken for bare land; the model mistakes one image of it."""
  before = np.array([[0.9, 0.1]] * 4, np.float32)
  model = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], np.float32)
  return {'before': before, 'model': model}


def test_classes_have_rows_with_the_top1_of_each_model(scores):
  results = measure(scores, LABELS, names=NAMES)
  assert results['classes'] == [
    {
      'folder': 'BareLand',
      'name': 'bare land',
      'images': 3,
      'before': 100.0,
      'model': pytest.approx(200 / 3),
    },
    {'folder': 'port', 'name': 'a harbour', 'images': 1, 'before': 0.0, 'model': 100.0},
  ]
  assert results['confusion'] == [[2, 1], [0, 1]]
  assert results['chance'] == {'top1': 50, 'mean_per_class_top1': 50}
  means = [results[key]['mean_per_class_top1']['value'] for key in ('before', 'model')]
  difference = results['difference']['mean_per_class_top1']['value']
  assert means == pytest.approx([50, 250 / 3])
  assert difference == pytest.approx(means[1] - means[0])


def test_a_model_alone_has_no_difference(scores):
  results = measure({'model': scores['model']}, LABELS, names=NAMES)
  assert list(results) == ['chance', 'model', 'classes', 'confusion']
