"""Where weights for remote sensing are published, for messages about missing ones."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
  """A file of published weights.

  Attributes:
    model: its name.
    place: a repository of the Hugging Face hub, or the folder of an address.
    file: within it; '' for all that a folder of transformers has.
    size: as its page says; '' where no source was found that does.
    archived: whether it is an archive that is to be unpacked.
  """

  model: str
  place: str
  file: str = ''
  size: str = ''
  archived: bool = False

  @property
  def in_words(self) -> str:
    """What to fetch, and how large it is."""
    size = f' ({self.size})' if self.size else ''
    path = f'{self.place}/{self.file}' if self.file else self.place
    return f'{path}{size}{", an archive with epoch_20.pt" if self.archived else ""}'


# As the pages of the repositories list them (huggingface.co/REPOSITORY/tree/main), and
# for FarSLIP and SkyCLIP the READMEs of their code (NJU-LHRS/FarSLIP and
# wangzhecheng/SkyScript on GitHub), which name no sizes.
_GEORSCLIP = {'model': 'GeoRSCLIP', 'place': 'Zilun/GeoRSCLIP'}
_REMOTECLIP = {'model': 'RemoteCLIP', 'place': 'chendelong/RemoteCLIP'}
_FARSLIP = {'model': 'FarSLIP', 'place': 'ZhenShiL/FarSLIP'}
_SKYCLIP = {
  'model': 'SkyCLIP',
  'place': 'https://opendatasharing.s3.us-west-2.amazonaws.com/SkyScript/ckpt',
  'archived': True,
}
PUBLISHED = (
  Published(**_GEORSCLIP, file='ckpt/RS5M_ViT-B-32.pt', size='605 MB'),
  Published(**_GEORSCLIP, file='ckpt/RS5M_ViT-B-32_RET-2.pt', size='605 MB'),
  Published(**_GEORSCLIP, file='ckpt/RS5M_ViT-L-14.pt', size='1.71 GB'),
  Published(**_GEORSCLIP, file='ckpt/RS5M_ViT-L-14-336.pt', size='1.71 GB'),
  Published(**_GEORSCLIP, file='ckpt/RS5M_ViT-H-14.pt', size='3.94 GB'),
  Published(**_REMOTECLIP, file='RemoteCLIP-ViT-B-32.pt', size='605 MB'),
  Published(**_REMOTECLIP, file='RemoteCLIP-ViT-L-14.pt', size='1.71 GB'),
  Published(**_FARSLIP, file='FarSLIP1_ViT-B-32.pt'),
  Published(**_FARSLIP, file='FarSLIP1_ViT-B-16.pt'),
  Published(**_FARSLIP, file='FarSLIP2_ViT-B-32.pt'),
  Published(**_FARSLIP, file='FarSLIP2_ViT-B-16.pt'),
  Published(**_SKYCLIP, file='SkyCLIP_ViT_B32_top50pct.zip'),
  Published(**_SKYCLIP, file='SkyCLIP_ViT_L14_top30pct.zip'),
  Published(**_SKYCLIP, file='SkyCLIP_ViT_L14_top50pct.zip'),
  Published(**_SKYCLIP, file='SkyCLIP_ViT_L14_top30pct_filtered_by_CLIP_laion_RS.zip'),
  Published(model='Git-RSCLIP', place='lcybuaa/Git-RSCLIP-base', size='406 MB'),
  Published(model='Git-RSCLIP', place='lcybuaa/Git-RSCLIP'),
)
# Other words of a path by which a model is meant.
_WORDS = {'rs5m': 'GeoRSCLIP', 'skyscript': 'SkyCLIP'}


def where_published(source: str) -> str:
  """A sentence on where weights come from that a missing source seems to be.

  Args:
    source: a path or a name that a user gave.

  Returns:
    Of the file of that name, else all of a model that the path names; '' for others.
  """
  name = source.rstrip('/').rpartition('/')[2]
  found = [known for known in PUBLISHED if name and name == _last(known)]
  if not found:
    found = [known for known in PUBLISHED if _is_meant(known.model, source=source)]
  if not found:
    return ''
  listed = ', '.join(known.in_words for known in found)
  if found[0].archived:
    return (
      f' {found[0].model} is published as {listed}: fetch it, unpack it, and set '
      '--config.init to the file.'
    )
  return (
    f' {found[0].model} is published on the Hugging Face hub: {listed}; '
    f'--config.init={found[0].in_words.split(" ")[0]} fetches it.'
  )


def _last(known: Published) -> str:
  """The name of a file, or of a repository that is given as a whole."""
  return (known.file or known.place).rpartition('/')[2]


def _is_meant(model: str, *, source: str) -> bool:
  words = [model.lower(), *(word for word, named in _WORDS.items() if named == model)]
  return any(word in source.lower() for word in words)
