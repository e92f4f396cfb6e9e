"""Archives as they are published, and what tests of files from strangers share."""

import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image


def picture(number, *, form='JPEG', side=24):
  """The bytes of a picture."""
  pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
  content = io.BytesIO()
  Image.fromarray(pixels).save(content, form)
  return content.getvalue()


def write_tar(path, members, *, mode='w'):
  """A tar of (name, content), in this order."""
  with tarfile.open(path, mode) as tar:
    for name, content in members:
      info = tarfile.TarInfo(name)
      info.size = len(content)
      tar.addfile(info, io.BytesIO(content))
  return path


def img2dataset_members(numbers):
  """What img2dataset writes of pictures: KEY.jpg, KEY.txt, KEY.json."""
  for number in numbers:
    key, caption = f'{number:09}', f'fields and houses {number}'
    fields = {'caption': caption, 'url': 'https://example.org', 'key': key}
    fields |= {'status': 'success', 'width': 24, 'height': 24, 'original_width': 48}
    yield f'{key}.jpg', picture(number)
    yield f'{key}.json', json.dumps(fields).encode()
    yield f'{key}.txt', caption.encode()


def write_zip(path, members):
  with zipfile.ZipFile(path, 'w') as archive:
    for name, content in members:
      archive.writestr(name, content)
  return path


@pytest.fixture(scope='session')
def archives():
  """The functions that write archives, each from its description, by name."""
  return {
    'picture': picture,
    'tar': write_tar,
    'img2dataset': img2dataset_members,
    'zip': write_zip,
  }


@pytest.fixture(scope='session')
def damaged():
  """`damaged(contents)` draws one, some bytes replaced, perhaps its end lost."""

  @st.composite
  def draw_one(draw, contents):
    content = bytearray(draw(st.sampled_from(contents)))
    places = st.integers(0, len(content) - 1)
    changes = st.lists(st.tuples(places, st.integers(0, 255)), max_size=8)
    for place, byte in draw(changes):
      content[place] = byte
    return bytes(content[: draw(st.just(len(content)) | places)])

  return draw_one
