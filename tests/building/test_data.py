"""Captions and images as a config says."""

import json
import logging

import numpy as np
import pytest

from harma_jax.building import data as build_data
from harma_jax.building.data import build_inputs, build_pixels, build_table
from harma_jax.building.evaluation import build_evaluation_split
from harma_jax.building.model import build_model
from harma_jax.building.text import build_tokens, context_length
from harma_jax.data.annotations import fingerprint
from harma_jax.devices.mesh import make_mesh
from harma_jax.errors import UserError


def test_tables_and_tokens(small_config):
  config = small_config({'data.context_length': 5})
  table = build_table(config, 'val')
  assert (table.n_images, table.n_captions, table.split) == (6, 12, 'val')
  model = build_model(config)
  assert build_tokens(config, table, model).shape == (12, 5)
  assert context_length(small_config(), model) == model.size.context_length == 8


def test_a_part_of_the_training_images_may_be_val(small_config):
  """Whether the annotations have a split of that name, or none."""
  for name in ('val', 'held out'):
    config = small_config({'data.hold_out': 0.25, 'data.val_split': name})
    train, val, test = (build_table(config, split) for split in ('train', name, 'test'))
    assert (train.n_images, val.n_images, test.n_images) == (9, 3, 6)
    assert (train.split, val.split) == ('train', name)
    whole = build_table(small_config(), 'train')
    assert {*train.image_files, *val.image_files} == set(whole.image_files)


def test_a_prepared_folder_holds_out_the_same_images(small_config, prepared_data):
  changes = {'data.hold_out': 0.25}
  source = small_config(changes)
  prepared = small_config(changes | {'data.root': str(prepared_data)})
  for split in ('train', 'val'):
    tables = [build_table(config, split) for config in (source, prepared)]
    assert len({fingerprint(table) for table in tables}) == 1


def test_scenes_are_drawn_where_a_style_is_given(small_config, tmp_path):
  scenes = {'style': 'summer', 'train': 4, 'val': 3, 'test': 2, 'seed': 5}
  fields = {f'data.scenes.{name}': value for name, value in scenes.items()}
  config = small_config(fields | {'data.root': str(tmp_path), 'data.test_split': ''})
  assert [build_table(config, name).n_images for name in ('train', 'val')] == [4, 3]
  (folder,) = tmp_path.iterdir()
  assert 'summer' in folder.name
  assert 'summer' in json.loads((folder / 'scenes.json').read_text()).values()


def test_scenes_want_a_folder_too(small_config, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  config = small_config({'data.scenes.style': 'summer', 'data.root': ''})
  with pytest.raises(UserError, match=r'--config\.data\.root=FOLDER'):
    build_table(config, 'train')
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('cache', ['device', 'host', 'stream', 'auto'])
def test_images_are_kept_as_the_config_says(small_config, cache):
  config = small_config({'data.cache_side': 16, 'data.cache': cache})
  pixels, chosen = build_pixels(config, build_table(config, 'val'))
  assert chosen == ('host' if cache == 'auto' else cache)
  assert pixels.shape == (16, 16)
  assert (pixels.kept is None) == (cache in ('stream', 'device'))


def test_the_cache_has_room_in_every_process(small_config, monkeypatch):
  """Another process has less memory: all take what it can."""
  monkeypatch.setattr(build_data, 'maximum', lambda place: max(place, 2))
  config = small_config({'data.cache_side': 16, 'data.cache': 'auto'})
  assert build_pixels(config, build_table(config, 'val'))[1] == 'stream'


def test_a_prepared_folder_gives_what_its_source_does(small_config, prepared_data):
  source = small_config({'data.cache': 'stream'})
  prepared = small_config({'data.cache': 'stream', 'data.root': str(prepared_data)})
  model = build_model(source)
  for name in ('train', 'val', 'test'):
    table, read = (build_table(config, name) for config in (source, prepared))
    assert fingerprint(read) == fingerprint(table)
    tokens, other = (build_tokens(source, each, model) for each in (table, read))
    np.testing.assert_array_equal(other, tokens)
    expected, found = (
      build_pixels(config, each)[0].take(np.arange(6))
      for config, each in ((source, table), (prepared, read))
    )
    np.testing.assert_array_equal(found.images, expected.images)
  expected, found = (build_evaluation_split(source, t, model) for t in (table, read))
  np.testing.assert_array_equal(found.images, expected.images)


def test_annotations_that_are_named_are_read_beside_prepared_files(
  small_config, write_data, tmp_path
):
  root = write_data(tmp_path / 'data')
  (root / 'incomplete').mkdir()
  fields = {'data.root': str(root)}
  with pytest.raises(UserError, match=r'prepared folder with manifest\.json'):
    build_table(small_config(fields), 'val')
  fields['data.annotations'] = 'captions.jsonl'
  assert build_table(small_config(fields), 'val').n_images == 6


def test_unreadable_images_are_skipped_where_the_config_says_so(
  small_config, write_data, tmp_path, caplog
):
  root = write_data(tmp_path / 'data')
  (root / 'images/val_2.png').write_bytes(b'no image')
  fields = {'data.root': str(root), 'data.on_bad_image': 'skip'}
  with caplog.at_level(logging.WARNING):
    table = build_table(small_config(fields), 'val')
  assert (table.n_images, table.n_captions) == (5, 10)
  assert caplog.text.count('val_2.png: expected') == 1
  assert build_table(small_config(fields | {'data.on_bad_image': 'raise'}), 'val')


def test_missing_images_are_skipped_where_the_config_says_so(
  small_config, write_data, tmp_path, caplog
):
  root = write_data(tmp_path / 'data')
  (root / 'images/val_2.png').unlink()
  fields = {'data.root': str(root)}
  with pytest.raises(UserError, match=r'first is val_2\.png .*on_bad_image=skip'):
    build_table(small_config(fields), 'val')
  fields['data.on_bad_image'] = 'skip'
  with caplog.at_level(logging.WARNING):
    table = build_table(small_config(fields), 'val')
  assert (table.n_images, table.n_captions) == (5, 10)
  assert 'skipped 1 of 6 images' in caplog.text


def test_a_table_is_read_as_the_config_says(small_config, write_data, tmp_path):
  root = write_data(tmp_path / 'data')
  rows = map(json.loads, (root / 'captions.jsonl').read_text().splitlines())
  lines = [f'/old/{r["image"]}\t{r["caption"]}\t{r["split"]}' for r in rows]
  text = '\n'.join(['picture\twords\tsplit', *lines]).replace('.png', '.tif')
  (root / 'own.csv').write_text(text)
  fields = {'data.root': str(root), 'data.annotations': 'own.csv'}
  fields |= {'data.columns': 'image=picture,caption=words', 'data.prefix': '/old='}
  with pytest.raises(UserError, match=r'differs in ending \(6\)'):
    build_table(small_config(fields), 'val')
  table = build_table(small_config(fields | {'data.match': 'name'}), 'val')
  assert table.image_files[0] == 'val_0.png'


def test_the_largest_image_is_the_configs_choice(small_config):
  config = small_config({'data.max_pixels': 100})
  with pytest.raises(UserError, match='more than max_pixels = 100'):
    build_pixels(config, build_table(config, 'val'))


def test_augmentation_takes_its_settings(small_config):
  settings = {'crop_scale': (1.0, 1.0), 'flip': False, 'rand_augment': (0, 0)}
  fields = {f'augment.{name}': value for name, value in settings.items()}
  rng = np.random.default_rng(0)
  resident = {'tokens': np.zeros((40, 3), np.int32)}
  batch = {
    **{name: np.arange(40, dtype=np.int32) for name in ('items', 'image_ids', 'rows')},
    **{name: np.zeros(40, np.int32) for name in ('seed', 'epoch')},
    'images': np.repeat(rng.integers(0, 256, (1, 16, 16, 3), np.uint8), 40, axis=0),
    'sizes': np.full((40, 2), 16, np.int32),
  }
  place = {'side': 16, 'mesh': make_mesh()}
  drawn = build_inputs(small_config(fields), **place)(resident, batch)['images']
  np.testing.assert_array_equal(drawn, batch['images'])
  turning = small_config(fields | {'augment.quarter_turns': True})
  turned = build_inputs(turning, **place)(resident, batch)['images']
  assert len({image.tobytes() for image in np.asarray(turned)}) == 4
