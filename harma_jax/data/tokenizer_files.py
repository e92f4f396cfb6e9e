"""Tokenizers of SigLIP, out of the files that lie beside its weights."""

import functools
import hashlib
import json
import pathlib
import string
from collections.abc import Callable, Sequence

from harma_jax.data.tokenizer import Tokenizer
from harma_jax.errors import UserError

# Of these the first that is there is read; `tokenizer.json` needs no further package.
VOCABULARY_FILES = ('tokenizer.json', 'spiece.model', 'tokenizer.model')
SETTINGS_FILES = ('tokenizer_config.json', 'special_tokens_map.json')

# The end token of version 1 (SentencePiece of C4) and of 2 (Gemma's), with the padding.
_PADDING = {'</s>': '</s>', '<eos>': '<pad>'}
_PUNCTUATION = str.maketrans('', '', string.punctuation)


def canonicalize(text: str) -> str:
  """Lower case, no ASCII punctuation, single blanks: what SigLIP was trained on.

  big_vision's `canonicalize_text`, which OpenCLIP has too: `_` is a blank. A special
  token, which is spelled in brackets, becomes text.
  """
  return ' '.join(text.replace('_', ' ').translate(_PUNCTUATION).lower().split())


def open_tokenizer(folder: pathlib.Path) -> Tokenizer:
  """The tokenizer of a folder: text, end, padding.

  Raises:
    UserError: no file of one, a damaged one, or a SentencePiece model without the
      package that reads it.
  """
  return _opened(folder, fingerprint_of_files(files_of(folder)))


def files_of(folder: pathlib.Path) -> list[pathlib.Path]:
  """Those files of a tokenizer that are in a folder."""
  paths = (folder / name for name in VOCABULARY_FILES + SETTINGS_FILES)
  return [path for path in paths if path.is_file()]


def fingerprint_of_files(files: Sequence[pathlib.Path]) -> str:
  """A hash of names and contents, in hexadecimal."""
  digest = hashlib.sha256()
  for file in sorted(files, key=lambda file: file.name):
    content = hashlib.sha256(file.read_bytes()).hexdigest()
    digest.update(f'{file.name} {content}\n'.encode())
  return digest.hexdigest()


@functools.lru_cache(maxsize=4)  # one of 256,000 tokens takes a second
def _opened(folder: pathlib.Path, _: str) -> Tokenizer:
  path = next(iter(files_of(folder)), None)
  if path is None or path.name not in VOCABULARY_FILES:
    raise UserError(
      f'Expected a tokenizer ({", ".join(VOCABULARY_FILES)}) in {folder}; found none. '
      'Copy that of the weights there, or set --config.model.tokenizer=FOLDER.'
    )
  return (_read_json if path.suffix == '.json' else _read_sentencepiece)(path)


def _read_json(path: pathlib.Path) -> Tokenizer:
  import tokenizers

  try:
    found = tokenizers.Tokenizer.from_file(str(path))
  except Exception as error:  # the library raises no other class
    raise UserError(f'Expected a tokenizer in {path}; {error}.') from error
  found.no_truncation()
  found.no_padding()
  found.encode_special_tokens = True
  end, pad = _ends(path, found.token_to_id)

  def words(texts: list[str]) -> list[list[int]]:
    encoded = found.encode_batch(texts, add_special_tokens=False)
    return [encoding.ids for encoding in encoded]

  vocabulary = found.get_vocab_size()
  return _tokenizer(words, end=end, pad=pad, vocabulary=vocabulary)


def _read_sentencepiece(path: pathlib.Path) -> Tokenizer:
  try:
    import sentencepiece
  except ImportError as error:
    raise UserError(
      f'{path}: expected the package sentencepiece for this file; it is not installed. '
      "pip install 'harma_jax[sentencepiece]', or put the tokenizer.json of the same "
      'tokenizer beside it.'
    ) from error
  try:
    found = sentencepiece.SentencePieceProcessor(model_file=str(path))
  except (OSError, RuntimeError) as error:
    raise UserError(f'Expected a SentencePiece model in {path}; {error}.') from error

  def token(word: str) -> int | None:
    number = found.piece_to_id(word)
    return number if found.id_to_piece(number) == word else None

  end, pad = _ends(path, token)
  vocabulary = found.get_piece_size()
  return _tokenizer(found.encode, end=end, pad=pad, vocabulary=vocabulary)


def _tokenizer(
  words: Callable[[list[str]], list[list[int]]], *, end: int, pad: int, vocabulary: int
) -> Tokenizer:
  return Tokenizer(
    words=words,
    normalize=canonicalize,
    start=None,
    end=end,
    pad=pad,
    vocabulary=vocabulary,
  )


def _ends(path: pathlib.Path, token: Callable[[str], int | None]) -> tuple[int, int]:
  """The ids of the end and of the padding, by the settings or the usual names."""
  told = _settings(path.parent)
  ends = [told.get('eos_token'), *_PADDING]
  end = next((word for word in ends if word and token(word) is not None), None)
  pad = told.get('pad_token') or _PADDING.get(end)
  if end is None or pad is None or token(pad) is None:
    raise UserError(
      f'Expected a tokenizer of SigLIP in {path}, with an end token '
      f'({" or ".join(_PADDING)}) and one for padding; found end {end}, padding {pad}. '
      'Take the tokenizer that belongs to the weights.'
    )
  return token(end), token(pad)


def _settings(folder: pathlib.Path) -> dict[str, str]:
  """`eos_token` and `pad_token` where a file beside the vocabulary tells them."""
  told = {}
  for name in reversed(SETTINGS_FILES):
    if (folder / name).is_file():
      try:
        told |= dict(json.loads((folder / name).read_text(encoding='utf-8')))
      except (ValueError, TypeError) as error:
        raise UserError(f'Expected JSON in {folder / name}; {error}.') from error
  ends = {name: told.get(name) for name in ('eos_token', 'pad_token')}
  return {
    name: word['content'] if isinstance(word, dict) else word
    for name, word in ends.items()
    if word
  }
