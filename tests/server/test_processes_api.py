"""The library of processes over real HTTP: drafts of several people, checks, versions, labels, simulation, a start."""

import json
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from content.database import Database
from content.definitions import ProcessDefinitions
from engine.process.definition import parse_definition
from engine.process.findings import Finding
from engine.process.verify import verify
from engine.values import Principal
from server.http import make_app
from tests.server.flat import Flat
from tests.server.served import Served, serve
from tests.server.test_http_pages import let_in

pytestmark = pytest.mark.anyio

TEXT = """\
# Who may spend what.
format: 1
process: spend
input: {type: object, properties: {total: {type: number}}, required: [total]}
context:
  schema:
    type: object
    additionalProperties: false
    properties: {total: {type: number}, approval: {type: object, properties: {decision: {type: string}}}}
start: ask
nodes:
  ask:
    type: supervisor
    seat: {roles: [finance]}
    ask: {title: "Pay {{total}}?"}
    decisions: [approve, reject]
    deadline: P1D
    on_timeout: {to: refused}
    writes: [approval]
    next:
      - {to: paid, when: {"==": [{var: approval.decision}, approve]}}
      - {to: refused}
  paid: {type: end, outcome: paid}
  refused: {type: end, outcome: refused}
scenarios:
  - name: approved
    input: {total: 7}
    actors: {fay: {roles: [finance]}}
    fixtures: {ask: {decision: approve, by: fay}}
    expect: {path: [ask, paid], outcome: paid}
"""


async def verified(principal: Principal, text: str) -> Sequence[Finding]:
    return verify(parse_definition(text))


@pytest.fixture
async def flat(tmp_path: Path) -> AsyncGenerator[Flat]:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}")
    await database.migrate()
    flat = Flat(database, tmp_path)
    flat.definitions = ProcessDefinitions(database, verified)
    flat.services = replace(flat.services, definitions=flat.definitions, verify=verified)
    yield flat
    await database.close()


@pytest.fixture
async def served(flat: Flat) -> AsyncGenerator[Served]:
    async with serve(make_app(flat)) as running:
        yield running


async def ask(http: httpx2.AsyncClient, path: str, body: Any, *, status: int = 200, method: str = "POST") -> Any:
    answer = await http.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


async def save(http: httpx2.AsyncClient, text: str, revision: int | None = None, *, status: int = 200) -> Any:
    return await ask(
        http, "/api/processes/spend/draft", {"text": text, "revision": revision}, status=status, method="PUT"
    )


async def test_a_new_name_begins_with_a_text_that_can_be_published(served: Served) -> None:
    with anyio.fail_after(60):
        async with served.http() as http:
            begun = (await http.get("/api/processes/spend/text")).json()
            assert begun["revision"] is None
            assert begun["findings"] == []
            assert begun["definition"]["process"] == "spend"
            assert [node["path"] for node in begun["drawing"]["nodes"]] == ["nodes/done"]
            assert (await save(http, begun["text"]))["revision"] == 1


async def test_a_text_is_verified_and_drawn_and_an_edit_leaves_its_comments(served: Served) -> None:
    definition = dict(parse_definition(TEXT).canonical())
    definition["nodes"] = {**definition["nodes"], "late": {"type": "wait", "position": {"x": 5, "y": 6}}}
    with anyio.fail_after(60):
        async with served.http() as http:
            seen = await ask(http, "/api/designer/check", {"text": TEXT})
            assert seen["text"] == TEXT
            assert seen["findings"] == []
            assert {(line["source"], line["target"]) for line in seen["drawing"]["lines"]} == {
                ("nodes/ask", "nodes/paid"),
                ("nodes/ask", "nodes/refused"),
            }
            assert seen["worst_case"]["model_calls"] == 0
            changed = await ask(http, "/api/designer/check", {"text": TEXT, "definition": definition})
            assert changed["text"].startswith("# Who may spend what.\n")
            assert changed["definition"]["nodes"]["late"] == {"type": "wait", "position": {"x": 5, "y": 6}}
            assert changed["findings"][0]["path"] == "/nodes/late"
            assert len(changed["drawing"]["nodes"]) == 4
            broken = await ask(http, "/api/designer/check", {"text": "a: [1"})
            assert (broken["definition"], broken["drawing"]) == (None, None)
            assert "line 2" in broken["findings"][0]["message"]


async def test_what_is_no_definition_is_drawn_as_far_as_it_is_one(served: Served) -> None:
    strange = {
        "start": 5,
        "nodes": {
            "a": {"type": "nothing", "next": [{"to": "b"}, {"to": "gone"}, 7], "title": 3, "position": {"x": "far"}},
            "b": {"type": "foreach", "body": {"start": "c", "nodes": {"c": {"type": "branch", "arms": [{"body": 1}]}}}},
            "<i>": {"type": "end"},
            "d": None,
        },
    }
    with anyio.fail_after(60):
        async with served.http() as http:
            drawn = (await ask(http, "/api/designer/check", {"text": "", "definition": strange}))["drawing"]
            assert [node["path"] for node in drawn["nodes"]] == ["nodes/a", "nodes/b"]
            assert drawn["nodes"][0]["type"] == "nothing?"
            [box] = drawn["nodes"][1]["boxes"]
            assert box["path"] == "nodes/b/body"
            assert box["inside"]["nodes"][0]["path"] == "nodes/b/body/nodes/c"
            assert [line["target"] for line in drawn["lines"]] == ["nodes/b"]
            for text in ("[]", "5", "nodes: []", "{nodes: {}}"):
                assert (await ask(http, "/api/designer/check", {"text": text}))["drawing"] is None


async def test_the_second_of_two_who_save_is_told_who_was_first_and_what_they_wrote(served: Served) -> None:
    other = TEXT.replace("7}", "8}")
    with anyio.fail_after(60):
        async with served.http() as http:
            first = await save(http, TEXT)
            assert (first["revision"], first["author"]) == (1, "me")
            assert (await save(http, other, 1))["revision"] == 2
            late = await save(http, TEXT.replace("7}", "9}"), 1, status=409)
            assert (late["revision"], late["author"], late["text"]) == (2, "me", other)
            assert "revision 2" in late["error"]
            assert (await http.get("/api/processes/spend/text")).json()["text"] == other


async def test_versions_are_published_compared_labelled_and_listed(served: Served) -> None:
    with anyio.fail_after(60):
        async with served.http() as http:
            await save(http, TEXT)
            notes = {"revision": 1, "comment": "the first"}
            first = await ask(http, "/api/processes/spend/versions", notes)
            assert (first["number"], first["comment"]) == (1, "the first")
            await save(http, TEXT.replace("P1D", "P2D"), 1)
            await ask(http, "/api/processes/spend/versions", notes, status=409)
            await ask(http, "/api/processes/spend/versions", {"revision": 2})
            moved = await ask(http, "/api/processes/spend/labels", {"label": "production", "version": 1})
            assert moved["moved"] is True
            kept = (await http.get("/api/processes/spend")).json()
            assert kept["labels"] == {"production": 1}
            assert [one["number"] for one in kept["versions"]] == [1, 2]
            assert kept["may"] == {"edit": True, "publish": True, "start": True}
            assert (await http.get("/api/processes/spend/text?at=production")).json()["text"] == TEXT
            compared = (await http.get("/api/processes/spend/difference?before=1&after=draft")).json()
            assert "-    deadline: P1D" in compared["lines"]
            assert '~ /nodes/ask/deadline: "P1D" → "P2D"' in compared["changes"]
            picture = await http.get("/api/processes/spend/difference.svg?before=1&after=2")
            assert picture.headers["content-type"] == "image/svg+xml"
            assert 'data-state="changed"' in picture.text
            assert (await http.get("/api/processes/spend/difference?before=1")).status_code == 422
            listed = (await http.get("/api/processes")).json()["processes"]
            assert [(one["name"], one["newest"]) for one in listed] == [("spend", 2)]


async def test_a_draft_with_errors_is_kept_and_not_published(served: Served) -> None:
    with anyio.fail_after(60):
        async with served.http() as http:
            await save(http, TEXT.replace("deadline: P1D", "quorum: 1"))
            refused = await ask(http, "/api/processes/spend/versions", {"revision": 1}, status=422)
            assert "deadline" in refused["error"]


async def test_what_fails_its_scenarios_is_published_only_with_a_reason(served: Served) -> None:
    with anyio.fail_after(60):
        async with served.http() as http:
            await save(http, TEXT.replace("outcome: paid}\n  refused", "outcome: spent}\n  refused"))
            refused = await ask(http, "/api/processes/spend/versions", {"revision": 1}, status=422)
            assert "approved" in refused["error"]
            body = {"revision": 1, "comment": "renamed", "despite": "the scenario follows"}
            published = await ask(http, "/api/processes/spend/versions", body)
            assert published["comment"].startswith("renamed")
            assert "the scenario follows" in published["comment"]


async def test_a_guard_is_tried_strictly_with_the_values_it_saw(served: Served) -> None:
    rule = {"and": [{"<": [{"var": "total"}, 10]}, {"var": "paid"}]}
    with anyio.fail_after(60):
        async with served.http() as http:
            holds = await ask(http, "/api/designer/evaluate", {"rule": rule, "data": {"total": 7, "paid": True}})
            assert holds["value"] is True
            missing = await ask(http, "/api/designer/evaluate", {"rule": rule, "data": {"total": 7}})
            assert "value" not in missing
            assert missing["clauses"][0]["clauses"][0]["value"] is True


async def test_scenarios_are_played_step_by_step_with_what_they_cover(served: Served) -> None:
    with anyio.fail_after(60):
        async with served.http() as http:
            report = await ask(http, "/api/designer/simulate", {"text": TEXT})
            [played] = report["played"]
            assert (played["passed"], played["path"]) == (True, ["ask", "paid"])
            assert [step["node"] for step in played["steps"]] == ["ask", "paid"]
            assert played["steps"][0]["guards"][0]["holds"] is True
            assert report["coverage"]["nodes"]["missing"] == ["/nodes/refused"]
            await ask(http, "/api/designer/simulate", {"text": TEXT, "scenario": "none"}, status=404)


async def test_a_published_process_is_started_once_per_key_with_an_input_that_fits(served: Served, flat: Flat) -> None:
    with anyio.fail_after(60):
        async with served.http() as http:
            await save(http, TEXT)
            await ask(http, "/api/processes/spend/versions", {"revision": 1})
            wrong = await ask(http, "/api/processes/spend/runs", {"input": {"total": "7"}}, status=422)
            assert "total" in wrong["error"]
            first, again = [
                await ask(http, "/api/processes/spend/runs", {"at": "1", "input": {"total": 7}, "key": "k"}, status=202)
                for _ in range(2)
            ]
            assert first == again
            assert first["url"] == f"/runs/{first['run_id']}"
            assert (await flat.runs.get(flat.me, first["run_id"])).version == "1"


async def test_a_viewer_reads_what_is_published_and_changes_nothing(served: Served) -> None:
    with anyio.fail_after(60):
        async with served.http() as http, served.http(**{"Upstairs-User": "finn"}) as finn:
            await save(http, TEXT)
            assert (await finn.get("/api/processes/spend/text")).status_code == 404
            assert (await finn.get("/api/processes")).json()["processes"] == []
            await ask(http, "/api/processes/spend/versions", {"revision": 1})
            read = (await finn.get("/api/processes/spend/text")).json()
            assert (read["text"], read["version"]) == (TEXT, 1)
            assert len(read["drawing"]["nodes"]) == 3
            assert (await finn.get("/api/processes/spend")).json()["may"] == {
                "edit": False,
                "publish": False,
                "start": True,
            }
            assert (await finn.get("/api/processes/spend/text?at=draft")).status_code == 404
            for path, body in (
                ("/api/designer/check", {"text": TEXT}),
                ("/api/designer/evaluate", {"rule": True}),
                ("/api/designer/simulate", {"text": TEXT}),
                ("/api/processes/spend/versions", {"revision": 1}),
                ("/api/processes/spend/labels", {"label": "production", "version": 1}),
            ):
                assert "needs the role" in (await ask(finn, path, body, status=403))["error"]
            answer = await finn.put("/api/processes/spend/draft", json={"text": "x"})
            assert answer.status_code == 403


async def test_a_body_that_is_not_what_is_asked_for_is_named(served: Served) -> None:
    with anyio.fail_after(60):
        async with served.http() as http:
            assert "text" in (await ask(http, "/api/designer/check", {}, status=422))["error"]
            assert "JSON" in (await http.post("/api/designer/check", content=b"x")).json()["error"]
            assert (await save(http, "x", 0, status=422))["error"].startswith("revision:")


async def test_pages_of_other_origins_change_nothing(served: Served, flat: Flat) -> None:
    with anyio.fail_after(60):
        async with served.browser() as browser:
            await let_in(served, browser, "/processes")
            body = {"text": TEXT, "revision": None}
            for headers in ({}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
                answer = await browser.put("/api/processes/spend/draft", json=body, headers=headers)
                assert answer.status_code == 403
            assert await flat.definitions.list_names(flat.me) == ()
            own = {"Origin": served.url}
            assert (await browser.put("/api/processes/spend/draft", json=body, headers=own)).status_code == 200


async def test_the_pages_list_names_versions_labels_and_runs_as_text(served: Served, flat: Flat) -> None:
    with anyio.fail_after(60):
        async with served.browser() as browser, served.http() as http:
            await let_in(served, browser, "/processes")
            assert "No processes yet" in (await browser.get("/processes")).text
            await save(http, TEXT)
            await ask(http, "/api/processes/spend/versions", {"revision": 1, "comment": "<b>bold</b>"})
            await ask(http, "/api/processes/spend/labels", {"label": "production", "version": 1})
            run = await flat.run(definition="spend", title="<i>seven</i>")
            assert "production → 1" in (await browser.get("/processes")).text
            page = (await browser.get("/processes/spend")).text
            assert "&lt;b&gt;bold" in page
            assert "&lt;i&gt;seven" in page
            assert f"/runs/{run.run_id}" in page
            design = (await browser.get("/processes/spend/design")).text
            assert 'data-process="spend"' in design
            begun = await browser.get("/processes/begin?name=other")
            assert begun.headers["location"] == "/processes/other/design"
            assert (await browser.get("/processes/begin?name=%22%3E")).status_code == 422
            assert (await browser.get("/processes/none")).status_code == 404


async def test_a_definition_survives_json_and_back(served: Served) -> None:
    with anyio.fail_after(60):
        async with served.http() as http:
            seen = await ask(http, "/api/designer/check", {"text": TEXT})
            same = json.loads(json.dumps(seen["definition"]))
            again = await ask(http, "/api/designer/check", {"text": TEXT, "definition": same})
            assert again["text"] == TEXT
