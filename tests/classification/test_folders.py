"""Folders of classes, the words of their names, and the files beside them."""

import json

import pytest

from harma_jax.classification.folders import (
  find_classes,
  name_classes,
  read_classes,
  read_folders,
  read_templates,
)
from harma_jax.errors import UserError
from harma_jax.evaluation.zero_shot import TEMPLATES


@pytest.fixture
def root(tmp_path):
  """Two classes, and what is none of them."""
  for name in ('Port/b.JPG', 'Port/a.tif', 'Port/.c.jpg', 'Port/note.txt'):
    (tmp_path / 'root' / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / 'root' / name).touch()
  (tmp_path / 'elsewhere').mkdir()
  (tmp_path / 'elsewhere/x.png').touch()
  (tmp_path / 'root/BareLand').symlink_to(tmp_path / 'elsewhere')
  (tmp_path / 'root/.hidden').mkdir()
  (tmp_path / 'root/overview.png').touch()
  return tmp_path / 'root'


def test_classes_are_the_folders_with_their_images(root):
  found = find_classes(root)
  assert list(found) == ['BareLand', 'Port']
  assert found['Port'] == [root / 'Port/a.tif', root / 'Port/b.JPG']
  assert found['BareLand'] == [root / 'BareLand/x.png']


def test_folders_that_are_no_classes_are_refused(root, tmp_path):
  with pytest.raises(UserError, match='gone is none'):
    find_classes(tmp_path / 'gone')
  with pytest.raises(UserError, match=r'two folders or more in .*; found none'):
    find_classes(root / 'Port')
  (root / 'val/Port').mkdir(parents=True)
  (root / 'val/Port/x.jpg').touch()
  with pytest.raises(UserError, match='found none directly in val'):
    find_classes(root)
  with pytest.raises(UserError, match='found Port'):
    find_classes(root / 'val')


def test_a_file_overrides_names_line_by_line_or_as_json(tmp_path):
  lines, other = tmp_path / 'names.tsv', tmp_path / 'names.json'
  lines.write_text('port\t a harbour \n\n', encoding='utf-8')
  other.write_text(json.dumps({'port': 'a harbour'}))
  for file in (lines, other):
    names = name_classes(['BareLand', 'port'], file=str(file))
    assert names == {'BareLand': 'bare land', 'port': 'a harbour'}


@pytest.mark.parametrize(
  ('name', 'text', 'message'),
  [
    ('a.tsv', 'port\tharbour\nharbor\tharbour', "BareLand, port; found 'harbor'"),
    ('a.tsv', 'port\tbare LAND', "found 'bare LAND' for port, also BareLand"),
    ('a.tsv', 'port\t...', "found '...' for port, no word"),
    ('a.tsv', 'port\tx\nport harbour', 'line 2: .* found .port harbour.'),
    ('a.tsv', 'port\tx\nport\ty', 'line 2: .* each folder once'),
    ('a.json', '{"port": ["harbour"]}', r'one object.*found \["harbour"\]'),
    ('a.json', '["port"]', 'one object'),
    ('a.json', '{"port": ', 'expected JSON'),
  ],
)
def test_files_of_classes_that_do_not_fit_are_refused(tmp_path, name, text, message):
  (tmp_path / name).write_text(text)
  with pytest.raises(UserError, match=message):
    name_classes(['BareLand', 'port'], file=str(tmp_path / name))


def test_only_names_that_no_file_gives_are_warned_of(tmp_path, caplog):
  file = tmp_path / 'names.tsv'
  file.write_text('cropfields\tfields of crops\n')
  names = name_classes(['cropfields', 'sportsfields'], file=str(file))
  assert names == {'cropfields': 'fields of crops', 'sportsfields': 'sportsfields'}
  assert 'sportsfields (sports fields?)' in caplog.text
  assert 'cropfields (' not in caplog.text


def test_folders_of_the_same_words_want_names(tmp_path):
  with pytest.raises(UserError, match="'bare land' for bare_land, also BareLand"):
    name_classes(['BareLand', 'bare_land'])


def test_templates_are_lines_with_a_place_for_the_name(tmp_path):
  file = tmp_path / 'templates.txt'
  file.write_text('a photo of a {}.\n\n  {} from above\n')
  assert read_templates(file) == ['a photo of a {}.', '{} from above']
  file.write_text('a photo\n')
  with pytest.raises(UserError, match=f"--templates={file}: .* found 'a photo'"):
    read_templates(file)


def test_files_that_cannot_be_read_are_named(tmp_path):
  with pytest.raises(UserError, match=r'--templates=.*gone\.txt'):
    read_templates(tmp_path / 'gone.txt')
  (tmp_path / 'latin.tsv').write_bytes(b'port\t\xe9')
  with pytest.raises(UserError, match=r'--classes=.*latin.tsv: .*UTF-8'):
    read_classes(tmp_path / 'latin.tsv')


def test_folders_are_read_with_their_names_and_prompts(root, tmp_path):
  plain = read_folders(root)
  assert plain.names == {'BareLand': 'bare land', 'Port': 'port'}
  assert plain.templates == list(TEMPLATES)
  assert plain.images == find_classes(root)
  names, prompts = tmp_path / 'names.tsv', tmp_path / 'prompts.txt'
  names.write_text('Port\ta harbour')
  prompts.write_text('{} from above')
  named = read_folders(root, classes=str(names), templates=str(prompts))
  assert named.names == {'BareLand': 'bare land', 'Port': 'a harbour'}
  assert named.templates == ['{} from above']
