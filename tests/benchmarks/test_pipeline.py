"""The pipeline benchmark at toy size: what the sides go through, and the ratios."""

import itertools
import json
import sys

import numpy as np
import pytest
from PIL import Image

from benchmarks import pipeline
from harma_jax.data.annotations import load_captions
from harma_jax.data.images import CLIP_MEAN, CLIP_STD


@pytest.fixture
def table(small_data):
  return pipeline.one_caption_each(load_captions(small_data, split='train'), 10)


def test_an_epoch_sees_each_image_once(table):
  assert table.n_images == table.n_captions == 10
  assert table.caption_image.tolist() == list(range(10))


def test_all_sides_go_through_the_same_images(table):
  sides = pipeline.sides_of(table, batch_size=4)
  counts = {name: side() for name, side in sides.items()}
  assert counts == {
    'peer': 8,
    'stream': 8,
    'host, first epoch': 8,
    'host, later epochs': 80,
    'device': 400,
  }


def test_ratios_are_taken_within_a_round_and_the_first_is_left_out():
  seconds = itertools.cycle([0, 4, 0, 1])  # of the peer, then of the other side
  sides = {'peer': lambda: 8, 'stream': lambda: 8}
  rounds = pipeline.measure(sides, rounds=3, clock=lambda: next(seconds))
  assert rounds == [{'peer': 2.0, 'stream': 8.0}] * 3
  rounds[1] = {'peer': 1.0, 'stream': 8.0}
  found = pipeline.summary(rounds)
  assert found['peer']['ratio_to_peer'] == {'median': 1.0, 'low': 1.0, 'high': 1.0}
  assert found['stream']['ratio_to_peer'] == {'median': 4.0, 'low': 4.0, 'high': 6.0}
  assert found['peer']['images_per_cpu_second']['median'] == 2.0


def test_the_usual_image_is_normalised_and_moved_to_planes(tmp_path, monkeypatch):
  monkeypatch.setattr(pipeline, 'OPERATIONS', [lambda image, _: image])
  Image.new('RGB', (60, 40), (51, 102, 204)).save(tmp_path / 'a.png')
  with (tmp_path / 'a.png').open('rb') as file:
    pixels = pipeline.prepare_usually(file, rng=np.random.default_rng(0))
  assert (pixels.shape, pixels.dtype) == ((3, 224, 224), np.float32)
  expected = (np.array([0.2, 0.4, 0.8]) - CLIP_MEAN) / CLIP_STD
  np.testing.assert_allclose(pixels.mean((1, 2)), expected, atol=1e-5)
  assert np.ptp(pixels, axis=(1, 2)).max() < 1e-6


def test_boxes_lie_within_and_keep_half_the_image():
  rng = np.random.default_rng(0)
  for _ in range(200):
    left, top, right, bottom = pipeline.draw_box((60, 40), rng=rng)
    assert 0 <= left < right <= 60
    assert 0 <= top < bottom <= 40
    assert (right - left) * (bottom - top) >= 0.47 * 60 * 40  # sides are rounded


@pytest.mark.parametrize('operation', pipeline.OPERATIONS)
@pytest.mark.parametrize('way', [-1, 1])
def test_operations_keep_the_size(operation, way):
  pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
  image = operation(Image.fromarray(pixels), way)
  assert (image.size, image.mode) == ((30, 20), 'RGB')
  same = np.array_equal(image, pixels)
  assert same == (operation in (pipeline.OPERATIONS[0], pipeline.OPERATIONS[1]))


def test_the_whole_is_printed_as_json(small_data, prepared_data, monkeypatch, capsys):
  for root in (small_data, prepared_data):
    words = [f'--root={root}', '--images=8', '--batch=4', '--rounds=1']
    monkeypatch.setattr(sys, 'argv', ['pipeline', *words])
    pipeline.main()
    found = json.loads(capsys.readouterr().out)
    assert found['usual_size'] == [32, 32]
    assert found['machine']['cores'] >= 1
    assert found['sides']['stream']['images_per_cpu_second']['median'] > 0
