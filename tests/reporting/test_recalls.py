"""Tables of recall equal what the run recorded; published rows where they belong."""

import json
import re

import pytest

from harma_jax.evaluation.recall import RECALLS
from harma_jax.reporting.published import PUBLISHED, published_rows
from harma_jax.reporting.recalls import (
  recalls_section,
  splits_of,
  step_of,
)


def recall(value):
  return {name: value + k for k, name in enumerate(RECALLS)}


SPLITS = {
  'val': {'chance': recall(0.5), 'step 0': recall(1.25), 'step 9, last': recall(7)}
}


WHOLE = {
  'rsitmd': {'images': 452, 'captions': 2260},
  'rsicd': {'images': 1093, 'captions': 5465},
}


def section_of(splits=SPLITS, *, data_name='scenes', test_set=None):
  whole = WHOLE.get(data_name.lower(), {})
  return recalls_section(
    splits,
    counts={'val': ' of 5 images'},
    data_name=data_name,
    test_set=whole if test_set is None else test_set,
  )


def test_a_table_has_the_recorded_values():
  text = section_of()
  rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', text)
  read = {
    name: [float(v) for v in re.findall('<td>(.*?)</td>', row)] for name, row in rows
  }
  assert read == {name: list(of.values()) for name, of in SPLITS['val'].items()}
  assert '<caption>val: recall in % of 5 images</caption>' in text


def test_a_run_without_evaluation_says_so():
  assert 'evaluated nothing' in section_of({})


@pytest.mark.parametrize('name', ['rsicd', 'RSICD', 'rsitmd'])
def test_published_rows_stand_beside_their_data_set(name):
  text = section_of(data_name=name)
  assert 'published by others' in text
  assert 'not measured here' in text
  assert 'There is no recall on test' in text
  for row in json.loads(PUBLISHED.read_text())['rows']:
    assert f'<td>{row["mR"][name.lower()]:.2f}</td>' in text
    assert row['source'] in text


def test_beside_published_rows_stands_the_expectation_over_ties():
  expected = {f'{name}_expected': 44.25 for name in RECALLS}
  rows = {'chance': recall(0.5), 'step 9, selected': recall(7) | expected}
  text = section_of({'test': rows}, data_name='rsicd')
  assert 'There is no recall' not in text
  _, published = text.split('published by others, on the test split')
  assert 'this run, step 9, selected, ties at random' in published
  assert '<td>44.25</td>' in published
  assert f'{recall(7)["mean_recall"]:.2f}' not in published


@pytest.mark.parametrize('name', WHOLE)
def test_only_the_whole_published_test_split_compares(name):
  part = WHOLE[name] | {'images': WHOLE[name]['images'] - 1}
  text = section_of(data_name=name, test_set=part)
  assert f'split here has {part["images"]:,} images and {part["captions"]:,}' in text
  assert 'arXiv' in text
  unknown = section_of(data_name=name, test_set={})
  assert 'was not recorded: the command that trained, given again' in unknown
  for row in json.loads(PUBLISHED.read_text())['rows']:
    assert row['method'] not in text + unknown


def test_the_counts_of_published_test_splits_have_sources():
  found = json.loads(PUBLISHED.read_text())['test_sets']
  sources = {name: counts.pop('source') for name, counts in found.items()}
  assert found == WHOLE
  assert all(source.startswith('arXiv ') for source in sources.values())


@pytest.mark.parametrize('name', ['scenes', 'rsitmd_sample', ''])
def test_other_data_have_no_published_rows(name):
  assert published_rows(name) == []
  assert 'published' not in section_of(data_name=name)


def test_each_published_row_has_a_source_and_says_how_it_was_chosen():
  for row in json.loads(PUBLISHED.read_text())['rows']:
    assert set(row) == {'method', 'mR', 'weights', 'selection', 'source'}
    assert row['source'].startswith('arXiv ')
    assert set(row['mR']) == {'rsitmd', 'rsicd'}


def row_of(step, value, split='val'):
  return {'kind': 'evaluation', 'step': step, 'split': split} | dict.fromkeys(
    RECALLS, value
  )


@pytest.mark.parametrize(
  ('values', 'expected'),
  [
    ([1.0], ['step 0']),
    ([1.0, 3.0], ['step 0', 'step 1, best so far']),
    ([1.0, 3.0, 2.0], ['step 0', 'step 1, best so far', 'step 2, last so far']),
    ([3.0, 2.0, 1.0], ['step 0', 'step 2, last so far']),
  ],
)
def test_a_run_that_has_not_ended_shows_its_best_and_last_step(values, expected):
  rows = [row_of(step, value) for step, value in enumerate(values)]
  splits = splits_of([*rows, row_of(0, 4.0, split='test')])
  assert list(splits['val']) == expected
  assert splits['test'] == {'step 0': dict.fromkeys(RECALLS, 4.0)}


def test_steps_are_read_from_the_names_of_rows():
  assert step_of('step 138, selected') == 138
  assert step_of('chance') is None
