"""Compressed bytes: one zstd frame with a checksum, which says its size and may not claim too much.

Owns the codec. Does not know what the bytes mean.
"""

import zstandard
from zstandard import ZstdCompressionParameters, ZstdCompressor, ZstdDecompressor, ZstdError

from streams.errors import RegistryError

FAST, SMALL = 1, 10  # levels: 0.6 and 8 µs a sample of the flights, for 69 and 57 bytes
MOST_BYTES = 96 << 20  # inflated


def pack(data: bytes, level: int) -> bytes:
    """Return the bytes as one frame.

    Raises:
        RegistryError: there are more than `unpack` takes.
    """
    if len(data) > MOST_BYTES:
        raise RegistryError(f"{len(data):,} bytes are not written: {MOST_BYTES:,} is the most that is read again")
    return _compressor(level).compress(data)


def unpack(name: str, frame: bytes) -> bytes:
    """Return the bytes of a frame, `name` being that of its object.

    Raises:
        RegistryError: it is damaged, or claims more than `MOST_BYTES`; nothing of it was inflated then.
    """
    try:
        claimed = zstandard.frame_content_size(frame)
        if not 0 <= claimed <= MOST_BYTES:
            raise RegistryError(f"{name} claims {_shown(claimed)}, and {MOST_BYTES:,} is the most; it is not ours")
        return ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except ZstdError as wrong:
        raise RegistryError(f"{name} is damaged: {wrong}") from None


def _compressor(level: int) -> ZstdCompressor:
    return ZstdCompressor(
        compression_params=ZstdCompressionParameters.from_level(level, write_checksum=True, write_content_size=True)
    )


def _shown(claimed: int) -> str:
    return "an unknown number of bytes" if claimed < 0 else f"{claimed:,} bytes"
