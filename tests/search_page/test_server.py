"""The page's server, asked over loopback; the search is one of plain products."""

import functools
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import pytest
from PIL import Image

from harma_jax.errors import UserError
from harma_jax.search_index.query import search
from harma_jax.search_page.archive import Archive
from harma_jax.search_page.server import serve

uvicorn = pytest.importorskip('uvicorn', reason="no uvicorn: 'harma_jax[serve]'")
pytest.importorskip('starlette', reason="no starlette: 'harma_jax[serve]'")

CORNERS = np.array([[7.0, 46.0], [7.0, 45.9], [7.1, 45.9], [7.1, 46.0]])


@pytest.fixture
def archive(made_index, unit_rows, tmp_path):
  """Seven pictures, of which the first is gone and the second has no place."""
  features = unit_rows(7)
  corners = CORNERS + np.arange(7)[:, None, None] * [1, 0]
  corners[1] = np.nan
  boxes = np.tile(np.array([[2, 3, 4, 5]], np.int32), (7, 1))
  index = made_index(features, corners=corners, boxes=boxes, tile=4)
  (tmp_path / 'pictures').mkdir()
  for number in range(1, 7):
    image = Image.new('RGB', (40, 30), (number, 2, 3))
    image.save(tmp_path / f'pictures/{number:03}.png')
  asked = []

  def find(*, text, image, minus, **settings):
    asked.append({'text': text, 'image': image, 'minus': minus} | settings)
    return search(index, features[3], **settings)

  return functools.partial(Archive, index=index)(search=find), asked


@pytest.fixture
def call(archive):
  """`call(method, path, body=None, headers={})`: status, headers, bytes."""
  address, failed = [], []

  def run():
    try:
      serve(archive[0], host='127.0.0.1', port=0, ready=address.append)
    except BaseException as error:
      failed.append(error)

  class Quiet(uvicorn.Server):
    def capture_signals(self):  # only the main thread may
      servers.append(self)
      return super().capture_signals()

  servers, original = [], uvicorn.Server
  uvicorn.Server = Quiet
  thread = threading.Thread(target=run, daemon=True)
  thread.start()
  while not (address and servers) and not failed:
    time.sleep(0.01)
  port = int(address[0].rsplit(':', 1)[1].strip('/'))

  def send(method, path, body=None, **headers):
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=20)
    own = {name.replace('_', '-'): value for name, value in headers.items()}
    connection.request(method, path, body=body, headers=own)
    response = connection.getresponse()
    return response.status, response.headers, response.read()

  send.port = port
  yield send
  servers[0].should_exit = True
  thread.join(20)
  uvicorn.Server = original


@pytest.fixture
def ask(call):
  """`ask(fields, form='json')`: status and what came back, as JSON."""

  def send(fields, form='json'):
    body = json.dumps(fields)
    path = f'/search?form={form}'
    status, _, found = call('POST', path, body, Content_Type='application/json')
    return status, json.loads(found)

  return send


def test_the_page_fetches_nothing_from_elsewhere(call):
  for path in ('/', '/page.css', '/page.js', '/icon.svg'):
    status, headers, content = call('GET', path)
    assert status == 200
    assert b'http' not in content.replace(b'http://www.w3.org/2000/svg', b'')
    assert "default-src 'none'" in headers['content-security-policy']
    assert headers['x-content-type-options'] == 'nosniff'


def test_it_says_what_is_searched(call):
  about = json.loads(call('GET', '/about')[2])
  assert about == {
    'name': 'index',
    'images': 7,
    'rows': 7,
    'placed': 6,
    'tiled': True,
  }


def test_a_text_finds_rows_with_their_places(ask, archive):
  status, found = ask({'text': 'boats', 'minus': 'clouds', 'top': 7})
  assert status == 200
  first = found['hits'][0]
  assert (first['number'], first['row'], first['scene']) == (1, 3, '003.png')
  assert first['cosine'] == 1.0
  assert first['centre'] == pytest.approx([10.05, 45.95], abs=1e-3)
  assert first['outline']['type'] == 'Polygon'
  assert first['box'] == [2, 3, 4, 5]
  assert [hit['row'] for hit in found['hits'] if 'centre' not in hit] == [1]
  [asked] = archive[1]
  assert (asked['text'], asked['minus'], asked['top']) == ('boats', 'clouds', 7)


def test_a_row_asks_by_its_own_picture(ask, archive):
  assert ask({'row': 4})[0] == 200
  assert archive[1][0]['image'].getpixel((0, 0)) == (4, 2, 3)
  assert archive[1][0]['image'].size == (4, 5)


def test_what_is_shown_can_be_had_as_geojson(ask):
  status, found = ask({'text': 'boats', 'top': 3}, form='geojson')
  assert status == 200
  assert found['type'] == 'FeatureCollection'
  assert found['features'][0]['properties']['image'] == '003.png'


def test_and_as_geoparquet(call):
  pytest.importorskip('pyarrow', reason="no pyarrow: 'harma_jax[parquet]'")
  body = json.dumps({'text': 'boats', 'top': 3})
  path = '/search?form=geoparquet'
  status, _, found = call('POST', path, body, Content_Type='application/json')
  assert status == 200
  assert found[:4] == found[-4:] == b'PAR1'


def test_places_can_be_asked_for(ask):
  pytest.importorskip('shapely', reason="no shapely: 'harma_jax[geo]'")
  _, found = ask({'text': 'boats', 'bbox': '11.5,45,12.5,47'})
  assert [hit['row'] for hit in found['hits']] == [5]
  status, found = ask({'text': 'boats', 'bbox': 'Alps'})
  assert (status, '--bbox' in found['error']) == (422, True)


def test_pictures_are_of_rows_alone(call):
  status, headers, content = call('GET', '/tile/2')
  assert (status, headers['content-type'], content[:2]) == (
    200,
    'image/jpeg',
    b'\xff\xd8',
  )
  assert call('GET', '/scene/2')[0] == 200
  assert call('GET', '/tile/0')[0] == 410  # the file is gone
  for path in ('/tile/7', '/tile/-1', '/tile/003.png', '/scene/x', '/manifest.json'):
    assert call('GET', path)[0] == 404


def test_another_name_for_this_machine_is_refused(call):
  assert call('GET', '/about', Host='archive.example')[0] == 400


def test_another_site_cannot_ask(call):
  body = json.dumps({'text': 'boats'})
  assert call('POST', '/search', body, Content_Type='text/plain')[0] == 415


@pytest.mark.parametrize('body', ['', '{', '[' * 100_000, '"text"', '{"text": 1}'])
def test_nonsense_is_one_message(call, body):
  status, _, found = call('POST', '/search', body, Content_Type='application/json')
  assert status in (400, 422)
  assert json.loads(found)['error']


def test_a_port_that_is_taken_is_one_message(archive):
  import socket

  with socket.socket() as taken:
    taken.bind(('127.0.0.1', 0))
    taken.listen()
    port = taken.getsockname()[1]
    with pytest.raises(UserError, match='--port'):
      serve(archive[0], host='127.0.0.1', port=port, ready=lambda _: None)


PROGRAM = """
from harma_jax import cli
from harma_jax.cli.serve_flags import serve_archive
from harma_jax.search_index.index import open_index
from harma_jax.search_page.archive import Archive

cli.run(lambda argv: serve_archive(Archive(index=open_index(argv[1]), search=None)))
"""


@pytest.mark.parametrize(('number', 'code'), [('SIGINT', 130), ('SIGTERM', 143)])
def test_a_page_that_is_interrupted_ends_with_one_line(
  made_index, unit_rows, environment, number, code
):
  index = str(made_index(unit_rows(7)).folder)
  words = [sys.executable, '-c', PROGRAM, index, '--port=0']
  pipes = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE}
  with subprocess.Popen(words, env=environment, text=True, **pipes) as program:
    address = program.stdout.readline().split(': ')[0]
    with urllib.request.urlopen(address) as page:
      assert page.status == 200
    program.send_signal(signal.Signals[number])
    said = program.stderr.read()
  assert (program.returncode, said) == (code, 'Interrupted.\n')
