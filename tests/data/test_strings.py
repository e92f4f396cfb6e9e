"""Many texts in one block of memory: a sequence as any other."""

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harma_jax.data.strings import Packer, Strings, json_parts, pack

TEXTS = st.lists(st.text(st.characters(exclude_categories=())), max_size=20)


@given(TEXTS, st.integers(1, 8))
def test_what_was_collected_comes_back(texts, at_once):
  packer = Packer(at_once=at_once)
  for text in texts:
    packer.append(text)
  strings = packer.strings()
  assert list(strings) == texts
  assert [strings[row] for row in range(len(texts))] == texts
  assert strings == texts
  assert strings == pickle.loads(pickle.dumps(strings))


def test_rows_are_taken_as_of_a_tuple():
  strings = pack(['a', 'é', '', 'wood'])
  assert len(strings) == 4
  assert strings[-1] == 'wood'
  assert strings[1:3] == ('é', '')
  assert isinstance(strings[::2], Strings)
  assert 'é' in strings
  with pytest.raises(IndexError):
    strings[4]


def test_what_differs_is_not_equal():
  strings = pack(['a', 'b'])
  assert strings == ('a', 'b')
  assert strings != ('a', 'c')
  assert strings != ('a',)
  assert strings != 'ab'
  assert repr(strings) == "<2 texts: 'a', ...>"


def test_memory_is_that_of_the_text():
  strings = pack(f'caption {row:04}' for row in range(10_000))
  assert len(pickle.dumps(strings)) < 10_000 * (12 + 8) + 1000


@given(TEXTS, st.integers(1, 8))
def test_parts_of_json_are_the_whole(texts, at_once):
  assert ''.join(json_parts(texts, at_once=at_once)) == json.dumps(texts)
