"""The people of the local tenant, where the data folder is the boundary: real principals with real roles."""

import getpass

from engine.errors import Invalid
from engine.values import PLATFORM_ROLES, Principal
from server.settings import Settings

LOCAL_TENANT = "local"


def local_user(settings: Settings, name: str | None) -> Principal:
    """Return a user of the local tenant: the owner of the data folder, or one that the settings name."""
    owner = getpass.getuser()
    if name is None or name == owner:
        return Principal(tenant=LOCAL_TENANT, subject=owner, roles=PLATFORM_ROLES | set(settings.local.roles))
    roles = settings.local.users.get(name)
    if roles is None:
        known = ", ".join([owner, *settings.local.users])
        raise Invalid(f"there is no local user {name!r}; the settings name {known} (local.users)", known=known)
    return Principal(tenant=LOCAL_TENANT, subject=name, roles=frozenset(roles))
