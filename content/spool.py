"""Files on their way in: piece by piece into a nameless file on the disk, so that memory holds no whole one."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from engine.errors import Unavailable

PIECE = 1024 * 1024
"""Bytes that are hashed, written and read at a time."""


@dataclass(frozen=True)
class Spooled:
    """A whole file that has come in: its size in bytes and the sha256 of its bytes in hexadecimal."""

    file: BinaryIO
    size: int
    digest: str

    def __len__(self) -> int:
        return self.size


@asynccontextmanager
async def spool(pieces: AsyncIterable[bytes], folder: Path) -> AsyncGenerator[Spooled]:
    """Take in all of `pieces` and give them as a file while the block runs; whatever happens, nothing of it is left.

    The file lies on the disk of `folder`, without a name there. What `pieces` raises is not caught.

    Raises:
        Unavailable: the disk takes no more.
    """
    with _nameless(folder) as file:
        hashed, size, waiting = hashlib.sha256(), 0, bytearray()

        def take(piece: bytes) -> None:
            hashed.update(piece)
            file.write(piece)

        async def write() -> None:
            try:
                await asyncio.to_thread(take, bytes(waiting))
            except OSError as error:
                raise _full(error) from error
            waiting.clear()

        async for piece in pieces:
            size += len(piece)
            waiting += piece
            if len(waiting) >= PIECE:
                await write()
        await write()
        yield Spooled(file, size, hashed.hexdigest())


def _nameless(folder: Path) -> BinaryIO:
    try:
        return cast(BinaryIO, tempfile.TemporaryFile(dir=folder))
    except OSError as error:
        raise _full(error) from error


def _full(error: OSError) -> Unavailable:
    return Unavailable(f"the file cannot be taken in: {error.strerror}; make room on the disk of the data folder")
