"""The key ring: what is sealed at rest and what the server hands out sealed or signed.

A ring is a file of 256-bit keys. The first one seals, all of them unseal, so that a rotation keeps old data readable.
Each use derives a key of its own from a ring key, the purpose and the associated data (HKDF-SHA256): a payload of
one workflow shares no key, and so no bound on random nonces, with another's. A file that is damaged or missing after
it was made is refused: a new one would make everything sealed unreadable without a word.
"""

import base64
import binascii
import contextlib
import hashlib
import hmac
import json
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from engine.errors import Invalid, Unavailable
from server.data_folder import DataFolder, FolderLock, create_once, write_private

FORMAT = 1
KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16


class Unsealable(Invalid):
    """Sealed data does not open: another key, other associated data, or it was changed."""

    code = "unsealable"


@dataclass(frozen=True)
class Key:
    """One key of a ring; its id is made from its bytes, so that a damaged key is noticed."""

    secret: bytes = field(repr=False)
    made_at: str

    @property
    def id(self) -> str:
        """16 hexadecimal digits; safe to show and to store beside what the key sealed."""
        return hashlib.sha256(b"upstairs key id\0" + self.secret).hexdigest()[:16]

    @classmethod
    def new(cls) -> "Key":
        """Return a fresh random key."""
        return cls(secrets.token_bytes(KEY_BYTES), datetime.now(UTC).isoformat(timespec="seconds"))

    def derive(self, purpose: str, aad: bytes) -> bytes:
        """Return the 32 bytes for one purpose and one associated data."""
        info = purpose.encode() + b"\0" + aad
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(self.secret)


class KeyRing:
    """Keys in memory; `reload` of a ring that has a file picks up a rotation made by another process."""

    def __init__(self, keys: Iterable[Key], path: Path | None = None) -> None:
        self._keys = tuple(keys)
        self._path = path
        assert self._keys, "a ring has at least one key"

    def __repr__(self) -> str:
        return f"KeyRing({[key.id for key in self._keys]})"

    @classmethod
    def in_memory(cls) -> "KeyRing":
        """Return a ring of one fresh key that no file keeps."""
        return cls([Key.new()])

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all keys, the sealing one first."""
        return tuple(key.id for key in self._keys)

    def seal_bytes(self, data: bytes, aad: bytes, *, purpose: str) -> tuple[str, bytes]:
        """Return (key id, nonce and ciphertext) of `data`, which only the same `aad` and `purpose` open again."""
        key = self._keys[0]
        nonce = secrets.token_bytes(NONCE_BYTES)
        bound = key.id.encode() + b"\0" + aad
        return key.id, nonce + AESGCM(key.derive(purpose, aad)).encrypt(nonce, data, bound)

    def open_bytes(self, key_id: str, sealed: bytes, aad: bytes, *, purpose: str) -> bytes:
        """Return what `seal_bytes` sealed; raises `Unsealable` and never returns anything unverified."""
        key = self._find(key_id)
        if len(sealed) < NONCE_BYTES + TAG_BYTES:
            raise Unsealable(f"Sealed data of {len(sealed)} bytes is cut off", key=key_id)
        nonce, ciphertext = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            bound = key.id.encode() + b"\0" + aad
            return AESGCM(key.derive(purpose, aad)).decrypt(nonce, ciphertext, bound)
        except InvalidTag:
            raise Unsealable(
                f"Data sealed with key {key_id} does not open here: it was changed, or sealed for something else",
                key=key_id,
            ) from None

    def seal(self, data: bytes, aad: str) -> str:
        """Return `data` as text that can be handed out: encrypted, authenticated, bound to `aad`."""
        key_id, sealed = self.seal_bytes(data, aad.encode(), purpose="state")
        return f"s1.{key_id}.{_text(sealed)}"

    def open(self, sealed: str, aad: str) -> bytes:
        """Return the data of `seal`; raises `Unsealable` for anything else."""
        key_id, body = _parts(sealed, "s1")
        return self.open_bytes(key_id, body, aad.encode(), purpose="state")

    def sign(self, data: bytes, aad: str) -> str:
        """Return a signature (HMAC-SHA256) of `data` for the use `aad`; the data itself stays readable."""
        key = self._keys[0]
        return f"h1.{key.id}.{_text(_mac(key, data, aad))}"

    def verify(self, data: bytes, signature: str, aad: str) -> None:
        """Return if `signature` is one of `sign` for the same data and use; raises `Unsealable` otherwise."""
        key_id, body = _parts(signature, "h1")
        if not hmac.compare_digest(_mac(self._find(key_id), data, aad), body):
            raise Unsealable(f"The signature with key {key_id} does not belong to this data", key=key_id)

    def rotate(self) -> str:
        """Put a new key in front, keep the old ones, write the file; return the new key's id.

        Other processes find the key in the file when they first meet something that it sealed.
        """
        if self._path is None:
            self._keys = (Key.new(), *self._keys)
            return self.ids[0]
        try:
            with FolderLock(self._path.with_name(f"{self._path.name}.lock"), f"the key ring {self._path}"):
                keys = (Key.new(), *_read(self._path))
                write_private(self._path, _document(keys))
        except OSError as error:
            raise Unavailable(
                f"The key ring {self._path} cannot be written ({error.strerror}); rotate it where it can",
                file=str(self._path),
            ) from error
        self._keys = keys
        return self.ids[0]

    def reload(self) -> None:
        """Read the file again, if there is one."""
        if self._path is not None:
            self._keys = _read(self._path)

    def _find(self, key_id: str) -> Key:
        for attempt in range(2):
            for key in self._keys:
                if key.id == key_id:
                    return key
            if attempt == 0:
                self.reload()
        raise Unsealable(
            f"Sealed with key {key_id[:32]!r}, which is not in the key ring ({', '.join(self.ids)}); "
            "restore the ring that this data was made with",
            key=key_id[:32],
        )


def open_key_ring(folder: DataFolder, keys_file: Path | None = None) -> KeyRing:
    """Return the ring of the data folder, made at the first start, or the one in `keys_file`, which must exist.

    Raises `Invalid` when the file is damaged or others can read it, `Unavailable` when it is gone.
    """
    if keys_file is not None:
        if not keys_file.exists():
            raise Unavailable(
                f"The key ring {keys_file} that keys_file names does not exist; mount it or correct the setting",
                file=str(keys_file),
            )
        return KeyRing(_read(keys_file), keys_file)
    path = folder.key_ring
    if not path.exists():
        if folder.keys_made.exists():
            raise Unavailable(
                f"The key ring {path} is gone, and what it sealed cannot be read without it; restore it from a backup "
                f"(it held the key {folder.keys_made.read_text(encoding='utf-8').strip()[:16]})",
                file=str(path),
            )
        with contextlib.suppress(FileExistsError):
            create_once(path, _document([Key.new()]))
    ring = KeyRing(_read(path), path)
    with contextlib.suppress(FileExistsError):
        create_once(folder.keys_made, f"{ring.ids[-1]}\n".encode())
    return ring


def _document(keys: Iterable[Key]) -> bytes:
    rows = [{"id": key.id, "key": _text(key.secret), "made_at": key.made_at} for key in keys]
    return json.dumps({"format": FORMAT, "keys": rows}, indent=1).encode()


def _read(path: Path) -> tuple[Key, ...]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o027:
            raise Invalid(
                f"The key ring {path} has mode {mode:04o}, so that others can use it; run `chmod 600` on it "
                "and rotate the keys if someone may have read them",
                file=str(path),
            )
        document = cast("dict[str, Any]", json.loads(path.read_bytes()))
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r}, this version reads {FORMAT}")
        keys = tuple(_key(row) for row in cast("list[dict[str, str]]", document["keys"]))
        if not keys or len({key.id for key in keys}) != len(keys):
            raise ValueError("no keys, or one of them twice")
        return keys
    except (ValueError, KeyError, TypeError, OSError) as error:
        # The text of the error must not carry a piece of the file.
        reason = str(error) if type(error) is ValueError else type(error).__name__
        raise Invalid(
            f"The key ring {path} is damaged ({reason}); restore it from a backup. It is never replaced by itself, "
            "as everything sealed would be lost",
            file=str(path),
        ) from None


def _key(row: dict[str, str]) -> Key:
    key = Key(_bytes(row["key"]), str(row["made_at"]))
    if len(key.secret) != KEY_BYTES or key.id != row["id"]:
        raise ValueError("a key does not match its id")
    return key


def _mac(key: Key, data: bytes, aad: str) -> bytes:
    return hmac.digest(key.derive("sign", aad.encode()), data, "sha256")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if _text(data) != text:
        raise ValueError("not the one spelling of these bytes")
    return data


def _parts(text: str, version: str) -> tuple[str, bytes]:
    parts = text.split(".")
    if len(parts) != 3 or parts[0] != version or len(parts[1]) != 16 or not parts[1].isascii():
        raise Unsealable("Not something that this server sealed or signed")
    try:
        return parts[1], _bytes(parts[2])
    except (binascii.Error, ValueError):
        raise Unsealable("Not something that this server sealed or signed") from None
