"""Repositories of the Hugging Face hub whose sizes are known without a download.

One of whose side sources disagree is left out, so that it is read off its weights.
"""

_CLIP = {
  'laion/CLIP-ViT-B-32-laion2B-s34B-b79K': 'ViT-B-32',
  'laion/CLIP-ViT-B-16-laion2B-s34B-b88K': 'ViT-B-16',
  'laion/CLIP-ViT-L-14-laion2B-s32B-b82K': 'ViT-L-14',
  'laion/CLIP-ViT-H-14-laion2B-s32B-b79K': 'ViT-H-14',
  'openai/clip-vit-base-patch32': 'ViT-B-32-quickgelu',
  'openai/clip-vit-base-patch16': 'ViT-B-16-quickgelu',
  'openai/clip-vit-large-patch14': 'ViT-L-14-quickgelu',
  'openai/clip-vit-large-patch14-336': 'ViT-L-14-336-quickgelu',
}
_SIGLIP = {
  'google/siglip-base-patch16-224': 'ViT-B-16-SigLIP',
  'google/siglip-base-patch16-256': 'ViT-B-16-SigLIP-256',
  'google/siglip-base-patch16-384': 'ViT-B-16-SigLIP-384',
  'google/siglip-base-patch16-512': 'ViT-B-16-SigLIP-512',
  'google/siglip-large-patch16-256': 'ViT-L-16-SigLIP-256',
  'google/siglip-large-patch16-384': 'ViT-L-16-SigLIP-384',
  'google/siglip-so400m-patch14-384': 'ViT-SO400M-14-SigLIP-384',
}
_SIGLIP_2 = {
  'google/siglip2-base-patch32-256': 'ViT-B-32-SigLIP2-256',
  'google/siglip2-base-patch16-224': 'ViT-B-16-SigLIP2',
  'google/siglip2-base-patch16-256': 'ViT-B-16-SigLIP2-256',
  'google/siglip2-base-patch16-384': 'ViT-B-16-SigLIP2-384',
  'google/siglip2-base-patch16-512': 'ViT-B-16-SigLIP2-512',
  'google/siglip2-large-patch16-256': 'ViT-L-16-SigLIP2-256',
  'google/siglip2-large-patch16-384': 'ViT-L-16-SigLIP2-384',
  'google/siglip2-large-patch16-512': 'ViT-L-16-SigLIP2-512',
  'google/siglip2-so400m-patch16-256': 'ViT-SO400M-16-SigLIP2-256',
  'google/siglip2-so400m-patch16-384': 'ViT-SO400M-16-SigLIP2-384',
  'google/siglip2-so400m-patch16-512': 'ViT-SO400M-16-SigLIP2-512',
}

HUB_SIZES: dict[str, str] = _CLIP | _SIGLIP | _SIGLIP_2
# As their `preprocessor_config.json` has it; other sizes resize as they do by default.
HUB_INTERPOLATION = dict.fromkeys(_SIGLIP_2, 'bilinear')
