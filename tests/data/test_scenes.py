"""Drawn scenes: pictures show what `Scene` says, captions say it, folders are safe."""

import colorsys
import dataclasses
import json
import re

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from harma_jax.data import scenes
from harma_jax.data.scene_drawing import COLOURS, DRAWINGS, OFFSETS
from harma_jax.data.scenes import (
  KINDS,
  STYLES,
  captions,
  render,
  sample_scene,
  write_scenes,
)
from harma_jax.errors import UserError

SMALL = {'counts': {'train': 3, 'test': 2}, 'side': 16, 'style': 'summer', 'seed': 5}
NUMBERS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six')
WORDS_OF_KIND = {
  'fields': r'\bfields?\b',
  'rivers': r'\bboats?\b.*\briver\b|\briver\b.*\bboats?\b',
  'roads': r'\b(cars?|vehicles?)\b',
  'housing rows': r'\b(rows?|lines?) of .*(houses|homes)\b',
  'storage tanks': r'\btanks?\b',
  'runways': r'\b(air)?planes?\b',
  'harbours': r'\b(ships?|vessels?)\b',
  'sports pitches': r'\b(pitch(es)?|playing fields?)\b',
  'woods': r'\b(huts?|cabins?)\b',
}
SIDES = {
  'in the (centre|middle)': 'centre',
  'on the left': 'left',
  'on the right': 'right',
  'at the top|in the upper part': 'top',
  'at the bottom|in the lower part': 'bottom',
  'top left corner|at the upper left': 'top left',
  'top right corner|at the upper right': 'top right',
  'bottom left corner|at the lower left': 'bottom left',
  'bottom right corner|at the lower right': 'bottom right',
}


def sampled(count, *, seed=0):
  rng = np.random.default_rng(seed)
  return [sample_scene(rng) for _ in range(count)]


def drawn(scene, *, style='summer', side=96, seed=1):
  return render(scene, np.random.default_rng(seed), side=side, style=style)


def things_mask(scene, *, style):
  """Where the picture changes when only the colour of the things does."""
  colour = 'blue' if scene.colour in ('red', 'orange', 'yellow', 'brown') else 'red'
  other = dataclasses.replace(scene, colour=colour)
  difference = np.int16(drawn(scene, style=style)) - drawn(other, style=style)
  return abs(difference).sum(-1) > 90


def facts_of(caption):
  """Number and colour words of a caption."""
  text = caption.replace('one can see', 'see').replace('with white lines', '')
  numbers = [
    NUMBERS.index(word) for word in re.findall(r'\w+', text) if word in NUMBERS
  ]
  return numbers, re.findall(rf'\b({"|".join(COLOURS)})\b', text)


def snapshot(folder):
  return {
    path.relative_to(folder): path.read_bytes()
    for path in folder.rglob('*')
    if path.is_file()
  }


def test_every_kind_is_sampled_and_can_be_drawn():
  kinds = {scene.kind for scene in sampled(200)}
  assert kinds == set(KINDS) == set(DRAWINGS)


def test_edges_go_with_neighbours_and_never_lie_under_the_things():
  for scene in sampled(500):
    assert (scene.edge is None) == (scene.neighbour is None)
    assert scene.edge is None or scene.edge not in scene.place.split()


@pytest.mark.parametrize('style', STYLES)
@pytest.mark.parametrize('side', [16, 33, 64])
def test_a_picture_is_rgb_bytes_of_the_side_asked_for(style, side):
  picture = drawn(sampled(1)[0], style=style, side=side)
  assert picture.shape == (side, side, 3)
  assert picture.dtype == np.uint8
  assert picture.std() > 5


@pytest.mark.parametrize('style', STYLES)
def test_a_picture_shows_as_many_things_as_the_scene_says(style):
  for scene in sampled(90):
    mask = things_mask(scene, style=style)
    if scene.kind == 'housing rows':
      along = 0 if scene.direction == 'vertical' else 1
      found = ndimage.label(mask.sum(along) > 4)[1]
    else:
      found = ndimage.label(ndimage.binary_fill_holes(mask))[1]
    assert found == scene.count, scene


@pytest.mark.parametrize('style', STYLES)
def test_things_are_drawn_in_the_colour_that_captions_name(style):
  for scene in sampled(90):
    pixels = drawn(scene, style=style)[things_mask(scene, style=style)]
    mean = np.median(pixels, axis=0) / 255
    if scene.colour in ('white', 'black'):
      assert mean.min() > 0.75 if scene.colour == 'white' else mean.max() < 0.4, scene
      continue
    hue = colorsys.rgb_to_hsv(*mean)[0]
    hues = {
      name: colorsys.rgb_to_hsv(*np.divide(COLOURS[name], 255))[0]
      for name in KINDS[scene.kind].colours
      if name not in ('white', 'black')
    }
    nearest = min(hues, key=lambda name: abs((hues[name] - hue + 0.5) % 1 - 0.5))
    assert nearest == scene.colour, scene


def test_things_lie_where_the_scene_says():
  for scene in sampled(90):
    y, x = ndimage.center_of_mass(things_mask(scene, style='summer'))
    for found, offset in zip((x, y), OFFSETS[scene.place], strict=True):
      if offset:
        assert offset * (found / 96 - 0.5) > 0.05, scene
      elif ' ' in scene.place or scene.kind not in ('rivers', 'roads'):
        assert abs(found / 96 - 0.5) < 0.17, scene


def test_a_neighbour_is_drawn_along_its_edge_and_only_there():
  for scene in sampled(200):
    if scene.neighbour is None or scene.kind in ('woods', 'rivers', 'runways'):
      continue
    alone = dataclasses.replace(scene, neighbour=None, edge=None)
    difference = abs(np.int16(drawn(scene)) - drawn(alone)).sum(-1) > 45
    turns = {'top': 0, 'right': 1, 'bottom': 2, 'left': 3}[scene.edge]
    difference = np.rot90(difference, turns)  # the edge comes on top
    assert difference[:30].mean() > 0.2, scene
    assert difference[:30].mean() > difference[-30:].mean(), scene


def test_a_style_changes_the_picture_but_not_its_things():
  for scene in sampled(20):
    summer, winter = (drawn(scene, style=style) for style in STYLES)
    assert abs(np.int16(summer) - winter).mean() > 25
    both = [things_mask(scene, style=style) for style in STYLES]
    assert (both[0] & both[1]).sum() > 0.8 * (both[0] | both[1]).sum(), scene


def test_drawing_and_captions_are_set_by_the_seed_alone():
  scene = sampled(1)[0]
  assert np.array_equal(drawn(scene, seed=2), drawn(scene, seed=2))
  assert not np.array_equal(drawn(scene, seed=2), drawn(scene, seed=3))
  first, again = (captions(scene, np.random.default_rng(4)) for _ in range(2))
  assert first == again


def test_captions_tell_number_colour_and_kind_as_they_are():
  for scene in sampled(400):
    told = captions(scene, np.random.default_rng(0))
    numbers, colours = zip(*map(facts_of, told), strict=True)
    assert {n for found in numbers for n in found} == {scene.count}
    assert {c for found in colours for c in found} == {scene.colour}
    assert all(re.search(WORDS_OF_KIND[scene.kind], caption) for caption in told), told


def test_captions_tell_places_and_neighbours_as_they_are():
  for scene in sampled(400):
    shown = {*scene.kind.split(), f'{scene.neighbour}s', scene.neighbour}
    for caption in captions(scene, np.random.default_rng(0)):
      sides = {side for words, side in SIDES.items() if re.search(words, caption)}
      assert sides <= {scene.place, scene.edge}, caption
      assert set(re.findall(r'the (\w+) edge', caption)) <= {scene.edge}, caption
      vertical = re.search('top to bottom|up and down', caption)
      assert not vertical or scene.direction == 'vertical', caption
      horizontal = re.search('left to right|running across', caption)
      assert not horizontal or scene.direction == 'horizontal', caption
      crossed = re.search(r'second road|\bcross', caption)
      assert not crossed or {'crossroad', 'bridge'} & shown, caption
      assert 'bridge' not in caption or 'bridge' in shown, caption
      assert 'river' not in caption or 'rivers' in shown, caption
      assert not re.search('woods|forest|trees', caption) or 'woods' in shown, caption
      assert not re.search(r'\broad\b', caption) or {'roads', 'crossroad'} & shown
      assert 'open' not in caption or scene.neighbour is None, caption


def test_five_captions_differ_and_are_of_a_length_that_is_read_whole():
  rng = np.random.default_rng(0)
  lengths = []
  for scene in sampled(300):
    told = captions(scene, rng)
    assert len(set(told)) == 5
    assert all(caption == caption.lower() for caption in told)
    lengths += [len(re.findall(r'\w+', caption)) for caption in told]
  assert max(lengths) <= 30  # what preprocessing keeps
  assert np.mean([5 <= length <= 18 for length in lengths]) > 0.8
  assert len(captions(sampled(1)[0], rng, count=7)) == 7


def test_captions_of_different_scenes_mostly_differ():
  rng = np.random.default_rng(0)
  told = [caption for scene in sampled(500) for caption in captions(scene, rng)]
  assert len(set(told)) / len(told) > 0.9
  facts = {dataclasses.astuple(scene) for scene in sampled(500)}
  assert len(facts) / 500 > 0.9


def test_written_folder_holds_the_promised_files(tmp_path):
  folder = write_scenes(tmp_path / 'a' / 'drawn', **SMALL)
  rows = [json.loads(line) for line in (folder / 'captions.jsonl').open()]
  assert len(rows) == 5 * 5
  assert [set(row) for row in rows] == [{'image', 'caption', 'split'}] * 25
  assert {row['image'] for row in rows} == {
    *(f'train/0000{i}.png' for i in range(3)),
    *(f'test/0000{i}.png' for i in range(2)),
  }
  assert all(row['image'].startswith(f'{row["split"]}/') for row in rows)
  for row in rows:
    with Image.open(folder / 'images' / row['image']) as picture:
      assert (picture.size, picture.mode) == ((16, 16), 'RGB')
  stamp = json.loads((folder / 'scenes.json').read_text())
  assert stamp == {**SMALL, 'version': scenes.VERSION}
  assert [path.name for path in folder.parent.iterdir()] == ['drawn']


def test_equal_arguments_give_equal_bytes_in_any_order_of_splits(tmp_path):
  turned = {**SMALL, 'counts': {'test': 2, 'train': 3}}
  first = snapshot(write_scenes(tmp_path / 'first', **SMALL))
  second = snapshot(write_scenes(tmp_path / 'second', **turned))
  first.pop(next(path for path in first if path.name == 'scenes.json'))
  assert first == {path: second[path] for path in first}
  other = snapshot(write_scenes(tmp_path / 'third', **{**SMALL, 'seed': 6}))
  assert sum(other[path] == first[path] for path in first) == 0


def test_a_longer_split_begins_with_the_images_of_a_shorter_one(tmp_path):
  short = snapshot(write_scenes(tmp_path / 'short', **SMALL) / 'images')
  longer = {**SMALL, 'counts': {'train': 4, 'test': 2}}
  long = snapshot(write_scenes(tmp_path / 'long', **longer) / 'images')
  assert len(long) == len(short) + 1
  assert short == {path: long[path] for path in short}


def test_styles_share_scenes_and_captions(tmp_path):
  summer, winter = (
    write_scenes(tmp_path / style, **{**SMALL, 'style': style}) for style in STYLES
  )
  same = [(folder / 'captions.jsonl').read_text() for folder in (summer, winter)]
  assert same[0] == same[1]
  pictures = [snapshot(folder / 'images') for folder in (summer, winter)]
  assert all(pictures[0][path] != pictures[1][path] for path in pictures[0])


def test_a_finished_folder_is_left_alone(tmp_path):
  folder = write_scenes(tmp_path / 'drawn', **SMALL)
  times = {path: path.stat().st_mtime_ns for path in folder.rglob('*')}
  assert write_scenes(folder, **SMALL) == folder
  assert {path: path.stat().st_mtime_ns for path in folder.rglob('*')} == times


@pytest.mark.parametrize('missing', ['captions.jsonl', 'images/train/00001.png'])
def test_an_unfinished_folder_is_written_anew(tmp_path, missing):
  folder = write_scenes(tmp_path / 'drawn', **SMALL)
  whole = snapshot(folder)
  (folder / missing).unlink()
  assert snapshot(write_scenes(folder, **SMALL)) == whole
  assert [path.name for path in tmp_path.iterdir()] == ['drawn']


def test_other_arguments_or_another_version_replace_the_folder(tmp_path, monkeypatch):
  folder = write_scenes(tmp_path / 'drawn', **SMALL)
  write_scenes(folder, **{**SMALL, 'counts': {'train': 1}})
  assert [path.name for path in (folder / 'images').iterdir()] == ['train']
  assert len((folder / 'captions.jsonl').read_text().splitlines()) == 5
  monkeypatch.setattr(scenes, 'VERSION', scenes.VERSION + 1)
  before = (folder / 'scenes.json').read_text()
  write_scenes(folder, **{**SMALL, 'counts': {'train': 1}})
  assert (folder / 'scenes.json').read_text() != before


def test_a_run_that_stops_leaves_nothing_behind(tmp_path, monkeypatch):
  def stop(*_, **__):
    raise KeyboardInterrupt

  folder = write_scenes(tmp_path / 'drawn', **SMALL)
  whole = snapshot(folder)
  monkeypatch.setattr(scenes, 'captions', stop)
  with pytest.raises(KeyboardInterrupt):
    write_scenes(folder, **{**SMALL, 'seed': 9})
  with pytest.raises(KeyboardInterrupt):
    write_scenes(tmp_path / 'other', **SMALL)
  assert snapshot(tmp_path / 'drawn') == whole
  assert [path.name for path in tmp_path.iterdir()] == ['drawn']


def test_an_empty_folder_is_filled(tmp_path):
  (tmp_path / 'drawn').mkdir()
  assert (write_scenes(tmp_path / 'drawn', **SMALL) / 'captions.jsonl').is_file()


@pytest.mark.parametrize('stamp', [None, '{}', 'not json'])
def test_a_folder_of_other_files_is_refused_and_kept(tmp_path, stamp):
  (tmp_path / 'thesis.txt').write_text('mine')
  if stamp is not None:
    (tmp_path / 'scenes.json').write_text(stamp)
  before = snapshot(tmp_path)
  with pytest.raises(UserError, match='Nothing was changed'):
    write_scenes(tmp_path, **SMALL)
  assert snapshot(tmp_path) == before


def test_a_users_file_among_drawn_scenes_stops_their_replacement(tmp_path):
  folder = write_scenes(tmp_path / 'drawn', **SMALL)
  (folder / 'notes.txt').write_text('mine')
  write_scenes(folder, **SMALL)
  with pytest.raises(UserError, match=r'notes\.txt'):
    write_scenes(folder, **{**SMALL, 'seed': 6})
  assert (folder / 'notes.txt').read_text() == 'mine'


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    ({'style': 'autumn'}, "one of summer, winter; found 'autumn'"),
    ({'side': 8}, 'at least 16 pixels; found 8'),
    ({'seed': -1}, 'found -1'),
    ({'counts': {'train': 0}}, "'train': 0"),
    ({'counts': {'../x': 1}}, "'../x': 1"),
    ({'counts': {}}, 'at least one split'),
  ],
)
def test_impossible_arguments_are_refused_before_anything_is_written(
  tmp_path, change, message
):
  with pytest.raises(UserError, match=re.escape(message)):
    write_scenes(tmp_path / 'drawn', **{**SMALL, **change})
  assert not list(tmp_path.iterdir())
