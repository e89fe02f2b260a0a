"""Bodies of answers, unpacked piece by piece and cut off at a limit.

httpx2 unpacks what has arrived all at once: 64 KiB of gzip may be 64 MiB, and packed twice 64 GiB.
So the transport unpacks here, by no more than a piece at a time, and hands on what is plain.
"""

import zlib
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from http import HTTPStatus
from typing import Protocol

from engine.errors import AnswerTooLargeError, NodeError

ACCEPTED = "gzip, deflate"
_PIECE_BYTES = 65_536
_LONGEST_CHAIN = 4
_KNOWN = frozenset({"gzip", "x-gzip", "deflate"})
_LONGEST_NAME = 40


class Layer(Protocol):
    """What a body goes through on its way to whoever reads it."""

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """What ``data`` adds to the plain body, in pieces.

        Raises:
            NodeError: nothing can be made of it.
        """
        ...


class Unreadable:
    """In the place of a ``Content-Encoding`` that cannot be undone.

    A body that is not there, as of a HEAD, needs no undoing. Of a failure or a redirect the status
    says enough: its body counts as none. The body of a success is an error.
    """

    def __init__(self, status: int, reason: str) -> None:
        self._is_wanted = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
        self._reason = reason

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """Nothing.

        Raises:
            NodeError: there is something, and it is wanted.
        """
        if data and self._is_wanted:
            raise NodeError(self._reason, retryable=False)
        return iter(())


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


def layers_of(content_encoding: str, status: int) -> list[Layer]:
    """What undoes the ``Content-Encoding`` of an answer with this status, in that order."""
    names = [name.strip().lower() for name in content_encoding.split(",")]
    layers = [name for name in reversed(names) if name not in {"", "identity"}]
    if len(layers) > _LONGEST_CHAIN:  # more than any honest answer has
        return [Unreadable(status, f"the answer is packed {len(layers)} times over")]
    unknown = next((name for name in layers if name not in _KNOWN), None)
    if unknown is not None:
        reason = (
            f"the answer is packed as '{unknown[:_LONGEST_NAME]}' (Content-Encoding), which was "
            f"not asked for and cannot be unpacked; what can be: {ACCEPTED}"
        )
        return [Unreadable(status, reason)]
    return [Unpacker(name) for name in layers]


async def limited(
    received: AsyncIterable[bytes], layers: Sequence[Layer], limit_bytes: int
) -> AsyncIterator[bytes]:
    """The plain body, piece by piece.

    Raises:
        AnswerTooLargeError: it has more than ``limit_bytes``, packed or plain.
        NodeError: it is not packed as it says, or in a way that is not known.
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


def _through(layers: Sequence[Layer], data: bytes) -> Iterator[bytes]:
    if not layers:
        yield data
        return
    for piece in layers[0].unpack(data):
        yield from _through(layers[1:], piece)
