"""Files that are whole or not there, also where a disk says late that it is full."""

import errno
import os

import pytest

from harma_jax.errors import UserError
from harma_jax.search_index.storage import replacing, writing


def failing(monkeypatch, code):
  def fsync(descriptor):
    del descriptor
    raise OSError(code, os.strerror(code))

  monkeypatch.setattr(os, 'fsync', fsync)


def write(path, content):
  with writing(path.parent), replacing(path) as new:
    new.write_text(content)


@pytest.mark.parametrize('code', [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_what_the_disk_could_not_take_replaces_nothing(tmp_path, monkeypatch, code):
  path = tmp_path / 'entry'
  write(path, 'old')
  failing(monkeypatch, code)
  with pytest.raises(UserError, match=f'--out.*{os.strerror(code)}'):
    write(path, 'new')
  assert path.read_text() == 'old'
  assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('code', [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_without_a_flush_is_no_mistake(tmp_path, monkeypatch, code):
  failing(monkeypatch, code)
  write(tmp_path / 'entry', 'new')
  assert (tmp_path / 'entry').read_text() == 'new'
