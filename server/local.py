"""The people of the local tenant, where the data folder is the boundary: real principals with real roles."""

import getpass

from engine.errors import Invalid
from engine.values import PLATFORM_ROLES, Principal
from server.settings import Settings

LOCAL_TENANT = "local"


def local_user(settings: Settings, name: str | None) -> Principal:
    """Return a user of the local tenant: the owner of the data folder, or one that the settings name.

    Raises:
        Invalid: the settings name no such user.
    """
    owner = getpass.getuser()
    name = owner if name is None else name
    if name == owner:
        roles = PLATFORM_ROLES | set(settings.local.roles)
    elif name in settings.local.users:
        roles = frozenset(settings.local.users[name])
    else:
        known = ", ".join([owner, *settings.local.users])
        raise Invalid(f"there is no local user {name!r}; the settings name {known} (local.users)", known=known)
    groups = frozenset(group for group, members in settings.local.groups.items() if name in members)
    return Principal(tenant=LOCAL_TENANT, subject=name, roles=roles, groups=groups)
