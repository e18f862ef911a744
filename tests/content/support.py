"""What the tests of the content store share: a schema, a small embedding model, documents to publish."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from content.database import Database, metadata
from content.embeddings import Vectors
from content.objects import ContentStore
from content.passages import cut_passages
from content.records import ObjectVersion
from content.structure import Block, Box, Page, Structure
from content.tables import create_full_text
from engine.values import Principal


async def create_tables(database: Database) -> None:
    """Make whatever tables of the content layer are not there yet."""
    async with database.write() as connection:
        await connection.run_sync(metadata.create_all)
        await connection.run_sync(create_full_text)


def person(subject: str, *roles: str, tenant: str = "acme", groups: Sequence[str] = ()) -> Principal:
    return Principal(tenant=tenant, subject=subject, roles=frozenset(roles), groups=frozenset(groups))


class Words:
    """A tiny embedding model: words, cut to their first five letters, hashed into 64 dimensions."""

    model_id = "test/words"
    dimensions = 64

    def __init__(self, model_id: str = "test/words") -> None:
        self.model_id = model_id

    def embed(self, texts: Sequence[str]) -> Vectors:
        rows = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in re.findall(r"\w+", text.lower()):
                row[int.from_bytes(hashlib.sha256(word[:5].encode()).digest()[:4]) % self.dimensions] += 1
            row /= np.linalg.norm(row) or 1
        return rows


def document(*sections: tuple[str, Sequence[str]], reasons: Sequence[str] = ()) -> Structure:
    """Return a document of one page per section: its heading, then its paragraphs, each with a box."""
    blocks: list[Block] = []
    for page, (heading, paragraphs) in enumerate(sections, 1):
        texts = [heading, *paragraphs]
        for line, text in enumerate(texts):
            box = Box(page=page, x0=72, y0=72 + 40 * line, x1=500, y1=100 + 40 * line)
            kind, level = ("heading", 1) if line == 0 else ("paragraph", None)
            blocks.append(Block(kind=kind, text=text, level=level, boxes=(box,)))
    pages = [Page(number=number, width=595, height=842) for number in range(1, len(sections) + 1)]
    return Structure.build(blocks, pages=pages, reasons=reasons)


async def publish(
    store: ContentStore,
    principal: Principal,
    version: ObjectVersion,
    structure: Structure,
    *,
    embedder: Words | None = None,
    size: int = 40,
) -> ObjectVersion:
    """Cut, embed and publish a structure as a version."""
    cut = cut_passages(structure, target_tokens=size, max_tokens=size)
    model = embedder or Words()
    vectors = model.embed([passage.indexed_text for passage in cut])
    return await store.publish_version(
        principal, version.object_id, version.number, structure, cut, vectors, model.model_id
    )


async def put(
    store: ContentStore, principal: Principal, name: str, text: str, *, collection: str = "default"
) -> ObjectVersion:
    """Receive and publish a document of one section."""
    version = await store.receive(principal, name, text.encode(), "text/plain", collection=collection)
    return await publish(store, principal, version, document((name, [text])))
