"""Bodies of answers, unpacked piece by piece and cut off at a limit.

httpx2 unpacks what has arrived all at once: 64 KiB of gzip may be 64 MiB, and packed twice 64 GiB.
So the transport unpacks here, by no more than a piece at a time, and hands on what is plain.
"""

import zlib
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence

from engine.errors import AnswerTooLargeError, NodeError

ACCEPTED = "gzip, deflate"
_PIECE_BYTES = 65_536
_LONGEST_CHAIN = 4
_KNOWN = frozenset({"gzip", "x-gzip", "deflate"})


class Unpacker:
    """Undoes one ``Content-Encoding``."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._begun = False
        wide = zlib.MAX_WBITS if encoding == "deflate" else zlib.MAX_WBITS | 16
        self._zlib = zlib.decompressobj(wide)

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """What ``data`` adds to the plain body, in pieces.

        Raises:
            NodeError: it is not packed that way.
        """
        while not self._zlib.eof:
            try:
                piece = self._zlib.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                if not self._begun and self._encoding == "deflate":
                    # Some servers leave out the header that "deflate" has (RFC 9110, 8.4.1.2).
                    self._begun = True
                    self._zlib = zlib.decompressobj(-zlib.MAX_WBITS)
                    continue
                raise NodeError(
                    f"the answer is not {self._encoding}, as it says: {error}"
                ) from None
            self._begun = True
            data = self._zlib.unconsumed_tail
            if piece:
                yield piece
            if not data and len(piece) < _PIECE_BYTES:
                return


def unpackers(content_encoding: str) -> list[Unpacker] | None:
    """What undoes a ``Content-Encoding``, in that order; ``None`` when it is not known here.

    Raises:
        NodeError: it has more layers than any honest answer.
    """
    names = [name.strip().lower() for name in content_encoding.split(",")]
    layers = [name for name in reversed(names) if name not in {"", "identity"}]
    if len(layers) > _LONGEST_CHAIN:
        raise NodeError(f"the answer is packed {len(layers)} times over", retryable=False)
    if not _KNOWN.issuperset(layers):
        return None
    return [Unpacker(name) for name in layers]


async def limited(
    received: AsyncIterable[bytes], layers: Sequence[Unpacker], limit_bytes: int
) -> AsyncIterator[bytes]:
    """The plain body, piece by piece.

    Raises:
        AnswerTooLargeError: it has more than ``limit_bytes``, packed or plain.
        NodeError: it is not packed as it says.
    """
    packed = plain = 0
    async for chunk in received:
        packed += len(chunk)
        if packed > limit_bytes:
            raise AnswerTooLargeError(limit_bytes)
        for piece in _through(layers, chunk):
            plain += len(piece)
            if plain > limit_bytes:
                raise AnswerTooLargeError(limit_bytes)
            yield piece


def _through(layers: Sequence[Unpacker], data: bytes) -> Iterator[bytes]:
    if not layers:
        yield data
        return
    for piece in layers[0].unpack(data):
        yield from _through(layers[1:], piece)
