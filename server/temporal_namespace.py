"""What the platform needs of a Temporal namespace: that it is there, its retention, its search attributes."""

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    GetClusterInfoRequest,
    UpdateNamespaceRequest,
)
from temporalio.client import Client

SEARCH_ATTRIBUTES = ("Tenant", "Kind", "Definition")
"""Keywords on every run: labels to find it by, never a boundary between tenants."""

RPC_TIMEOUT = timedelta(seconds=5)


async def cluster_id(client: Client) -> str:
    """Return the id that the server made with its database and keeps in it."""
    answer = await client.workflow_service.get_cluster_info(GetClusterInfoRequest(), timeout=RPC_TIMEOUT)
    return answer.cluster_id


async def prepare_namespace(client: Client, retention_days: int) -> None:
    """Give the client's namespace, which must exist, the retention and the search attributes it lacks."""
    service, name = client.workflow_service, client.namespace
    found = await service.describe_namespace(DescribeNamespaceRequest(namespace=name), timeout=RPC_TIMEOUT)
    wanted = Duration(seconds=int(timedelta(days=retention_days).total_seconds()))
    if found.config.workflow_execution_retention_ttl != wanted:
        config = NamespaceConfig(workflow_execution_retention_ttl=wanted)
        await service.update_namespace(UpdateNamespaceRequest(namespace=name, config=config), timeout=RPC_TIMEOUT)
    missing = await missing_search_attributes(client)
    if missing:
        keyword = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
        added = AddSearchAttributesRequest(namespace=name, search_attributes=dict.fromkeys(missing, keyword))
        await client.operator_service.add_search_attributes(added, timeout=RPC_TIMEOUT)


async def missing_search_attributes(client: Client) -> tuple[str, ...]:
    """Return which of the platform's search attributes the client's namespace does not have."""
    asked = ListSearchAttributesRequest(namespace=client.namespace)
    found = await client.operator_service.list_search_attributes(asked, timeout=RPC_TIMEOUT)
    return tuple(name for name in SEARCH_ATTRIBUTES if name not in found.custom_attributes)
