"""The report of a run: one page that fetches nothing and says what it leaves out."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest

from harma_jax.errors import UserError
from harma_jax.evaluation.recall import RECALLS
from harma_jax.reporting.report import report

VOID = ('meta', 'img', 'br', 'path', 'rect', 'circle', 'polyline')
LEFT_OUT = 'The data set could not be read, or is not what the run was trained on'


class Parsed(HTMLParser):
  """The elements of a page; fails where one is not closed in order."""

  def __init__(self, text):
    super().__init__()
    self.open, self.elements = [], []
    self.feed(text)
    self.close()
    assert not self.open

  def handle_starttag(self, tag, attributes):
    self.elements.append((tag, dict(attributes)))
    if tag not in VOID:
      self.open.append(tag)

  def handle_startendtag(self, tag, attributes):
    self.elements.append((tag, dict(attributes)))

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def of(self, tag):
    return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope='module')
def page(finished_run):
  return report(finished_run)


def cautions_of(text):
  return re.search('<section class="caution">.*?</section>', text)[0]


def test_the_page_is_sound_and_fetches_nothing(page):
  parsed = Parsed(page)
  for tag, attributes in parsed.elements:
    assert not attributes.keys() & {'href', 'srcset', 'action', 'xlink:href', 'onerror'}
    assert attributes.get('src', 'data:').startswith('data:'), tag
  assert not re.search(r'url\(|@import|<script|<link|<iframe', page)
  assert all(image['alt'] for image in parsed.of('img'))
  drawings = [svg for svg in parsed.of('svg') if 'aria-hidden' not in svg]
  assert all(svg['role'] == 'img' and svg['aria-label'] for svg in drawings)
  assert len(drawings) >= 5


def test_its_tables_are_those_of_the_results(page, finished_run):
  results = json.loads((finished_run / 'results.json').read_text())
  for split, rows in results['splits'].items():
    table = re.search(rf'<caption>{split}: recall in %.*?</table>', page)[0]
    for name, recall in rows.items():
      cells = re.search(rf'<th scope="row">{name}</th>(.*?)</tr>', table)[1]
      assert re.findall('<td>(.*?)</td>', cells) == [
        f'{recall[key]:.2f}' for key in RECALLS
      ]


def test_it_recomputes_what_was_recorded(page, finished_run):
  results = json.loads((finished_run / 'results.json').read_text())
  value = list(results['splits']['val'].values())[-1]['mean_recall']
  gain = value - results['splits']['val']['step 0']['mean_recall']
  assert f'before: {gain:+.2f}, 95 % interval over queries' in cautions_of(page)
  assert f'mean recall {value:.2f}, recorded {value:.2f}.' in cautions_of(page)


def test_it_has_every_section(page):
  assert re.findall('<h2>(.*?)</h2>', page) == [
    *('Before you trust it', 'The run', 'Recall', 'Curves', 'Conflicts', 'Queries'),
    *('Similarity by scene class', 'Images and captions in two dimensions'),
  ]
  assert 'Harmonization is off' in page
  assert 'do not tell two classes' in page
  assert 'before training' in page
  assert 'started from random weights' in cautions_of(page)


def test_it_has_no_path_of_the_machine(page, finished_run, small_data):
  assert str(finished_run.parent) not in page
  assert str(small_data.parent) not in page


def test_its_size_is_bounded_and_said(page):
  # Six images of noise, each shown in several places.
  assert len(page.encode()) < 1_000_000
  assert re.search(r'About 0\.\d MB', page)


def test_hostile_captions_are_shown_as_text(copied, small_data, tmp_path):
  data = shutil.copytree(small_data, tmp_path / 'data')
  hostile = '"><img src=x onerror=alert(1)></p><script src=//evil.example/a.js>'
  captions = (data / 'captions.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in captions]
  rows = [row | {'caption': f'{row["caption"]} {hostile}'} for row in rows]
  (data / 'captions.jsonl').write_text('\n'.join(map(json.dumps, rows)))
  workdir = copied()
  (workdir / 'data.json').unlink()
  text = report(workdir, data_root=str(data))
  parsed = Parsed(text)
  assert not parsed.of('script')
  assert not any('onerror' in image for image in parsed.of('img'))
  assert '&lt;script src=//evil.example/a.js&gt;' in text


def test_without_the_data_its_parts_are_left_out(copied, tmp_path):
  text = report(copied(), data_root=str(tmp_path / 'gone'))
  Parsed(text)
  assert LEFT_OUT in cautions_of(text)
  assert '<h2>Recall</h2>' in text
  assert '<h2>Queries</h2>' not in text
  assert str(tmp_path) not in text


def test_other_data_are_not_taken_for_those_of_the_run(copied, small_data, tmp_path):
  data = shutil.copytree(small_data, tmp_path / 'data')
  captions = (data / 'captions.jsonl').read_text()
  (data / 'captions.jsonl').write_text(captions.replace('boats', 'ships'))
  assert LEFT_OUT in report(copied(), data_root=str(data))


def test_starting_weights_that_changed_are_not_shown_as_before(copied):
  text = report(copied({'seed': 3}))
  assert 'Before training: left out' in text
  assert '>after training<' in text
  assert '>before training<' not in text


def test_a_result_that_does_not_come_again_is_said(copied):
  workdir = copied()
  (workdir / 'results.json').unlink()
  path = workdir / 'metrics.jsonl'
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  for row in rows:
    if row.get('split') == 'val':
      row['mean_recall'] -= 20
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  assert 'DOES NOT AGREE' in cautions_of(report(workdir))


def test_a_run_that_has_not_ended_says_so(copied):
  workdir = copied()
  (workdir / 'results.json').unlink()
  text = report(workdir)
  assert 'The run has not ended' in cautions_of(text)
  assert re.search(r'step \d+, (best|last) so far', text)


def test_a_choice_on_test_is_said_loudly(copied):
  text = report(copied({'evaluation.select_on': 'test'}))
  assert 'CHOSEN ON THE TEST SPLIT' in cautions_of(text)


def test_a_folder_without_a_saved_step_is_a_mistake(finished_run, tmp_path):
  with pytest.raises(UserError, match='work folder of a run'):
    report(tmp_path)
  shutil.copy(finished_run / 'config.json', tmp_path)
  with pytest.raises(UserError, match='saved steps'):
    report(tmp_path)
