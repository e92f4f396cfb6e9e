"""What has become of files since they were indexed."""

import os

import pytest

from harma_jax.search_index.catalogue import File
from harma_jax.search_index.changes import find_changes, share_of, state_of


@pytest.fixture
def folder(tmp_path):
  for name in 'abcdefg':
    (tmp_path / name).write_text(name * 5)
  return tmp_path


def find(folder, known, **settings):
  names = sorted(path.name for path in folder.iterdir())
  return find_changes(names, known, images=folder, shards={'s'}, **settings)


def known_of(folder, names, *, verify=False, **changes):
  states = {name: state_of(folder / name, verify=verify) for name in names}
  return {
    name: File(size=s.size, mtime_ns=s.mtime_ns, sha256=s.sha256, shard='s', rows=1)
    for name, s in states.items()
  } | changes


def test_each_kind_is_told(folder):
  known = known_of(
    folder,
    'abcd',
    e=File(size=5, mtime_ns=0, error='no picture'),
    f=File(size=5, mtime_ns=state_of(folder / 'f').mtime_ns, shard='lost', rows=1),
    x=File(size=5, mtime_ns=0, shard='s', rows=1),
  )
  (folder / 'b').write_text('longer than it was')
  os.utime(folder / 'c', ns=(1, 1))
  changes = find(folder, known)
  assert changes.new == ['g']
  assert changes.changed == ['b', 'c', 'f']
  assert changes.failed == ['e']
  assert changes.gone == ['x']
  assert changes.same == ['a', 'd']
  assert changes.todo == ['b', 'c', 'e', 'f', 'g']


def test_content_decides_where_a_hash_is_known(folder):
  known = known_of(folder, 'abcd', verify=True) | known_of(folder, 'efg')
  times = (folder / 'b').stat()
  (folder / 'b').write_text('B' * 5)
  os.utime(folder / 'b', ns=(times.st_atime_ns, times.st_mtime_ns))
  os.utime(folder / 'c', ns=(1, 1))
  (folder / 'd').write_text('D' * 5)
  by_time = find(folder, known)
  assert (by_time.changed, by_time.touched) == (['d'], ['c'])
  by_content = find(folder, known, verify=True)
  assert by_content.changed == ['b', 'd']
  assert by_content.touched == ['c', 'e', 'f', 'g']  # the last had no hash so far
  assert by_content.same == ['a']


@pytest.mark.parametrize('count', [1, 2, 3, 5])
def test_shares_are_disjoint_all_and_about_as_large(count):
  names = [f'{number}.png' for number in range(1000)]
  shares = [share_of(names, (own, count)) for own in range(count)]
  assert sorted(name for share in shares for name in share) == sorted(names)
  assert min(map(len, shares)) > 0.8 * 1000 / count
  # More names do not move those that were there.
  assert set(shares[0]) <= set(share_of([*names, 'new.png'], (0, count)))
