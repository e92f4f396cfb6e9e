"""What all configs share: every field with its default; a config file overrides some.

Override one on the command line: --config.train.epochs=5.
"""

from ml_collections import ConfigDict

MODEL = {
  # As init tells, or ViT-B-32, ViT-B-32-quickgelu, ViT-B-16-SigLIP2, ...; behind commas
  # what is otherwise: ViT-B-16-quickgelu,context_length=248.
  'size': 'auto',
  'image_size': 0,  # pixels; 0 is the size's own
  # What images undergo, as init tells with size=auto; by default the size's own. Of
  # red, green and blue in [0, 1], and bicubic | bilinear.
  'mean': (),
  'std': (),
  'interpolation': '',
  # Of a SigLIP: a folder with tokenizer.json (or spiece.model), or a hub id; '' for
  # the one beside init. The run keeps a copy.
  'tokenizer': '',
  'adapters': 'harma',  # harma | lora | adaptformer | clip_adapter | none
  'shared_adapter': 'text',  # text | both | none
  'adapter_padding': 'padding',  # padding: masked | none: seen, as released
  'bottleneck': 128,
  'shared_bottleneck': 64,
  'adapter_heads': 8,
  'adapter_attention': True,
  'lora': {'rank': 8, 'alpha': 16.0, 'mlp': False},
  'adaptformer': {'bottleneck': 64, 'scale': 0.1},
  'clip_adapter': {'reduction': 4, 'ratio': 0.2},
  'layers': 'auto',  # scan | unroll (faster steps, slower compilation) | auto
  # What blocks keep for the backward pass; the rest is computed again:
  # none (all) | products | outputs | block (inputs) | auto, by device and batch.
  'remat': 'auto',
  # xla | cudnn (NVIDIA GPUs, half precision) | pallas (TPUs, likewise) | auto: on GPUs
  # the faster one, measured at the start; name one where runs must be equal to the bit.
  'attention': 'auto',
  # Of the towers' arithmetic: float32 | bfloat16 | auto, f32 on a CPU, else bf16.
  'dtype': 'auto',
  # Of the weights that do not train, on the devices: auto | float32 | bfloat16.
  'frozen_dtype': 'auto',
}
OBJECTIVE = {
  # The contrastive loss: softmax (InfoNCE) | sigmoid (SigLIP's) | auto, as the weights.
  'contrastive': 'auto',
  'contrastive_weight': 1.0,
  'triplet_weight': 1.0,
  'margin': 0.2,
  'gamma': 2.0,
  'triplet_reduction': 'mean',  # mean | sum, as released
  'mask_same_image': True,  # False as released
  # Of a larger batch, the rows of the similarities that are in memory at once; 0: all.
  'chunk': 8192,
}
# Realigning and dropping samples whose two losses conflict (arXiv 2211.02077).
HARMONIZATION = {
  'pair': 'none',  # none | captions | uniformity | directions | objectives
  'realign': True,
  'curriculum': 'off',  # off | drop | soft
  'indicator': 'conflict',  # conflict, or a control: random | loss | ...
  # At the start and after annealing: the share of a batch that is dropped, or with
  # `cosine` the cosine below which (arXiv 2211.02077 has -0.3 to 0).
  'threshold': (0.0, 0.2),
  'threshold_unit': 'share',  # share | cosine
  'start': 0.0,  # share of training before which cosines are only counted
  'anneal': 0.5,  # share of training over which the threshold rises
  'renormalize': True,
  # Where the angle is measured: embedding, or adapter: exact, over all trainable
  # weights, `chunk` samples at a time; slow, for studies.
  'space': 'embedding',
  'chunk': 8,
}
OPTIMIZER = {
  # adapters | full | projection | none: only evaluated, whatever train.epochs is
  'train': 'adapters',
  # adamw | adamw_released, of transformers 4.x: epsilon joins the root of the
  # uncorrected second moment, and weights decay after the update.
  'kind': 'adamw',
  'learning_rate': 4e-4,
  'schedule': 'linear',  # linear | cosine | constant
  'warmup': 0.1,  # share of all steps
  'b1': 0.9,
  'b2': 0.98,
  'eps': 1e-8,
  'weight_decay': 0.04,
  'clip_norm': 0.0,  # 0: no clipping
}
TRAIN = {
  'epochs': 10.0,  # 0: only evaluated
  'batch_size': 428,
  # none, or nearest: the multiple of the devices that is nearest to batch_size.
  # --config.train.batch_size=auto:428 sets both, =428 sets none.
  'batch_rounding': 'none',
  # Pairs of the global batch that run through augmentation and towers at a time, where
  # all do not fit (with several captions an image: images with theirs); 0: all. The
  # loss and the gradient are those of the whole batch.
  'microbatch': 0,
  'steps_per_dispatch': 1,  # so many steps in one program, for small ones
  # A loss or gradient that is not finite: raise ends the run and names the samples,
  # skip leaves the step out and counts it.
  'on_nonfinite': 'raise',
}
DATA = {
  'root': '',
  'annotations': 'auto',  # or files of root, {split} in their names is filled in
  'images': 'images',  # folder of root that the annotations' paths start from
  # Which columns of a table are what, where their names do not say it:
  # image=NAME,caption=NAME,split=NAME.
  'columns': '',
  # OLD=NEW (several with commas): a leading folder of images that becomes another.
  'prefix': '',
  'match': 'exact',  # exact | name: files may differ in case, ending or folder
  'restval': True,  # rows of Karpathy's split restval are training data
  'train_split': 'train',
  'val_split': 'val',  # '' for none: then the last step is selected
  'test_split': 'test',  # '' for none
  # Share of the training images that are val instead, for data without such a split.
  'hold_out': 0.0,
  # For study: the share of training captions that change places between images.
  'swap_captions': 0.0,
  'captions_per_image': 1,  # above 1 an item is an image with so many captions
  # Encodes an image once for all its captions in a batch, which then share one crop.
  'image_reuse': False,
  # Of captions and of the model's queries: sound (blanks for punctuation, every word)
  # | released (HarMA's: punctuation goes without a blank, 30 words).
  'cleaning': 'sound',
  'context_length': 0,  # tokens of a caption; 0 is the size's own
  # Captions that the context does not hold: cut (what comes after is not read, and a
  # warning counts them) | refuse | auto: refuse where a tower sees all positions.
  'long_texts': 'auto',
  # Where decoded training images are kept: device | host | stream (read anew) | auto.
  'cache': 'auto',
  'cache_side': 256,  # pixels of their shorter side; a smaller image stays as it is
  'max_pixels': 89_478_485,  # of an image file; a larger one is refused
  # Of files with more bands, or other than 8 bits: red, green and blue, as 4,3,2 or
  # B4,B3,B2, '' for what the file says; and the values that become black and white:
  # auto | none | percent | MIN,MAX.
  'bands': '',
  'stretch': 'auto',
  'on_bad_image': 'raise',  # raise | skip, with its captions; a missing one too
  'threads': 2,
  'workers': 0,  # with cache=stream: processes that read images, of `threads` each
  # Draws the data set instead of reading one, where a style is given.
  'scenes': {'style': '', 'train': 0, 'val': 0, 'test': 0, 'seed': 0},
}
AUGMENT = {
  'crop_scale': (0.5, 1.0),  # share of the image's area
  'flip': True,
  'quarter_turns': False,
  'rand_augment': (2, 7),  # operations an image, level of 10
}


def get_config() -> ConfigDict:
  """HarMA adapters on a frozen CLIP, the switches at their sound variants."""
  return ConfigDict(
    {
      'seed': 0,
      # Starting weights: a file, a hub id, a run's work folder; '' for random ones.
      'init': '',
      # Adapters to start from, a folder of export --format=adapter or of PEFT's LoRA;
      # '' for fresh ones.
      'adapter': '',
      'model': MODEL,
      'objective': OBJECTIVE,
      'harmonization': HARMONIZATION,
      'optimizer': OPTIMIZER,
      'train': TRAIN,
      'data': DATA,
      'augment': AUGMENT,
      # select_on: val, or test for comparison with numbers that were. select_by:
      # mean_recall, with ties against the model, or mean_recall_expected, at random.
      'evaluation': {
        'every_epochs': 1.0,
        'batch_size': 256,
        'select_on': 'val',
        'select_by': 'mean_recall',
      },
      'mesh': {'fsdp': 1},  # devices that share one copy of the weights
      # every_steps: checkpoints between evaluations. Kept are so many of the latest
      # (keep), the best, and of those saved the multiples of keep_every.
      'checkpoint': {'every_steps': 0, 'keep': 1, 'keep_every': 0},
      'log_every': 10,
    }
  )
