"""The artifact: one safetensors file, which is served.

make.py        a trained form into an artifact, measured
head.py        the description in it: bounded, and checked before it is believed
format.py      the file: packed, checked and loaded
stored.py      one compressed weight as it is stored
packing.py     numbers as bytes, in few bits and without their zeros
manifest.py    where an artifact comes from, and what was measured
parity.py      whether the artifact answers as its training form does
folder.py      artifacts in folders, also for Hugging Face's from_pretrained
"""

from compressors.artifact.format import Description, describe, floats, load, pack, with_manifest

__all__ = ["Description", "describe", "floats", "load", "pack", "with_manifest"]
