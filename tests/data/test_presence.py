"""What of a table is on the disk, and what is there under another name."""

import pathlib

import pytest

from harma_jax.data.presence import Alike, find_alike, look_for


@pytest.fixture
def root(tmp_path):
  """`root(*files)`: the image folder with these files, empty."""

  def make(*files):
    for file in files:
      path = tmp_path / 'images' / file
      path.parent.mkdir(parents=True, exist_ok=True)
      path.touch()
    return tmp_path / 'images'

  return make


def test_files_are_looked_for_in_every_folder(root):
  folder = root('a.jpg', 'b/c.jpg', 'b/d.jpg')
  names = ['b/d.jpg', 'x.jpg', 'a.jpg', 'b', 'gone/y.jpg', 'b/c.jpg', '\0.jpg']
  found = look_for({name: row for row, name in enumerate(names)}, root=folder)
  assert found.missing == [1, 3, 4, 6]
  assert found.outside == {}


def test_links_out_of_the_folder_are_told(root, tmp_path):
  folder = root('a.jpg')
  secret = tmp_path / 'secret.jpg'
  secret.touch()
  (folder / 'in.jpg').symlink_to('a.jpg')
  (folder / 'out.jpg').symlink_to(secret)
  (folder / 'up').symlink_to('..')
  rows = {'in.jpg': 0, 'out.jpg': 1, 'up/secret.jpg': 2}
  found = look_for(rows, root=folder)
  assert (found.missing, found.outside) == ([], {1: secret, 2: secret})


@pytest.mark.parametrize(
  ('name', 'files', 'alike'),
  [
    ('A.jpg', ['a.jpg'], Alike('a.jpg', 'case')),
    ('B/a.jpg', ['b/a.jpg'], Alike('b/a.jpg', 'case')),
    ('a.tif', ['a.jpg'], Alike('a.jpg', 'ending')),
    ('a.jpg', ['b/a.jpg'], Alike('b/a.jpg', 'folder')),
    ('b/a.jpg', ['a.jpg'], Alike('a.jpg', 'folder')),
    ('a.tif', ['b/A.PNG'], Alike('b/A.PNG', 'folder and ending')),
    ('b\\a.jpg', ['b/a.jpg'], Alike('b/a.jpg', 'folder')),
    ('https:/x.org/a.jpg', ['a.jpg'], Alike('a.jpg', 'folder')),
    ('x/b/a.jpg', ['b/a.jpg', 'c/a.jpg'], Alike('b/a.jpg', 'folder')),
    ('A.jpg', ['a.jpg', 'b/A.jpg'], Alike('a.jpg', 'case')),
    ('a.tif', ['a.jpg', 'a.png'], None),
    ('a.jpg', ['b/a.jpg', 'c/a.jpg'], None),
    ('a.jpg', ['a.txt', 'a.jpg.aux.xml', 'a.jgw'], None),
    ('a.jpg', ['ab.jpg'], None),
    ('a.b.tif', ['a.b.jpg', 'a.c.jpg'], Alike('a.b.jpg', 'ending')),
  ],
)
def test_the_file_that_differs_least_is_found(root, name, files, alike):
  assert find_alike([name], root=root(*files)).get(name) == alike


def test_a_link_is_no_candidate(root, tmp_path):
  folder = root('b.jpg')
  (tmp_path / 'a.jpg').touch()
  (folder / 'A.jpg').symlink_to(tmp_path / 'a.jpg')
  assert find_alike(['a.jpg'], root=folder) == {}
  assert find_alike(['a.jpg'], root=pathlib.Path(tmp_path / 'none')) == {}
