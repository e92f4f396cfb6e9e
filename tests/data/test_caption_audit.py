"""What cleaning and the context do to captions: each kind, and beside all pairs."""

import itertools

import pytest

from harma_jax.data import caption_audit
from harma_jax.data.caption_audit import Captioned, Context, caption_changes
from harma_jax.data.cleaning import clean_released, clean_sound
from harma_jax.data.tokenizer import Tokenizer
from harma_jax.errors import UserError

LONG = ' '.join(f'boat{"s" * (i % 2)} and' for i in range(40))  # 80 words


def changes_of(*texts):
  return caption_changes([Captioned(f'row {i}', text) for i, text in enumerate(texts)])


def test_captions_that_nothing_changes_are_not_told():
  found = changes_of('A boat.', 'a boat', 'a T-shaped road', "it's a boat", ' ', '')
  for changes in found.values():
    assert changes.counts() == {'cut': 0, 'glued': 0, 'made equal': 0, 'empty': 0}


def test_each_way_cuts_where_it_does():
  found = changes_of('a boat', LONG, f'{LONG} here', ' '.join(['boat'] * 31))
  assert found['sound'].cut == (
    f'after 77 tokens: row 2: {LONG} here',
    f'after 77 tokens: row 1: {LONG}',
  )
  assert [line.split(':')[:2] for line in found['released'].cut] == [
    ['after 30 words', f' row {row}'] for row in (2, 1, 3)
  ]


def test_the_context_is_that_of_the_model():
  rows = [Captioned('row 0', 'a boat on a lake'), Captioned('row 1', 'a boat')]
  found = caption_changes(rows, context=Context(length=6))
  assert found['sound'].cut == ('after 6 tokens: row 0: a boat on a lake',)
  assert found['released'].cut == found['sound'].cut
  assert not caption_changes(rows, context=Context(length=7))['sound'].cut


def test_tokens_are_those_of_the_models_own_vocabulary():
  letters = Tokenizer(
    words=lambda texts: [list(text.encode()) for text in texts],
    normalize=lambda text: text,
    start=None,
    end=1,
    pad=1,
    vocabulary=256,
  )
  rows = [Captioned('row 0', 'a boat'), Captioned('row 1', 'boat')]
  found = caption_changes(rows, context=Context(length=6, tokenizer=letters))
  assert found['sound'].cut == ('after 6 tokens: row 0: a boat',)


def test_captions_that_differ_after_the_context_are_made_equal():
  found = changes_of(LONG, f'{LONG} here', LONG.upper(), 'a boat')
  for changes in found.values():
    assert changes.n_equal == 3
    [line] = changes.equal
    assert line == f'3 captions: "{LONG}" = "{LONG} here"'


def test_equal_captions_are_those_of_a_comparison_of_all_pairs():
  words = ['a', 'road', 'roads', 'x'] + ['y'] * 29
  signs = [' ', ',', '. ', '-', "'"]
  texts = [
    f'{first}{sign}{second} {" ".join(["y"] * n)} {last}'
    for first, second, last in itertools.product(words[:3], repeat=3)
    for sign in signs
    for n in (0, 30)
  ]
  changes = changes_of(*texts)['released']
  equal = {
    text
    for text, other in itertools.permutations(texts, 2)
    if clean_released(text) == clean_released(other)
    and clean_sound(text) != clean_sound(other)
  }
  # A group counts whole: those of the same words as another are in it too.
  groups = {clean_released(text) for text in equal}
  expected = sum(clean_released(text) in groups for text in texts)
  assert changes.n_equal == expected > 0


def test_words_and_captions_that_go_are_told():
  released = changes_of('trees,roads', '...', '3.5 km')['released']
  assert released.glued == ('row 0: trees,roads: trees,roads', 'row 2: 3.5: 3.5 km')
  assert released.empty == ('row 1: ...',)


def test_without_a_vocabulary_all_else_is_told(monkeypatch, caplog):
  def encode(*_, **keywords):
    raise UserError('Expected the vocabulary of CLIP.')

  monkeypatch.setattr(caption_audit, 'encode', encode)
  found = changes_of(LONG, 'trees,roads')
  assert found['sound'].counts()['cut'] == 0
  assert found['released'].counts()['cut'] == found['released'].counts()['glued'] == 1
  assert 'Expected the vocabulary' in caplog.text


@pytest.mark.parametrize('cleaning', ['released', 'sound'])
def test_a_caption_of_as_many_tokens_as_fit_is_whole(cleaning):
  words = ['photovoltaic'] * 25  # of three tokens each, and 77 with start and end
  assert changes_of(' '.join(words))[cleaning].cut == ()
  assert len(changes_of(' '.join([*words, 'field']))[cleaning].cut) == 1
