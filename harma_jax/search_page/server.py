"""The server of the page: only to this machine, only of rows by their number."""

import importlib.resources
import json
from collections.abc import Callable

from harma_jax.errors import UserError
from harma_jax.search_page.address import LOOPBACK
from harma_jax.search_page.archive import FORMS, Archive
from harma_jax.search_page.pictures import scene_picture, tile_picture
from harma_jax.search_page.question import read_question

MOST_BYTES = 48 * 2**20  # of a question: a picture of 36 MB, in base64

_FILES = {
  '/': ('page.html', 'text/html'),
  '/page.css': ('page.css', 'text/css'),
  '/page.js': ('page.js', 'text/javascript'),
  '/icon.svg': ('icon.svg', 'image/svg+xml'),
}
_HEADERS = {
  # Even a text that slipped through unescaped could load or run nothing.
  'Content-Security-Policy': (
    "default-src 'none'; img-src 'self' blob:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
  ),
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cache-Control': 'no-store',
}


def serve(archive: Archive, *, host: str, port: int, ready: Callable[[str], None]):
  """Answers until the program is interrupted.

  Args:
    archive: what is searched.
    host: the address to listen at.
    port: the port, 0 for any that is free.
    ready: is told the address of the page once it answers.

  Raises:
    UserError: the port is taken, or starlette and uvicorn are not installed.
  """
  _, uvicorn = _libraries()
  app = make_app(archive, hosts=[host, 'localhost', LOOPBACK])
  config = uvicorn.Config(app, host=host, port=port, log_level='warning')
  try:
    listening = config.bind_socket()
  except (OSError, SystemExit) as error:
    raise UserError(
      f'--port: expected one that is free at {host}; {port} is not. Give another, or '
      '--port=0 for any.'
    ) from error
  with listening:
    listening.listen()  # who comes before the server runs waits
    ready(f'http://{host}:{listening.getsockname()[1]}/')
    uvicorn.Server(config).run(sockets=[listening])


def make_app(archive: Archive, *, hosts: list[str]):
  """The application; `hosts` are the names under which it may be called.

  Raises:
    UserError: starlette is not installed.
  """
  _libraries()
  from starlette.applications import Starlette
  from starlette.concurrency import run_in_threadpool
  from starlette.middleware import Middleware
  from starlette.middleware.trustedhost import TrustedHostMiddleware
  from starlette.requests import Request
  from starlette.responses import JSONResponse, Response
  from starlette.routing import Route

  def about(_: Request) -> Response:
    return JSONResponse(archive.about(), headers=_HEADERS)

  async def search(request: Request) -> Response:
    # A page of another site cannot send this type without being asked for leave.
    if request.headers.get('content-type') != 'application/json':
      return _refused('Expected application/json.', status=415)
    form = request.query_params.get('form', 'json')
    body = b''
    async for part in request.stream():
      body += part
      if len(body) > MOST_BYTES:
        return _refused('The picture is too large: at most 36 MB.', status=413)
    return await run_in_threadpool(_answer, archive, body, form=form)

  def picture(make: Callable) -> Callable:
    def respond(request: Request) -> Response:
      row = request.path_params['row']
      if row >= len(archive.index):
        return _refused('No such row.', status=404)
      try:
        content = make(archive.index, row)
      except UserError as error:
        return _refused(str(error), status=410)
      return Response(content, media_type='image/jpeg', headers=_HEADERS)

    return respond

  return Starlette(
    routes=[
      *(Route(path, _file(*of)) for path, of in _FILES.items()),
      Route('/about', about),
      Route('/search', search, methods=['POST']),
      Route('/tile/{row:int}', picture(tile_picture)),
      Route('/scene/{row:int}', picture(scene_picture)),
    ],
    middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
  )


def _answer(archive: Archive, body: bytes, *, form: str):
  from starlette.responses import Response

  if form not in FORMS:
    return _refused(f'Expected one of {", ".join(FORMS)}.', status=400)
  try:
    fields = json.loads(body)
    question = read_question(fields, rows=len(archive.index))
    content = archive.answer(question, form=form)
  except (ValueError, RecursionError) as error:
    return _refused(f'Expected JSON; found: {error}', status=400)
  except UserError as error:
    return _refused(str(error), status=422)
  return Response(content, media_type=FORMS[form], headers=_HEADERS)


def _file(name: str, media_type: str) -> Callable:
  from starlette.responses import Response

  content = (importlib.resources.files(__package__) / name).read_bytes()
  return lambda _: Response(content, media_type=media_type, headers=_HEADERS)


def _refused(message: str, *, status: int):
  from starlette.responses import JSONResponse

  return JSONResponse({'error': message}, status_code=status, headers=_HEADERS)


def _libraries():
  try:
    import starlette
    import uvicorn
  except ImportError as error:
    raise UserError(
      'search serve: expected starlette and uvicorn; they are not installed. '
      "pip install 'harma_jax[serve]'"
    ) from error
  return starlette, uvicorn
