"""Parts of a page: everything that comes from data is escaped, pictures are small."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from harma_jax.errors import UserError
from harma_jax.reporting.page import (
  LONGEST,
  THUMBNAIL,
  escape,
  figure,
  page,
  picture,
  table,
)

HOSTILE = '"><script>alert(1)</script>'


def unreadable():
  raise UserError('gone')


def test_texts_of_the_data_are_escaped_everywhere():
  parts = [
    escape(HOSTILE),
    picture(unreadable, alt=HOSTILE),
    table([(HOSTILE, HOSTILE)], header=(HOSTILE, ''), caption=HOSTILE),
    page(HOSTILE, '', style=''),
  ]
  for part in parts:
    assert '<script' not in part
    assert '&quot;&gt;&lt;script&gt;' in part


def test_long_texts_are_cut_and_say_so():
  assert escape('a' * LONGEST) == 'a' * LONGEST
  assert escape('a' * (LONGEST + 1)) == 'a' * LONGEST + '...'


@pytest.mark.parametrize('size', [(640, 320), (40, 30)])
def test_a_picture_is_a_small_jpeg_within_the_page(size):
  pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3)).astype(np.uint8)
  tag = picture(lambda: Image.fromarray(pixels), alt='two ships')
  [source] = re.findall(r'src="data:image/jpeg;base64,([^"]*)" alt="two ships"', tag)
  with Image.open(io.BytesIO(base64.b64decode(source))) as image:
    assert image.format == 'JPEG'
    assert max(image.size) == min(max(size), THUMBNAIL)


def test_a_picture_that_cannot_be_read_is_blank():
  assert picture(unreadable, alt='a') == '<img src="data:," alt="a">'


def test_a_page_forbids_scripts_and_requests():
  text = page('t', figure('a', 'b'), style='p{color:red}')
  assert "default-src 'none'" in text
  assert 'script-src' not in text
  assert '<figure>a<figcaption>b</figcaption></figure>' in text


def test_a_table_names_its_rows_and_columns():
  text = table([('r', '1')], header=('', 'c'), numbers=True)
  assert '<th scope="col">c</th>' in text
  assert '<th scope="row">r</th><td>1</td>' in text
  assert 'class="numbers"' in text
  assert '<thead>' not in table([('r', '1')])
