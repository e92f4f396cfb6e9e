"""The page in a browser: by clicks and keys, wide and narrow, light and dark.

Needs playwright and a Chromium: pip install playwright, and CHROMIUM=PATH where it is
none of playwright's own.
"""

import json
import os
import shutil

import pytest

from tests.search_page.test_server import archive, call

playwright = pytest.importorskip(
  'playwright.sync_api', reason='no playwright: pip install playwright'
)
CHROMIUM = os.environ.get('CHROMIUM') or shutil.which('chromium')
pytestmark = pytest.mark.skipif(not CHROMIUM, reason='no Chromium: set CHROMIUM=PATH')

__all__ = ['archive', 'call']


@pytest.fixture(params=[(1280, 'light'), (400, 'dark')], ids=['wide', 'narrow'])
def page(request, call):
  width, scheme = request.param
  with playwright.sync_playwright() as own:
    browser = own.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
    page = browser.new_page(
      viewport={'width': width, 'height': 800}, color_scheme=scheme
    )
    page.trouble = []
    page.on('pageerror', lambda error: page.trouble.append(str(error)))
    page.on(
      'request',
      lambda sent: (
        page.trouble.append(sent.url)
        if str(call.port) not in sent.url and not sent.url.startswith('blob:')
        else None
      ),
    )
    page.goto(f'http://127.0.0.1:{call.port}/')
    yield page
    assert page.trouble == []
    browser.close()


def _search(page, text):
  page.fill('#text', text)
  with page.expect_response('**/search*'):
    page.keyboard.press('Enter')
  page.wait_for_selector('#hits li')


def test_a_search_by_keys_shows_pictures_places_and_the_scene(page):
  _search(page, 'boats <b>')
  assert page.locator('#hits li').count() == 7
  assert page.inner_text('#count') == '7 places'
  assert '6 with a place, 1 without one' in page.inner_text('#map_words')
  assert page.locator('#map .box').count() == 6
  images = page.locator('#hits img')
  assert all(images.nth(i).get_attribute('alt') for i in range(7))
  assert page.evaluate('document.documentElement.scrollWidth <= window.innerWidth')
  page.focus('#hits button')
  page.keyboard.press('ArrowRight')
  page.keyboard.press('Enter')
  assert page.locator('#scene').is_visible()
  assert 'number 2 framed' in page.get_attribute('#scene_image', 'alt')
  page.keyboard.press('Escape')
  assert not page.locator('#scene').is_visible()


def test_what_is_shown_is_downloaded(page, tmp_path):
  _search(page, 'boats')
  with page.expect_download() as found:
    page.click('text=Download GeoJSON')
  found.value.save_as(tmp_path / 'found.geojson')
  kept = json.loads((tmp_path / 'found.geojson').read_text())
  assert len(kept['features']) == 6


def test_a_picture_and_a_mistake(page, tmp_path):
  with page.expect_response('**/search*') as answer:
    page.set_input_files('#file', tmp_path / 'pictures/003.png')
  assert answer.value.ok
  assert page.inner_text('#given_name') == '003.png'
  page.click('#forget')
  page.fill('#text', '')
  page.click('#go')
  page.wait_for_selector('#status.wrong')
  assert 'Type what you look for' in page.inner_text('#status')
