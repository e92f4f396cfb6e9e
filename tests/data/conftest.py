"""What tests of files from strangers share."""

import pytest
from hypothesis import strategies as st


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
