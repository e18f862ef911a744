"""The pages and streams over real HTTP, as a browser and as a program use them."""

import json
import re

import anyio
import httpx2
import pytest

from engine.ports import TaskAnswer
from engine.runs import Change
from server.door import Door
from tests.server.flat import Flat
from tests.server.served import Served

pytestmark = pytest.mark.anyio

FORM = {
    "type": "object",
    "properties": {
        "amount": {"type": "number", "title": "Amount <b>"},
        "count": {"type": "integer", "default": 3},
        "paid": {"type": "boolean"},
        "currency": {"enum": ["EUR", "USD"]},
        "note": {"type": "string"},
        "lines": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["amount"],
}


async def let_in(served: Served, browser: httpx2.AsyncClient, path: str = "/runs", user: str | None = None) -> str:
    """Open a one-time link; return where it led."""
    door: Door = served.app.state.door
    answer = await browser.get(door.link(path, user))
    assert answer.status_code == 303
    return answer.headers["location"]


async def test_a_link_lets_a_browser_in_once_and_leaves_no_token_in_the_address(served: Served) -> None:
    door: Door = served.app.state.door
    with anyio.fail_after(20):
        async with served.browser() as browser, served.browser() as thief:
            link = door.link("/runs?status=failed")
            answer = await browser.get(link)
            assert answer.headers["location"] == "/runs?status=failed"
            cookie = answer.headers["set-cookie"].lower()
            assert "httponly" in cookie
            assert "samesite=strict" in cookie
            assert (await browser.get("/runs")).status_code == 200
            again = await thief.get(link)
            assert again.status_code == 403
            assert "used already" in again.text
            assert (await thief.get("/runs")).status_code == 401


async def test_a_link_never_leads_to_another_host(served: Served) -> None:
    door: Door = served.app.state.door
    with anyio.fail_after(20):
        async with served.browser() as browser:
            answer = await browser.get(f"{served.url}{door.link('//evil.example/x')}")
            assert answer.headers["location"] == "/evil.example/x"


async def test_a_program_with_the_token_makes_a_link_and_a_cookie_makes_none(served: Served) -> None:
    with anyio.fail_after(20):
        async with served.http() as program, served.browser() as browser:
            made = (await program.post("/link?path=/inbox", headers={"Upstairs-User": "finn"})).json()
            assert (await browser.get(made["path"])).headers["location"] == "/inbox"
            assert "finn" in (await browser.get("/inbox")).text
            assert (await browser.post("/link", headers={"Origin": served.url})).status_code == 403


async def test_without_a_credential_there_is_health_and_nothing_else(served: Served, flat: Flat) -> None:
    run = await flat.run()
    with anyio.fail_after(20):
        async with served.http(token=None) as stranger:
            assert (await stranger.get("/health")).json() == {"status": "ok", "version": "0.0.test"}
            for path in ("/", "/runs", f"/runs/{run.run_id}", f"/runs/{run.run_id}/events", "/inbox", "/mcp", "/x"):
                answer = await stranger.get(path)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"].startswith("Bearer")
                assert run.title not in answer.text


async def test_what_a_run_says_is_escaped_and_no_script_but_our_own_may_run(served: Served, flat: Flat) -> None:
    run = await flat.run(title='<script>alert("t")</script>', input={"text": "<img src=x onerror=alert(1)>"})
    await flat.step(run, "one", position='"><b>x', status="running")
    with anyio.fail_after(20):
        async with served.http(Accept="text/html") as http:
            for path in ("/runs", f"/runs/{run.run_id}"):
                page = await http.get(path)
                assert page.status_code == 200
                assert "<script>alert" not in page.text
                assert "<img src=x" not in page.text
                assert '"><b>x' not in page.text
                policy = page.headers["content-security-policy"]
                assert policy.startswith("default-src 'none'; script-src 'self'")
                assert "unsafe" not in policy
                assert page.headers["x-content-type-options"] == "nosniff"
                assert page.headers["cache-control"] == "no-store"
                # With `no-referrer` a browser would not say where our own forms come from.
                assert page.headers["referrer-policy"] == "same-origin"
            script = await http.get("/static/run.js")
            assert script.headers["content-type"].startswith("text/javascript")
            assert "EventSource" in script.text


async def test_runs_are_listed_newest_first_by_status_and_by_page(served: Served, flat: Flat) -> None:
    runs = [await flat.run(title=f"Run {number:02}") for number in range(53)]
    await flat.step(runs[3], "one", status="failed")
    with anyio.fail_after(30):
        async with served.http(Accept="text/html") as http:
            first = (await http.get("/runs")).text
            assert re.findall(r"Run \d\d", first)[:2] == ["Run 52", "Run 51"]
            older = re.search(r'href="(/runs\?after=[^"]+)"', first)
            assert older is not None
            assert re.findall(r"Run \d\d", (await http.get(older[1])).text) == ["Run 02", "Run 01", "Run 00"]
            assert re.findall(r"Run \d\d", (await http.get("/runs?status=failed")).text) == ["Run 03"]
            assert (await http.get("/runs?status=broken")).status_code == 422
            assert (await http.get("/runs/run_404")).status_code == 404


async def test_the_page_of_a_long_run_shows_its_last_events_and_follows_on_from_them(
    served: Served, flat: Flat
) -> None:
    run = await flat.run()
    drafts = [{"key": f"e{number}", "type": "turn.finished"} for number in range(520)]
    await flat.runs.apply(Change.model_validate({"run": run.ref, "key": "many", "events": drafts}))
    await flat.step(run, "last", status="running")
    with anyio.fail_after(20):
        async with served.http(Accept="text/html") as http:
            page = (await http.get(f"/runs/{run.run_id}")).text
    assert "22 earlier ones" in page
    assert f'data-stream="/runs/{run.run_id}/events?after=522"' in page


async def test_the_stream_of_a_run_resumes_after_the_last_event_id(served: Served, flat: Flat) -> None:
    run = await flat.run()
    for number in range(4):
        await flat.step(run, f"step/{number}")
    await flat.step(run, "last", status="completed")

    def ids(text: str) -> list[str]:
        return re.findall(r"^id: (\d+)$", text, re.MULTILINE)

    with anyio.fail_after(20):
        async with served.http() as http:
            whole = await http.get(f"/runs/{run.run_id}/events")
            assert whole.headers["content-type"].startswith("text/event-stream")
            assert ids(whole.text) == ["1", "2", "3", "4", "5", "6"]
            assert whole.text.rstrip().endswith('event: end\ndata: {"status":"completed"}')
            assert ids((await http.get(f"/runs/{run.run_id}/events?after=4")).text) == ["5", "6"]
            resumed = await http.get(f"/runs/{run.run_id}/events?after=0", headers={"Last-Event-ID": "5"})
            assert ids(resumed.text) == ["6"]
            assert (await http.get(f"/runs/{run.run_id}/events?after=x")).status_code == 422
            assert (await http.get("/runs/run_404/events")).status_code == 404


async def test_an_open_stream_gets_what_happens_and_is_let_go_when_its_client_leaves(
    served: Served, flat: Flat
) -> None:
    run = await flat.run()
    await flat.step(run, "one", status="running")
    with anyio.fail_after(20):
        async with served.http() as http, http.stream("GET", f"/runs/{run.run_id}/events?after=2") as answer:
            lines = answer.aiter_lines()
            assert await anext(lines) == ": stream of the run"
            await flat.step(run, "two")
            found = [await anext(lines) for _ in range(3)]
            assert found[1] == "id: 3"
            assert json.loads(found[2].removeprefix("data: "))["data"] == {"step": "two"}
        while flat.hub._watching:  # pyright: ignore[reportPrivateUsage]
            await anyio.lowlevel.checkpoint()


async def test_a_task_is_answered_through_its_form_and_leaves_the_inbox(served: Served, flat: Flat) -> None:
    run = await flat.run()
    await flat.ask(run, "task_1", form=FORM, description="<i>look</i>")
    filled = {
        "decision": "approve",
        "comment": "fine",
        "value.amount": "12.5",
        "value.count": "4",
        "value.paid": "true",
        "value.currency": '"USD"',
        "value.note": "two\r\nlines",
        "value.lines": '["a", "b"]',
        "back": f"/runs/{run.run_id}",
    }
    with anyio.fail_after(20):
        async with served.browser() as browser:
            await let_in(served, browser)
            page = (await browser.get("/inbox")).text
            assert "Approve invoice 7?" in page
            assert "<i>look" not in page
            assert "Amount &lt;b&gt;" in page
            answer = await browser.post("/inbox/task_1", data=filled, headers={"Origin": served.url})
            assert (answer.status_code, answer.headers["location"]) == (303, f"/runs/{run.run_id}")
            assert "Nothing waits" in (await browser.get("/inbox")).text
    said = flat.control.said[0]
    assert isinstance(said, TaskAnswer)
    assert (said.decision, said.comment, said.by.subject) == ("approve", "fine", "me")
    assert said.values == {
        "amount": 12.5,
        "count": 4,
        "paid": True,
        "currency": "USD",
        "note": "two\nlines",
        "lines": ["a", "b"],
    }


async def test_a_wrong_answer_shows_the_form_again_with_the_reason_and_what_was_filled_in(
    served: Served, flat: Flat
) -> None:
    run = await flat.run()
    await flat.ask(run, "task_1", form=FORM)
    with anyio.fail_after(20):
        async with served.browser() as browser:
            await let_in(served, browser)
            own = {"Origin": served.url}
            wrong = {"decision": "approve", "value.amount": "much", "value.note": "kept <text>"}
            answer = await browser.post("/inbox/task_1", data=wrong, headers=own)
            assert answer.status_code == 422
            assert "&#x27;much&#x27; is not number" in answer.text
            assert "kept &lt;text&gt;" in answer.text
            bad = await browser.post("/inbox/task_1", data={"decision": "burn"}, headers=own)
            assert (bad.status_code, "is not one of" in bad.text) == (422, True)
            assert (await browser.post("/inbox/task_404", data={}, headers=own)).status_code == 404
            await browser.post("/inbox/task_1", data={"decision": "reject"}, headers=own)
            late = await browser.post("/inbox/task_1", data={"decision": "approve"}, headers=own)
            assert (late.status_code, "already decided by me" in late.text) == (409, True)


async def test_a_form_of_another_page_changes_nothing(served: Served, flat: Flat) -> None:
    run = await flat.run()
    await flat.ask(run, "task_1")
    with anyio.fail_after(20):
        async with served.browser() as browser:
            await let_in(served, browser)
            for headers in (
                {},
                {"Origin": "https://evil.example"},
                {"Origin": "null"},
                {"Origin": "http://127.0.0.1:1"},
                {"Sec-Fetch-Site": "cross-site"},
                {"Sec-Fetch-Site": "same-site"},
            ):
                answer = await browser.post("/inbox/task_1", data={"decision": "approve"}, headers=headers)
                assert answer.status_code == 403
            assert (await browser.post("/mcp", json={}, headers={"Origin": served.url})).status_code == 401
    assert flat.control.said == []


async def test_a_principal_without_the_seat_is_told_so(served: Served, flat: Flat) -> None:
    run = await flat.run()
    await flat.ask(run, "task_1")
    with anyio.fail_after(20):
        async with served.browser() as browser:
            await let_in(served, browser, user="finn")
            answer = await browser.post("/inbox/task_1", data={"decision": "approve"}, headers={"Origin": served.url})
            assert (answer.status_code, "does not hold the seat" in answer.text) == (403, True)
