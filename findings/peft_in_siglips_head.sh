#!/usr/bin/env bash
# LoRA that PEFT puts on `out_proj` of a SigLIP is used in its towers and ignored in its pooling head.
#
# The usual targets `q_proj k_proj v_proj out_proj` name the layers of attention in transformers' SigLIP;
# one would guess that each layer PEFT wraps is one that computes. The head that pools the image tokens is
# a torch.nn.MultiheadAttention, which reads `out_proj.weight` and never calls the layer: PEFT wraps it
# all the same. Its LoRA gets no gradient, whatever it holds changes nothing, and there is no warning.
# Merging adds it to the weight after all, so the merged model is another one than that which was
# trained wherever its second factor is not zero. Starts that move part of the weight into the factors,
# as `init_lora_weights='pissa'`, change the features at once, before any step.
#
# It matters for counts of trained weights, for merged exports, and for who compares step 0 with the backbone.
# `target_modules` as a regular expression on `encoder.layers` leaves the head alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet peft==0.21.2 transformers==5.24.0 torch==2.14.1
cat > "$folder/run.py" <<'PY'
import copy

import peft
import torch
import transformers

transformers.logging.set_verbosity_error()
torch.manual_seed(0)
sizes = {'hidden_size': 16, 'intermediate_size': 32, 'num_hidden_layers': 1, 'num_attention_heads': 2}
base = transformers.SiglipModel(
  transformers.SiglipConfig(
    text_config={**sizes, 'vocab_size': 50, 'max_position_embeddings': 8, 'projection_size': 16},
    vision_config={**sizes, 'image_size': 16, 'patch_size': 8},
  )
).eval()
pixels, ids = torch.randn(2, 3, 16, 16), torch.randint(0, 49, (2, 8))


def features(model):
  with torch.no_grad():
    return model(pixel_values=pixels, input_ids=ids).image_embeds


def wrapped(targets=('q_proj', 'k_proj', 'v_proj', 'out_proj'), **options):
  targets = targets if isinstance(targets, str) else list(targets)
  config = peft.LoraConfig(r=2, target_modules=targets, **options)
  return peft.get_peft_model(copy.deepcopy(base), config).eval()


print('peft', peft.__version__, 'transformers', transformers.__version__, 'torch', torch.__version__)
model = wrapped()
model(pixel_values=pixels, input_ids=ids).logits_per_image.sum().backward()
second = {name: leaf for name, leaf in model.named_parameters() if 'lora_B' in name}
without = [name for name, leaf in second.items() if leaf.grad is None]
print(len(second), 'second factors; without a gradient:', without)
assert without == ['base_model.model.vision_model.head.attention.out_proj.lora_B.default.weight'], without

before = features(model)
with torch.no_grad():
  second[without[0]].fill_(1.0)
ignored = (features(model) - before).abs().max().item()
merged = (features(model.merge_and_unload()) - before).abs().max().item()
print(f'with ones in it the features change by {ignored:.3f}, merged by {merged:.3f}')
assert ignored == 0 and merged > 0.01, (ignored, merged)

change, towers = (
  (features(model) - features(base)).abs().max().item()
  for model in (
    wrapped(init_lora_weights='pissa'),
    wrapped(r'.*encoder\.layers.*(q|k|v|out)_proj', init_lora_weights='pissa'),
  )
)
print(f'PiSSA changes the features before any step by {change:.3f}, in the towers alone by {towers:.1e}')
assert change > 0.01, change
assert towers < 1e-4, towers
PY
"$folder/env/bin/python" "$folder/run.py"
