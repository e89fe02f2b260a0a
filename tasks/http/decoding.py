"""Response body decoder: undoes ``Content-Encoding`` off the event loop, up to a size limit.

httpx2's decoders read only the first member of a gzip body, and a truncated body is not an error
for them (decision 0026). Therefore the transport decodes with zlib and returns plain bytes.
"""

import zlib
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from http import HTTPStatus

from engine.errors import NodeError, PermanentError, ResponseTooLargeError
from offload import check_stop, run_off_loop

ACCEPTED = "gzip, deflate"
_PIECE_BYTES = 65_536
_MAX_CODINGS = 4
_GZIP_BITS = zlib.MAX_WBITS | 16
_WINDOW_BITS = {
    "gzip": _GZIP_BITS,
    "x-gzip": _GZIP_BITS,
    "deflate": zlib.MAX_WBITS,
    "x-deflate": zlib.MAX_WBITS,
}
_UNSUPPORTED = frozenset(
    {"aes128gcm", "br", "compress", "x-compress", "dcb", "dcz", "exi", "pack200-gzip", "zstd"}
)
"""Registered codings that the service does not decode. Servers also send names that are not
codings, such as ``none`` or ``UTF-8``; like httpx2, the decoder ignores them."""
_MAGIC = b"\x1f\x8b"
"""The first bytes of each gzip member."""


class ContentDecoder:
    """Decoder of one coding: ``gzip`` with any number of members, or ``deflate``."""

    def __init__(self, coding: str, limit_bytes: int) -> None:
        self._coding = coding.removeprefix("x-")
        self._limit_bytes = limit_bytes
        self._size = 0
        self._started = False
        self._pending: bytes = b""
        """Bytes between two gzip members that are too few to recognize the next member."""
        self._zlib = zlib.decompressobj(_WINDOW_BITS[coding])

    def decode(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Return the decoded bytes of ``chunks``, in pieces.

        Raises a ``NodeError`` for bytes in another coding, a ``ResponseTooLargeError``, and a
        ``WorkStoppedError`` if the work was stopped.
        """
        for chunk in chunks:
            for piece in self._decode(chunk):
                self._size += len(piece)
                if self._size > self._limit_bytes:
                    raise ResponseTooLargeError(self._limit_bytes)
                yield piece

    def _decode(self, data: bytes) -> Iterator[bytes]:
        while True:
            check_stop()
            if self._zlib.eof:
                data = self._next_member(data)
                if not data:
                    return
            try:
                piece = self._zlib.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                if not self._started and self._coding == "deflate":
                    # Some servers omit the zlib header that "deflate" requires (RFC 9110, 8.4.1.2).
                    self._started = True
                    self._zlib = zlib.decompressobj(-zlib.MAX_WBITS)
                    continue
                raise NodeError(
                    f"the response is not valid {self._coding} (Content-Encoding): {error}"
                ) from None
            self._started = self._started or bool(data)
            data = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail
            if piece:
                yield piece
            if not data and len(piece) < _PIECE_BYTES:
                return

    def _next_member(self, data: bytes) -> bytes:
        """Start the next gzip member and return its bytes, or nothing if none starts here."""
        if self._coding != "gzip":
            return b""
        # Some programs fill the last block with zeros. Other bytes after a member are ignored, as
        # by the gzip program.
        data = (self._pending + data).lstrip(b"\0")
        self._pending = data if data == _MAGIC[:1] else b""
        if not data.startswith(_MAGIC):
            return b""
        self._zlib = zlib.decompressobj(_GZIP_BITS)
        return data

    def finish(self) -> None:
        """Raise a ``NodeError``, retryable because the connection broke, for a truncated body."""
        if self._started and not self._zlib.eof:
            raise NodeError(
                f"the response is truncated: its {self._coding} data (Content-Encoding) has no end"
            )


def codings_of(content_encoding: str) -> list[str]:
    """Return the content codings of a header, in the order in which they are undone."""
    names = [name.partition(";")[0].strip().lower() for name in content_encoding.split(",")]
    return [name for name in reversed(names) if name in _WINDOW_BITS or name in _UNSUPPORTED]


async def decode_body(
    received: AsyncIterable[bytes], codings: Sequence[str], status: int, limit_bytes: int
) -> AsyncIterator[bytes]:
    """Return the decoded body, piece by piece.

    A body in an unsupported coding is an error of a success only. It counts as empty otherwise,
    because the status of a failure or a redirect is sufficient.

    Raises:
        ResponseTooLargeError: If the body exceeds ``limit_bytes``, received or after any decoder.
        NodeError: If it is truncated, not in the coding of its header, or in an unsupported one.
    """
    unsupported = _unsupported(codings)
    decoders = [] if unsupported else [ContentDecoder(name, limit_bytes) for name in codings]
    size = 0
    async for chunk in received:
        size += len(chunk)
        if size > limit_bytes:
            raise ResponseTooLargeError(limit_bytes)
        if unsupported and chunk:
            if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
                raise PermanentError(unsupported)
            return
        if not decoders:
            yield chunk
            continue
        pieces: Iterable[bytes] = (chunk,)
        for decoder in decoders:
            pieces = decoder.decode(pieces)
        for piece in await run_off_loop(list[bytes], pieces):
            yield piece
    for decoder in decoders:
        decoder.finish()


def _unsupported(codings: Sequence[str]) -> str | None:
    if len(codings) > _MAX_CODINGS:
        return f"the response has {len(codings)} content codings, more than {_MAX_CODINGS}"
    name = next((name for name in codings if name in _UNSUPPORTED), None)
    return name and (
        f"the response has the content coding '{name}', which the request does not accept; "
        f"accepted: {ACCEPTED}"
    )
