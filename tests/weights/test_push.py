"""Exports go to a hub: a stub of it on this machine, which keeps what it is sent."""

import base64
import http.server
import json
import subprocess
import sys
import threading

import pytest

from harma_jax.errors import UserError
from harma_jax.weights.push import check_repository

PUSH = """
import pathlib, sys
from harma_jax.errors import UserError
from harma_jax.weights.push import push
try:
  print(push(pathlib.Path(sys.argv[1]), repository='someone/clip'))
except UserError as error:
  print('error:', error)
"""


class Hub(http.server.BaseHTTPRequestHandler):
  """What huggingface_hub asks of a hub in order to make a repository and a commit."""

  made, files, token = [], {}, 'hf_right'

  def do_POST(self):
    body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
    if self.headers.get('Authorization') != f'Bearer {self.token}':
      return self.answer(401, {'error': 'Invalid username or password.'})
    if self.path == '/api/repos/create':
      self.made.append(json.loads(body))
      return self.answer(200, {'url': f'http://{self.headers["Host"]}/someone/clip'})
    if self.path == '/api/validate-yaml':
      return self.answer(200, {'errors': [], 'warnings': []})
    if self.path == '/api/models/someone/clip/preupload/main':
      asked = json.loads(body)['files']
      modes = {'uploadMode': 'regular', 'shouldIgnore': False}
      return self.answer(200, {'files': [{'path': f['path']} | modes for f in asked]})
    if self.path.startswith('/api/models/someone/clip/commit/main'):
      for line in map(json.loads, body.splitlines()):
        if line['key'] == 'file':
          self.files[line['value']['path']] = base64.b64decode(line['value']['content'])
      url = f'http://{self.headers["Host"]}/someone/clip/commit/abc'
      return self.answer(200, {'success': True, 'commitOid': 'abc', 'commitUrl': url})
    return self.answer(404, {'error': self.path})

  def answer(self, code, content):
    data = json.dumps(content).encode()
    self.send_response(code)
    self.send_header('Content-Type', 'application/json')
    self.send_header('Content-Length', str(len(data)))
    self.end_headers()
    self.wfile.write(data)

  def log_message(self, *_):
    pass


@pytest.fixture
def hub():
  Hub.made, Hub.files = [], {}
  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Hub)
  thread = threading.Thread(target=server.serve_forever, daemon=True)
  thread.start()
  yield f'http://127.0.0.1:{server.server_port}'
  server.shutdown()
  thread.join()
  server.server_close()


@pytest.fixture
def push(hub, environment, tmp_path):
  """`push(out, token)`: what a program prints that pushes to the stub."""

  def run(out, *, token='hf_right', endpoint=hub):
    own = {'HF_ENDPOINT': endpoint, 'HF_TOKEN': token, 'HF_HOME': str(tmp_path / 'hf')}
    ran = subprocess.run(
      [sys.executable, '-c', PUSH, str(out)],
      env=environment | {'HF_HUB_OFFLINE': '0'} | own,
      capture_output=True,
      text=True,
      timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()

  return run


def test_a_folder_arrives_whole(tmp_path, hub, push):
  out = tmp_path / 'model'
  out.mkdir()
  content = {'README.md': b'# a card\n', 'model.safetensors': bytes(range(256)) * 99}
  for name, data in content.items():
    (out / name).write_bytes(data)
  assert push(out) == f'{hub}/someone/clip/commit/abc'
  assert Hub.files == content
  assert [(made['organization'], made['name']) for made in Hub.made] == [
    ('someone', 'clip')
  ]


def test_a_file_takes_its_card_along(tmp_path, push):
  (tmp_path / 'w.safetensors').write_bytes(b'weights')
  (tmp_path / 'w.safetensors.md').write_bytes(b'# a card\n')
  push(tmp_path / 'w.safetensors')
  assert Hub.files == {'w.safetensors': b'weights', 'README.md': b'# a card\n'}


def test_a_hub_that_refuses_is_one_message(tmp_path, push):
  (tmp_path / 'w.safetensors').write_bytes(b'weights')
  (tmp_path / 'w.safetensors.md').write_bytes(b'# a card\n')
  printed = push(tmp_path / 'w.safetensors', token='hf_wrong')
  assert printed.startswith('error: --push=someone/clip: expected a hub that takes /')
  assert 'hf auth login' in printed
  assert 'w.safetensors' in printed
  assert 'Traceback' not in printed
  assert not Hub.files


@pytest.mark.parametrize('name', ['', 'clip', 'a/b/c', 'some one/clip', '/clip'])
def test_what_is_no_repository_is_refused(name):
  with pytest.raises(UserError, match=r'--push: expected a repository .* USER/NAME'):
    check_repository(name)
