"""Named secrets of tenants, sealed by the key ring; only their names travel."""

from typing import Protocol

import sqlalchemy as sa

from content.database import Database, upsert
from engine.errors import Denied, NotFound
from engine.values import Principal, utc_now
from server.store import tables


class Sealer(Protocol):
    """The key ring, as far as secrets need it."""

    def seal(self, data: bytes, aad: str) -> str:
        """Encrypt under the newest key."""
        ...

    def open(self, sealed: str, aad: str) -> bytes:
        """Decrypt under whichever key sealed it."""
        ...


class SqlSecrets:
    """The port `Secrets` over the database."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        """Keep the database and the key ring."""
        self._database = database
        self._sealer = sealer

    async def put(self, principal: Principal, name: str, value: str) -> None:
        """Store or replace a secret.

        Raises:
            Denied: the principal is no administrator of its tenant.
        """
        if not principal.has_role("administrator"):
            raise Denied("secrets are set by an administrator of the tenant")
        fields = {
            "sealed": self._sealer.seal(value.encode(), _aad(principal.tenant, name)),
            "created_at": utc_now(),
            "created_by": principal.subject,
        }
        async with self._database.write() as connection:
            statement = upsert(tables.secrets, connection).values(tenant=principal.tenant, name=name, **fields)
            await connection.execute(statement.on_conflict_do_update(index_elements=["tenant", "name"], set_=fields))

    async def names(self, principal: Principal) -> list[str]:
        """Return the names of the tenant's secrets, never their values."""
        query = sa.select(tables.secrets.c.name).where(tables.secrets.c.tenant == principal.tenant)
        async with self._database.read() as connection:
            return sorted((await connection.execute(query)).scalars())

    async def resolve(self, tenant: str, name: str) -> str:
        """Return the value.

        Raises:
            NotFound: the tenant has no secret of that name.
        """
        table = tables.secrets
        query = sa.select(table.c.sealed).where(table.c.tenant == tenant, table.c.name == name)
        async with self._database.read() as connection:
            sealed = (await connection.execute(query)).scalar_one_or_none()
        if sealed is None:
            raise NotFound(f"there is no secret named {name!r}; an administrator sets it with: upstairs secret {name}")
        return self._sealer.open(sealed, _aad(tenant, name)).decode()


def _aad(tenant: str, name: str) -> str:
    return f"secret/{tenant}/{name}"
