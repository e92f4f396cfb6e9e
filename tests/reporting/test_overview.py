"""What a report says of a run in words, and what it warns of."""

import pytest

from harma_jax.configs.common import get_config
from harma_jax.reporting.overview import cautions, in_short, overview_section
from harma_jax.rundir.workdir import flat

RESULTS = {'best_step': 8, 'steps': 12, 'selected_on': 'val'}


@pytest.fixture
def fields():
  """`fields({'seed': 3})`: of a run that started from a file."""

  def make(changes=None):
    start = {'init': '/home/me/clip.pt', 'data.root': '/data/rsicd/'}
    start |= {'model.size': 'ViT-B-32'}
    return flat(get_config()) | start | (changes or {})

  return make


def rows(chance, start, selected):
  named = {'chance': chance, 'ceiling': 90.0}
  named |= {'step 0': start, 'step 8, selected': selected}
  return {name: {'mean_recall': value} for name, value in named.items()}


def notes_of(fields, *, results=RESULTS, provenance=None, splits=None, skipped=0):
  splits = {'val': rows(1.0, 5.0, 20.0)} if splits is None else splits
  provenance = provenance or {}
  return cautions(
    fields, provenance=provenance, results=results, splits=splits, skipped=skipped
  )


def test_a_usual_run_is_only_told_what_holds_for_all(fields):
  seed, choice = notes_of(fields())
  assert 'one seed (0)' in seed
  assert 'The recall on val chose the step' in choice
  assert 'that of test was measured once' in choice


@pytest.mark.parametrize(
  ('changes', 'note'),
  [
    ({'evaluation.select_on': 'test'}, 'CHOSEN ON THE TEST SPLIT'),
    ({'data.test_split': ''}, 'no other split was evaluated'),
    ({'data.val_split': ''}, 'no validation split'),
    ({'data.hold_out': 0.1}, '10 % of the training images were held out'),
    ({'data.swap_captions': 0.2}, '20 % of the training captions were swapped'),
    ({'init': ''}, 'random weights'),
  ],
)
def test_what_a_config_weakens_is_said(fields, changes, note):
  assert note in ' '.join(notes_of(fields(changes)))


def test_pretrained_weights_are_not_random(fields):
  config = fields({'init': '', 'pretrain.optimizer.train': 'full'})
  assert not any('random weights' in note for note in notes_of(config))


@pytest.mark.parametrize(
  ('values', 'notes'),
  [
    ((1.0, 5.0, 5.0), ['did not raise']),
    ((4.0, 1.0, 7.0), ['below twice that of chance']),
    ((4.0, 8.0, 7.0), ['did not raise', 'below twice']),
    ((1.0, 5.0, 6.0), []),
  ],
)
def test_recalls_that_show_no_gain_are_said(fields, values, notes):
  found = notes_of(fields(), splits={'val': rows(*values)})[2:]
  assert len(found) == len(notes)
  for note, expected in zip(found, notes, strict=True):
    assert expected in note


def test_a_run_that_has_not_ended_is_said(fields):
  assert 'has not ended' in ' '.join(notes_of(fields(), results={}))
  assert in_short(fields(), results={}, counts={})['step'] == 'the run has not ended'


def test_skipped_steps_are_said(fields):
  assert '3 steps were skipped' in ' '.join(notes_of(fields(), skipped=3))


def test_notes_of_the_weights_reach_the_reader_through_runs(fields):
  provenance = {'init': 'b', 'run': {'init': 'a', 'notes': ['a has seen it']}}
  assert 'a has seen it' in notes_of(fields(), provenance=provenance)


def test_the_run_in_short(fields):
  short = in_short(fields(), results=RESULTS, counts={'val': ' of 9 images'})
  assert short['method'] == 'CLIP with HarMA adapters'
  assert short['data'] == 'rsicd (val of 9 images)'
  assert short['harmonization'] == 'off'
  assert short['step'] == '8 of 12, selected on val'
  other = in_short(
    fields({'model.adapters': 'lora', 'data.scenes.style': 'winter'}),
    results=RESULTS,
    counts={},
  )
  assert (other['method'], other['data']) == (
    'CLIP with LoRA',
    'drawn scenes of winter',
  )
  siglip = fields({'model.size': 'tiny-siglip,patch_size=16'})
  short = in_short(siglip, results=RESULTS, counts={})
  assert short['method'] == 'SigLIP with HarMA adapters'


def test_folders_of_the_machine_are_shortened_and_texts_escaped(fields):
  provenance = {'file': '/home/me/clip.pt', 'matched': {'tensors': '<b>'}}
  text = overview_section(fields(), provenance=provenance, results=RESULTS, counts={})
  assert '/home/me' not in text
  assert '<td>clip.pt</td>' in text
  assert '<th scope="row">matched.tensors</th><td>&lt;b&gt;</td>' in text
  assert 'Not recorded' in overview_section(
    fields(), provenance={}, results=RESULTS, counts={}
  )
