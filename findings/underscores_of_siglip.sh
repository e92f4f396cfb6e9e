#!/usr/bin/env bash
# SigLIP's words before and after an underscore are one word in transformers and two in OpenCLIP.
#
# SigLIP was trained on texts in lower case without punctuation, and both libraries clean what they are
# given. One would guess that they do it alike, for their tables of words are the same. An underscore is
# punctuation: transformers' SiglipTokenizer takes it out, and `storage_tank` becomes `storagetank`;
# OpenCLIP, as the code that trained SigLIP, first makes a blank of it: `storage tank`. Hyphens
# and dots go without a blank in both.
#
# It matters where names of classes or files become prompts (`storage_tank`, `dense_residential`): the
# same weights answer from other tokens, no warning is given, and zero-shot numbers of the two libraries
# differ by more than rounding.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet open_clip_torch==3.3.0 transformers==5.24.0 sentencepiece==0.2.3 protobuf==7.36.2 torch==2.14.1 torchvision==0.29.1
cat > "$folder/run.py" <<'PY'
import pathlib
import sys

import open_clip
import sentencepiece
import transformers
from open_clip.tokenizer import canonicalize_text

folder = pathlib.Path(sys.argv[1])
words = 'storage tank tanks harbor a photo of dense residential area storagetank'.split()
(folder / 'words.txt').write_text('\n'.join(' '.join(words[n:] + words[:n]) for n in range(len(words))) + '\n')
sentencepiece.SentencePieceTrainer.train(
  input=str(folder / 'words.txt'), model_prefix=str(folder / 'spiece'), vocab_size=60,
  unk_id=0, eos_id=1, bos_id=-1, minloglevel=2, hard_vocab_limit=False,
)
tokenizer = transformers.SiglipTokenizer(str(folder / 'spiece.model'))
print('transformers', transformers.__version__, 'open_clip', open_clip.__version__)
text = 'Storage_tank, dense-residential area.'
theirs = tokenizer.canonicalize_text(text)
others = canonicalize_text(text)
print(f'{text!r}: transformers {theirs!r}, OpenCLIP {others!r}')
assert theirs == 'storagetank denseresidential area', theirs
assert others == 'storage tank denseresidential area', others
one, two = (tokenizer(name).input_ids for name in ('storage_tank', 'storage tank'))
print('tokens of storage_tank:', one, 'of storage tank:', two)
assert one != two
PY
"$folder/env/bin/python" "$folder/run.py" "$folder"
