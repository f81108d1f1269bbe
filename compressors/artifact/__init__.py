"""The artifact: one safetensors file that is served.

make.py        a trained form into an artifact, measured
format.py      the file, packed, checked and loaded
stored.py      one weight as it is stored
packing.py     whole numbers and sparse weights as bytes
manifest.py    where an artifact comes from, and what was measured
parity.py      does the artifact answer as its training form does
folder.py      artifacts in folders, by digest
"""

from compressors.artifact.format import Description, describe, floats, load, pack, with_manifest

__all__ = ["Description", "describe", "floats", "load", "pack", "with_manifest"]
