"""Who may read and write what: access lists as rows, and the conditions that every statement carries.

Deny is the default. An object is reached by its owner, by a grant on it, and, as long as it has no list of its own, by
whoever reaches its collections; the right to write comes from its home collection alone. A collection is reached by its
owner, by a grant on it and through the collections it is nested in. An administrator reaches everything of the tenant.
Whatever a principal may not read does not exist for it.
"""

from typing import Literal

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from content.tables import collection_children, collection_members, collections, grants, objects
from engine.values import PLATFORM_ROLES, Principal, Value

Right = Literal["read", "add", "write"]

_GIVEN_BY: dict[Right, tuple[Right, ...]] = {
    "read": ("read", "add", "write"),
    "add": ("add", "write"),
    "write": ("write",),
}


class Grantees(Value):
    """Who is meant: everyone of the tenant, or any of these."""

    everyone: bool = False
    users: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


class Access(Value):
    """An access list; the owner needs no entry. `add` puts new objects into a collection; write holds add, add read."""

    read: Grantees = Grantees()
    add: Grantees = Grantees()
    write: Grantees = Grantees()


OPEN_DEFAULT = Access(
    read=Grantees(everyone=True),
    add=Grantees(roles=("author", "publisher", "operator")),
)
"""The list of the collection `default` when a tenant's first object makes it."""


def keys_of(principal: Principal) -> frozenset[str]:
    """Return the grantees that a principal is: the tenant, itself, its roles and groups."""
    roles = principal.roles | (PLATFORM_ROLES if "administrator" in principal.roles else frozenset())
    return frozenset(
        {"tenant:*", f"user:{principal.subject}"}
        | {f"role:{role}" for role in roles}
        | {f"group:{group}" for group in principal.groups}
    )


def _granted(principal: Principal, right: Right) -> sa.Select[tuple[str]]:
    return sa.select(grants.c.resource_id).where(
        grants.c.tenant == principal.tenant,
        grants.c.right.in_(_GIVEN_BY[right]),
        grants.c.grantee.in_(sorted(keys_of(principal))),
    )


def reachable_collections(principal: Principal, right: Right = "read") -> sa.Select[tuple[str]]:
    """Return the ids of the collections that the principal has `right` on, nested ones with them."""
    if principal.has_role("administrator"):
        return sa.select(collections.c.collection_id).where(collections.c.tenant == principal.tenant)
    direct = sa.select(collections.c.collection_id.label("id")).where(
        collections.c.tenant == principal.tenant,
        sa.or_(collections.c.owner == principal.subject, collections.c.collection_id.in_(_granted(principal, right))),
    )
    return _with_nested(principal.tenant, direct)


def nested_in(tenant: str, collection_id: str) -> sa.Select[tuple[str]]:
    """Return the ids of a collection and everything nested in it, without asking who may see it."""
    start = sa.select(collections.c.collection_id.label("id")).where(
        collections.c.tenant == tenant, collections.c.collection_id == collection_id
    )
    return _with_nested(tenant, start)


def _with_nested(tenant: str, start: sa.Select[tuple[str]]) -> sa.Select[tuple[str]]:
    # UNION, not UNION ALL: it ends even if two collections were to hold each other.
    reached = start.cte(recursive=True)
    step = sa.select(collection_children.c.child_id).join(
        reached,
        sa.and_(collection_children.c.tenant == tenant, collection_children.c.parent_id == reached.c.id),
    )
    reached = reached.union(step)
    return sa.select(reached.c.id)


def in_collections(tenant: str, chosen: sa.Select[tuple[str]]) -> sa.ColumnElement[bool]:
    """Return the condition that an object has its home in one of the chosen collections or is a member of one."""
    members = sa.select(collection_members.c.object_id).where(
        collection_members.c.tenant == tenant, collection_members.c.collection_id.in_(chosen)
    )
    return sa.or_(objects.c.home_id.in_(chosen), objects.c.object_id.in_(members))


def may(principal: Principal, right: Literal["read", "write"]) -> sa.ColumnElement[bool]:
    """Return the condition on a row of `objects` that the principal has the right; it includes the tenant."""
    own_tenant = objects.c.tenant == principal.tenant
    if principal.has_role("administrator"):
        return own_tenant
    reached = reachable_collections(principal, right)
    inherited = in_collections(principal.tenant, reached) if right == "read" else objects.c.home_id.in_(reached)
    return sa.and_(
        own_tenant,
        sa.or_(
            objects.c.owner == principal.subject,
            objects.c.object_id.in_(_granted(principal, right)),
            sa.and_(objects.c.inherits, inherited),
        ),
    )


async def replace_grants(connection: AsyncConnection, tenant: str, resource_id: str, access: Access | None) -> None:
    """Set the list of an object or a collection; None leaves it without any grant."""
    await connection.execute(sa.delete(grants).where(grants.c.tenant == tenant, grants.c.resource_id == resource_id))
    rows = [
        {"tenant": tenant, "resource_id": resource_id, "right": right, "grantee": grantee}
        for right, grantees in (access or Access())
        for grantee in _as_keys(grantees)
    ]
    if rows:
        await connection.execute(sa.insert(grants), rows)


async def load_grants(connection: AsyncConnection, tenant: str, resource_id: str) -> Access:
    """Return the list of an object or a collection as it was set, its names in order."""
    rows = await connection.execute(
        sa.select(grants.c.right, grants.c.grantee)
        .where(grants.c.tenant == tenant, grants.c.resource_id == resource_id)
        .order_by(grants.c.grantee)
    )
    found: dict[str, dict[str, list[str]]] = {}
    for right, grantee in rows:
        kind, _, name = str(grantee).partition(":")
        found.setdefault(str(right), {}).setdefault(kind, []).append(name)
    return Access.model_validate(
        {
            right: {
                "everyone": "tenant" in kinds,
                "users": kinds.get("user", ()),
                "roles": kinds.get("role", ()),
                "groups": kinds.get("group", ()),
            }
            for right, kinds in found.items()
        }
    )


def _as_keys(grantees: Grantees) -> frozenset[str]:
    return frozenset(
        ({"tenant:*"} if grantees.everyone else set[str]())
        | {f"user:{name}" for name in grantees.users}
        | {f"role:{name}" for name in grantees.roles}
        | {f"group:{name}" for name in grantees.groups}
    )
