#!/usr/bin/env bash
# Which GELU a SigLIP computes depends on the library and on the size, and once on the tower.
#
# One would guess that weights of one family have one activation: transformers computes the approximation by
# tanh in both towers of every size. OpenCLIP takes its picture towers from timm, and there SigLIP of B/16,
# L/16-256 and so400m/14 has the exact function, while B/32, L/16-512, so400m/16 and gopt/16 have the
# approximation; its texts follow the version of SigLIP. ViT-B-16-SigLIP2 so gets the exact one in the
# pictures' tower and the approximation in the texts'. Nothing of it stands in the weights.
#
# It matters where features of one library are searched with the other, or weights are moved: all names
# match, no key is missing, and features differ in the third or fourth decimal.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet open_clip_torch==3.3.0 timm==1.0.31 transformers==5.24.0 torch==2.14.1 torchvision==0.29.1
cat > "$folder/run.py" <<'PY'
import open_clip
import timm
import torch
import transformers
from transformers import SiglipVisionConfig

print('timm', timm.__version__, 'open_clip', open_clip.__version__)
print('transformers', transformers.__version__, SiglipVisionConfig().hidden_act)
assert SiglipVisionConfig().hidden_act == 'gelu_pytorch_tanh'
expected = {
  'ViT-B-16-SigLIP': ('exact', 'exact'),
  'ViT-L-16-SigLIP-256': ('exact', 'exact'),
  'ViT-SO400M-14-SigLIP-384': ('exact', 'exact'),
  'ViT-B-16-SigLIP2': ('exact', 'tanh'),
  'ViT-B-32-SigLIP2-256': ('tanh', 'tanh'),
  'ViT-L-16-SigLIP2-512': ('tanh', 'tanh'),
  'ViT-SO400M-16-SigLIP2-256': ('tanh', 'tanh'),
  'ViT-gopt-16-SigLIP2-256': ('tanh', 'tanh'),
}
points = torch.linspace(-4, 4, 10001)
functions = {
  'exact': torch.nn.functional.gelu(points),
  'tanh': torch.nn.functional.gelu(points, approximate='tanh'),
}


def kind(activation):
  """Which of the functions a module computes."""
  value = activation(points.clone())
  return min(functions, key=lambda name: (functions[name] - value).abs().max())


for name, pair in expected.items():
  config = open_clip.get_model_config(name)
  with torch.device('meta'):  # no memory, no weights
    image = timm.create_model(config['vision_cfg']['timm_model_name'], num_classes=0)
  gelu = (config['text_cfg'].get('act_kwargs') or {}).get('approximate', 'none')
  found = kind(image.blocks[0].mlp.act), {'none': 'exact', 'tanh': 'tanh'}[gelu]
  print(f'{name}: pictures {found[0]}, texts {found[1]}')
  assert found == pair, name
PY
"$folder/env/bin/python" "$folder/run.py"
