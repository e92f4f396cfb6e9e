"""What is done to an image before a tower sees it: the resize and two constants."""

import dataclasses

INTERPOLATIONS = ('bicubic', 'bilinear')

# Red, green, blue in [0, 1]: OpenAI's, of most CLIP weights.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
  """Of images that are resized as a whole, without a crop.

  Attributes:
    mean: of red, green and blue, subtracted from values in [0, 1].
    std: what they are divided by then.
    interpolation: of the resize, one of `INTERPOLATIONS`, antialiased as Pillow's.
  """

  mean: tuple[float, float, float] = CLIP_MEAN
  std: tuple[float, float, float] = CLIP_STD
  interpolation: str = 'bicubic'

  @property
  def normalisation(self) -> dict[str, tuple[float, float, float]]:
    """The keywords of `data.images.normalize`."""
    return {'mean': self.mean, 'std': self.std}


OPENAI = Preprocessing()
HALVES = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
