"""The program's commands as a user types them, and what they print and write."""

import base64
import io
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
from typing import NamedTuple

import numpy as np
from PIL import Image

BOX = ('left', 'top', 'width', 'height')


class Printed(NamedTuple):
  """What a command left: its exit code, its output and its messages."""

  code: int
  out: str
  messages: str

  def rows(self, name: str) -> list[str]:
    """What a table of two columns says in its rows of a name, line breaks undone."""
    found, current = [], None
    for line in self.out.splitlines():
      match = re.fullmatch(r'│ (.+?) +│ (.*?) *│', line) or re.fullmatch(
        r'│( +)│ (.*?) *│', line
      )
      if match and match[1].strip():
        current = match[1]
        if current == name:
          found.append(match[2])
      elif match and current == name:
        found[-1] += f' {match[2]}'
    return found

  @property
  def last_message(self) -> str:
    """The last line of the messages."""
    return (self.messages.strip().splitlines() or [''])[-1]

  @property
  def is_refusal(self) -> bool:
    """Whether it is one message to the user."""
    return self.code == 2 and 'Traceback' not in self.messages


class Check(NamedTuple):
  """One thing that was asked of a case, what was found, and whether that is right."""

  asked: str
  found: str
  is_right: bool
  case: str = ''


class Program:
  """The commands, with the model of one run and a folder for what they write."""

  def __init__(
    self, run: pathlib.Path, *, scratch: pathlib.Path, repository: pathlib.Path
  ):
    self.run, self.scratch, self._repository = run, scratch, repository
    self._numbers = itertools.count()

  def call(self, module: str, *words: str) -> Printed:
    """Runs `python -m harma_jax.<module>` in the scratch folder."""
    done = subprocess.run(
      [sys.executable, '-m', f'harma_jax.{module}', *words],
      cwd=self.scratch,
      env=os.environ | {'PYTHONPATH': str(self._repository)},
      capture_output=True,
      text=True,
      check=False,
    )
    return Printed(done.returncode, done.stdout, done.stderr)

  def new(self, name: str) -> pathlib.Path:
    """A path in the scratch folder where nothing is."""
    return self.scratch / f'{next(self._numbers)}_{name}'

  def index(
    self, images: pathlib.Path, *flags: str, out: pathlib.Path | None = None
  ) -> tuple[pathlib.Path, Printed]:
    """The index of a folder, and what was printed."""
    out = out or self.new('index')
    model = (f'--workdir={self.run}', f'--images={images}', f'--out={out}')
    return out, self.call('search', 'index', *model, *flags)

  def answers(self, index: pathlib.Path, query: str, *flags: str) -> list[dict]:
    """What an index answers, as lines of JSON have it."""
    queries, out = self.new('queries.txt'), self.new('answers.jsonl')
    queries.write_text(f'{query}\n')
    where = (f'--index={index}', f'--queries={queries}', f'--out={out}')
    printed = self.call('search', 'query', *where, *flags)
    if printed.code:
      raise RuntimeError(printed.messages)
    return [json.loads(line) for line in out.read_text().splitlines()]

  def mapped(
    self, index: pathlib.Path, query: str, *flags: str
  ) -> tuple[list[dict], Printed]:
    """The features of GeoJSON of what an index answers; none where it is refused."""
    out = self.new('hits.geojson')
    where = (f'--index={index}', f'--geojson={out}')
    printed = self.call('search', 'query', *where, query, *flags)
    features = json.loads(out.read_text())['features'] if out.exists() else []
    return features, printed

  def similarities(self, index: pathlib.Path, query: str) -> dict[tuple, float]:
    """Cosines of all rows of an index, by the image and its box."""
    rows = self.answers(index, query, '--overlap=keep', '--top=100000')
    return {
      (row['image'], *(row[side] for side in BOX)): row['similarity'] for row in rows
    }

  def shown(self, index: pathlib.Path, query: str) -> dict[tuple, np.ndarray]:
    """The pictures of the page of all rows of one scene, by box: f64[H, W, 3]."""
    page = self.new('page.html')
    flags = (f'--html={page}', '--overlap=keep', '--top=1000')
    features, printed = self.mapped(index, query, *flags)
    if printed.code:
      raise RuntimeError(printed.messages)
    encoded = re.findall(
      r'<img [^>]*src="data:image/\w+;base64,([^"]+)"', page.read_text()
    )
    return {
      tuple(feature['properties']['box']): _pixels(base64.b64decode(image))
      for feature, image in zip(features, encoded, strict=True)
    }


def _pixels(content: bytes) -> np.ndarray:
  with Image.open(io.BytesIO(content)) as image:
    return np.asarray(image.convert('RGB'), np.float64)
