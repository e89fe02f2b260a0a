"""Data encryption: stores the results of nodes with ``hideData`` encrypted."""

import base64
import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from engine.errors import StorageUnavailableError
from engine.json_values import JsonValue, encode_json
from engine.redaction import HIDDEN
from file_modes import insecure_mode_reason

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

_CIPHERTEXT = "sealed"
ENCRYPTED_PREFIX = encode_json({**HIDDEN, _CIPHERTEXT: ""}).removesuffix('"}')
"""Begin of every text that ``encrypt`` returns."""
_KEY_BYTES = 32


class DataEncryption:
    """Encrypts and decrypts results. The key file is created when a key is first needed."""

    def __init__(self, data_encryption_key: str | None, key_file: Path | None) -> None:
        """``data_encryption_key`` is any string; without it, ``key_file`` stores the key."""
        self._data_key = data_encryption_key
        self._key_file = key_file
        self._fernet: Fernet | None = None

    def encrypt(self, result: Mapping[str, JsonValue]) -> str:
        """Return the JSON of ``resultDetail`` that contains a handler's whole result, encrypted.

        Raises:
            StorageUnavailableError: If neither a key nor a key file is available.
        """
        token = self._cipher().encrypt(encode_json(dict(result)).encode()).decode()
        return encode_json({**HIDDEN, _CIPHERTEXT: token})

    def decrypt(self, detail: Mapping[str, JsonValue]) -> dict[str, JsonValue] | None:
        """Return the result that ``encrypt`` stored; ``None`` for any other ``resultDetail``.

        Raises:
            StorageUnavailableError: If it was encrypted with another key.
        """
        token = detail.get(_CIPHERTEXT)
        if detail.get("hidden") is not True or not isinstance(token, str):
            return None
        cipher = self._cipher()
        from cryptography.fernet import InvalidToken  # noqa: PLC0415 - as in ``_cipher``

        try:
            text = cipher.decrypt(token.encode())
        except InvalidToken:
            raise StorageUnavailableError(
                "hidden data was encrypted with another key: "
                "DATA_ENCRYPTION_KEY or the key file was changed"
            ) from None
        return cast("dict[str, JsonValue]", json.loads(text))

    def _cipher(self) -> "Fernet":
        if self._fernet is None:
            # Imported when the first node hides its data, because it takes 7 MB.
            from cryptography.fernet import Fernet  # noqa: PLC0415
            from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

            secret = self._data_key.encode() if self._data_key else self._read_key_file()
            derived = HKDF(SHA256(), 32, salt=None, info=b"workflow hideData").derive(secret)
            self._fernet = Fernet(base64.urlsafe_b64encode(derived))
        return self._fernet

    def _read_key_file(self) -> bytes:
        if self._key_file is None:
            raise StorageUnavailableError(
                "nodes with hideData need DATA_ENCRYPTION_KEY, or a database in a file"
            )
        try:
            if not self._key_file.exists():
                _create_key_file(self._key_file)
            if (reason := insecure_mode_reason(self._key_file)) is not None:
                raise StorageUnavailableError(f"the key file cannot be used: {reason}")
            key = self._key_file.read_bytes().strip()
        except OSError as error:
            raise StorageUnavailableError(f"the key file cannot be used: {error}") from None
        if not key:
            raise StorageUnavailableError(f"the key file {self._key_file.name} is empty")
        return key


def _create_key_file(path: Path) -> None:
    """Create the file together with its key, because another service may read it concurrently."""
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(base64.urlsafe_b64encode(os.urandom(_KEY_BYTES)))
        with suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()
