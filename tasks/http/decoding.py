"""Bodies of responses: unpacked piece by piece, and cut off at a limit.

httpx2 unpacks everything that has arrived at once: 64 KiB of gzip may be 64 MiB, and packed twice
64 GiB. So the transport unpacks here, in pieces, and passes plain bytes on.
"""

import re
import zlib
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from http import HTTPStatus
from typing import Protocol

from charsets import find_charset
from engine.errors import NodeError, ResponseTooLargeError
from offload import check_stop, run_off_loop
from tasks.http.media_types import looks_like_text

ACCEPTED = "gzip, deflate"
_PIECE_BYTES = 65_536
_MAX_CODINGS = 4
_GZIP = frozenset({"gzip", "x-gzip"})
_DEFLATE = frozenset({"deflate", "x-deflate"})
_PLAIN = frozenset(
    {"", "identity", "none", "null", "plain", "raw", "binary", "7bit", "8bit", "aws-chunked"}
)
"""Names that servers set although the body is not packed. A charset is one of them too."""
_UNSUPPORTED = re.compile(
    r"aes128gcm|br|compress|dc[bz]|exi|lz4|lzma|pack200-gzip|xz|zip|zstd?|"
    r"bzip2?|snappy|x-(?:bzip2|compress|lzma|snappy|xz)"
)
"""Packings that are known and cannot be undone here."""
_MAX_NAME_CHARS = 40
_MAGIC = b"\x1f\x8b"
"""The first bytes of each gzip member."""


class Decoder(Protocol):
    """One step of a body from its packed form to its plain form."""

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """Return the bytes that ``data`` adds to the unpacked body, in pieces.

        Raises:
            NodeError: If ``data`` cannot be unpacked.
        """
        ...

    def finish(self) -> None:
        """Check that the body is complete.

        Raises:
            NodeError: If the body ended too early.
        """
        ...


class UnsupportedEncoding:
    """A ``Content-Encoding`` that cannot be undone.

    A response without a body, as to HEAD, needs no unpacking. The status of a failure or a redirect
    is enough, so its body counts as empty. The body of a success is an error.
    """

    def __init__(self, status: int, reason: str) -> None:
        self._is_wanted = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
        self._reason = reason

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """Return nothing.

        Raises:
            NodeError: If there is a body, and the response is a success.
        """
        if data and self._is_wanted:
            raise NodeError(self._reason, retryable=False)
        return iter(())

    def finish(self) -> None:
        """Accept every end."""


class Unnamed(UnsupportedEncoding):
    """A ``Content-Encoding`` that no registry knows, such as ``text/html``: plain text passes."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self._is_text: bool | None = None

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """Return ``data`` if the body begins like text.

        Raises:
            NodeError: If it does not, and the response is a success.
        """
        if self._is_text is None and data:
            self._is_text = looks_like_text(data)
        return iter((data,)) if self._is_text else super().unpack(data)


class ContentDecoder:
    """Undoes one ``Content-Encoding``: ``gzip`` with any number of members, or ``deflate``."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._begun = False
        self._before: bytes = b""
        """Bytes between two gzip members that are too few to recognize the next one."""
        self._width = zlib.MAX_WBITS | 16 if encoding == "gzip" else zlib.MAX_WBITS
        self._zlib = zlib.decompressobj(self._width)

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """Return the bytes that ``data`` adds to the unpacked body, in pieces.

        Raises:
            NodeError: If ``data`` is not packed that way.
            WorkStoppedError: If the work was stopped in the meantime.
        """
        while True:
            check_stop()
            if self._zlib.eof:
                data = self._next_member(data)
                if not data:
                    return
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
            self._begun = self._begun or bool(data)
            data = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail
            if piece:
                yield piece
            if not data and len(piece) < _PIECE_BYTES:
                return

    def _next_member(self, data: bytes) -> bytes:
        """Start the next gzip member and return its bytes; nothing where there is none (yet)."""
        if self._encoding != "gzip":
            return b""
        # Some programs fill the rest of a block with zeros, and everything else is ignored, as by
        # the gzip program.
        data = (self._before + data).lstrip(b"\0")
        self._before = data[:1] if len(data) == 1 and data == _MAGIC[:1] else b""
        if not data.startswith(_MAGIC):
            return b""
        self._zlib = zlib.decompressobj(self._width)
        return data

    def finish(self) -> None:
        """Check that the body is complete.

        Raises:
            NodeError: If it ended in the middle; the connection broke, so it may be retried.
        """
        if self._begun and not self._zlib.eof:
            raise NodeError(
                f"the answer is truncated: its {self._encoding} data (Content-Encoding) has no end"
            )


def decoders_of(content_encoding: str, status: int) -> list[Decoder]:
    """Return the layers that undo the ``Content-Encoding`` of a response, in that order."""
    names = [name.partition(";")[0].strip().lower() for name in content_encoding.split(",")]
    packings = [name for name in reversed(names) if not _is_plain(name)]
    if len(packings) > _MAX_CODINGS:  # more than any honest response has
        return [UnsupportedEncoding(status, f"the answer is packed {len(packings)} times over")]
    unsupported = next((name for name in packings if _UNSUPPORTED.fullmatch(name)), None)
    if unsupported is not None:
        return [UnsupportedEncoding(status, _unknown(unsupported))]
    return [_decoder(name, status) for name in packings]


def _is_plain(name: str) -> bool:
    return name in _PLAIN or find_charset(name) is not None


def _decoder(name: str, status: int) -> Decoder:
    if name in _GZIP:
        return ContentDecoder("gzip")
    if name in _DEFLATE:
        return ContentDecoder("deflate")
    return Unnamed(status, _unknown(name))


def _unknown(name: str) -> str:
    return (
        f"the answer is packed as '{name[:_MAX_NAME_CHARS]}' (Content-Encoding), which was not "
        f"requested and cannot be unpacked; accepted are: {ACCEPTED}"
    )


async def limited(
    received: AsyncIterable[bytes], layers: Sequence[Decoder], limit_bytes: int
) -> AsyncIterator[bytes]:
    """Return the plain body, piece by piece.

    Raises:
        ResponseTooLargeError: If it has more than ``limit_bytes``, packed, plain or in between.
        NodeError: If it is not packed as its header says, is truncated, or is packed in an unknown
            way.
    """
    chain = _Chain(layers, limit_bytes)
    size = 0
    async for chunk in received:
        size += len(chunk)
        if size > limit_bytes:
            raise ResponseTooLargeError(limit_bytes)
        if len(layers) > 1:
            # What lies between two layers can be a thousand times as large as both of its ends.
            for piece in await run_off_loop(chain.unpack_all, chunk):
                yield piece
        else:
            for piece in chain.unpack(chunk):
                yield piece
    for layer in layers:
        layer.finish()


class _Chain:
    """The layers of a body, and how many bytes each of them has returned."""

    def __init__(self, layers: Sequence[Decoder], limit_bytes: int) -> None:
        self._layers = layers
        self._limit_bytes = limit_bytes
        self._sizes = [0] * len(layers)

    def unpack_all(self, data: bytes) -> list[bytes]:
        """Return ``data``, unpacked by all layers."""
        return list(self.unpack(data))

    def unpack(self, data: bytes, at: int = 0) -> Iterator[bytes]:
        """Return ``data``, unpacked by the layers from number ``at`` on."""
        if at == len(self._layers):
            yield data
            return
        for piece in self._layers[at].unpack(data):
            self._sizes[at] += len(piece)
            if self._sizes[at] > self._limit_bytes:
                raise ResponseTooLargeError(self._limit_bytes)
            yield from self.unpack(piece, at + 1)
