"""How many bytes of Temporal history a turn of an agent takes, by the server's account, and what late turns cost."""

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHistoryEventFilterType

from benchmarks.bare import Talk
from benchmarks.figures import Row, Sample, gaps_ms, take_marks
from benchmarks.floor_house import RESULT_CHARS, House

EDGE = 40
"""How many turns at the beginning and at the end of a long run are compared."""


async def history_size(client: Client, workflow_id: str) -> tuple[int, int]:
    """Return bytes and events of all histories of a workflow id, from the first to the newest."""
    newest = (await client.get_workflow_handle(workflow_id).describe()).raw_description.workflow_execution_info
    run_id, size, events = newest.first_run_id, 0, 0
    while run_id:
        handle = client.get_workflow_handle(workflow_id, run_id=run_id)
        info = (await handle.describe()).raw_description.workflow_execution_info
        size, events, run_id = size + info.history_size_bytes, events + info.history_length, ""
        last = handle.fetch_history_events(event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT)
        async for event in last:
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW:
                run_id = event.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    return size, events


async def measure_history(house: House, turns: tuple[int, int], by_value: tuple[int, int]) -> list[Row]:
    """Bytes and events per turn of a short and a long agent, against loops that carry their messages by value."""
    sizes: dict[int, tuple[float, float]] = {}
    times: list[float] = []
    for count in turns:
        take_marks()
        run = await house.talk(count)
        times = gaps_ms(take_marks())
        size, events = await history_size(house.platform.client, run.ref.workflow_id)
        sizes[count] = size / count, events / count
    rows: list[Row] = []
    short, long = turns
    for peer in house.peers:
        for mine, theirs in zip(turns, by_value, strict=True):
            handle = await peer.run("BareTalk", Talk(turns=theirs, size=RESULT_CHARS))
            size, _ = await history_size(peer.client, handle.id)
            measure = f"history per turn, {mine:,} turns"
            name = f"{peer.name}: by value, {theirs} turns"
            rows.append(Row(measure, "bytes", Sample([sizes[mine][0]]), name, Sample([size / theirs])))
    take_marks()
    first = f"ours, {short:,} turns"
    for position, unit in enumerate(("bytes", "events")):
        mine, theirs = Sample([sizes[long][position]]), Sample([sizes[short][position]])
        rows.append(Row(f"history per turn, {long:,} turns", unit, mine, first, theirs))
    if len(times) >= 2 * EDGE:
        late, early = Sample(times[-EDGE:]), Sample(times[:EDGE])
        rows.append(Row(f"last {EDGE} of {long:,} turns", "ms", late, f"ours, first {EDGE}", early))
    return rows
