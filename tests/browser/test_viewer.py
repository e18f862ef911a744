"""The page of a run in Chromium: live, decided and steered in place, by keyboard too, and nothing in it but our own."""

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.processes import TRAP
from tests.browser.viewing import ORDER, viewing
from tests.faults.house import FaultHouse, Row, until

WAIT_S = 60.0


@pytest.fixture(scope="module", autouse=True)
def published(house: FaultHouse) -> None:
    house.publish("processes", "order", ORDER)


def view(house: FaultHouse, run_id: str, tasks: int = 0, status: str = "") -> Row:
    """Return the run once it has so many open tasks, or a status."""

    def look() -> Row | None:
        found = house.call("get_run", run_id=run_id)
        right = found["status"] == status if status else len(found["open_tasks"]) == tasks
        return found if right else None

    return until(look, WAIT_S, f"{tasks} tasks or {status}")


def started(house: FaultHouse, process: str = "order", tasks: int = 2, **given: Any) -> str:
    values = {"parts": ["NI-900", "NI-7"], "amount": 1599.36, **given}
    run_id = str(house.call("start_process", process=process, input=values)["run_id"])
    view(house, run_id, tasks)
    return run_id


def answer_all(house: FaultHouse, run_id: str, decision: str = "yes") -> None:
    for task in house.call("get_run", run_id=run_id)["open_tasks"]:
        house.call("answer_run", run_id=run_id, task_id=task["task_id"], decision=decision)


def node(page: Page, path: str) -> Any:
    return page.locator(f"[data-node='{path}']")


def test_the_page_follows_a_run_without_being_loaded_anew(browser: Browser, house: FaultHouse) -> None:
    run_id = started(house)
    with viewing(browser, house, f"/runs/{run_id}") as (page, errors):
        expect(node(page, "nodes/check")).to_have_attribute("aria-label", re.compile("running, 0 of 2"))
        expect(node(page, "nodes/check/body/nodes/look")).to_have_attribute("data-state", "waiting")
        page.evaluate("window.same = true")
        answer_all(house, run_id)
        expect(node(page, "nodes/check")).to_have_attribute("data-state", "done")
        expect(page.locator("polyline[data-taken][data-to='nodes/approve']")).to_have_count(1)
        expect(node(page, "nodes/approve")).to_have_attribute("data-state", "waiting")
        expect(page.locator("#position")).to_have_text("approve")
        house.call("control_run", run_id=run_id, action="skip", values={"approval": {"decision": "approve"}})
        packed = node(page, "nodes/side_by_side/arms/0/body/nodes/packed")
        expect(packed).to_have_attribute("data-state", "running")
        house.use("processes", "processes.send_event", name="order.packed", run_id=run_id)
        expect(page.locator("#status .badge")).to_have_text("completed")
        expect(node(page, "nodes/sent")).to_have_attribute("data-state", "done")
        expect(page.locator("#outcome pre").first).to_contain_text("1599.36")
        expect(page.locator("#events")).to_contain_text("process.finished")
        assert page.evaluate("window.same") is True
        assert errors == []


def test_a_person_decides_in_place_and_what_they_are_writing_is_not_taken_away(
    browser: Browser, house: FaultHouse
) -> None:
    run_id = started(house)
    with viewing(browser, house, f"/runs/{run_id}") as (page, errors):
        cards = page.locator("#tasks .task")
        expect(cards).to_have_count(2)
        mine = page.locator("#tasks .task", has_text="Is NI-7 there?")
        mine.get_by_label("Comment").fill("I have looked")
        first = next(t for t in house.call("get_run", run_id=run_id)["open_tasks"] if "NI-900" in t["title"])
        house.call("answer_run", run_id=run_id, task_id=first["task_id"], decision="yes")
        expect(node(page, "nodes/check")).to_have_attribute("aria-label", re.compile("1 of 2"))
        expect(page.locator("#tasks .changed")).to_contain_text("changed meanwhile")
        expect(mine.get_by_label("Comment")).to_have_value("I have looked")
        mine.get_by_role("button", name="yes").click()
        expect(page.locator("#tasks .task", has_text="Order for 1599.36?")).to_have_count(1)
        assert errors == []
    with viewing(browser, house, f"/runs/{run_id}", user="fay") as (page, errors):
        page.get_by_label("Reason of the decision").fill("agreed")
        page.get_by_role("button", name="reject").click()
        expect(page.locator("#status .badge")).to_have_text("completed")
        expect(node(page, "nodes/refused")).to_have_attribute("data-state", "done")
        page.locator("#keys > summary").click()
        approval = page.locator("#keys tr", has_text="approval")
        expect(approval).to_contain_text("by fay")
        expect(approval).to_contain_text("agreed")
        assert errors == []


def test_an_operator_steers_a_run_and_others_are_offered_nothing(browser: Browser, house: FaultHouse) -> None:
    run_id = started(house)
    with viewing(browser, house, f"/runs/{run_id}", user="fay") as (page, _):
        expect(page.locator("#steering")).to_have_count(0)
        expect(page.locator("#tasks form")).to_have_count(0)
    with viewing(browser, house, f"/runs/{run_id}") as (page, errors):
        page.locator("#verbs > summary").click()
        page.locator("#form-plain").get_by_label("Reason").fill("lunch")
        page.get_by_role("button", name="Pause").click()
        expect(page.locator("#status .badge")).to_have_text("paused")
        expect(page.locator("#audit")).to_contain_text("lunch")
        page.locator("#verbs > summary").click()
        page.get_by_role("button", name="Resume").click()
        expect(page.locator("#status .badge")).to_have_text("waiting")
        assert errors == []
    answer_all(house, run_id)
    view(house, run_id, 1)
    with viewing(browser, house, f"/runs/{run_id}") as (page, errors):
        page.locator("#verbs > summary").click()
        form = page.locator("#form-by-hand")
        form.get_by_label("Values").fill("[1")
        form.get_by_role("button", name="Skip").click()
        expect(page.get_by_role("alert")).to_contain_text("is no JSON object")
        page.locator("#verbs > summary").click()
        page.locator("#form-rewind").get_by_label("Step").select_option("1.check")
        page.get_by_role("button", name="Rewind").click()
        view(house, run_id, 2)
        expect(node(page, "nodes/check")).to_have_attribute("aria-label", re.compile("running, 0 of 2"))
        # The answer of the wrong form was a 422, which the browser notes.
        assert [error for error in errors if "422" not in error] == []


def test_everything_is_reached_by_keyboard_and_has_a_name(browser: Browser, house: FaultHouse) -> None:
    run_id = started(house)
    answer_all(house, run_id)
    view(house, run_id, 1)
    with viewing(browser, house, f"/runs/{run_id}") as (page, errors):
        link = node(page, "nodes/check").locator("> a")
        link.focus()
        page.keyboard.press("Enter")
        opened = page.locator("#audit details[open]", has_text="check led to approve")
        expect(opened.last).to_be_visible()
        expect(opened.last.locator(".guards")).to_contain_text("1599.36")
        expect(page.locator("#audit summary:focus")).to_have_count(1)
        page.locator("#nodes > summary").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#nodes tr", has_text="check / for each item / look")).to_contain_text("2 done")
        expect(page.locator("#nodes tr", has_text="refused")).to_contain_text("not reached")
        page.locator("#verbs > summary").click()
        nameless = """() => [...document.querySelectorAll("input, textarea, select")]
            .filter((field) => field.type !== "hidden" && !field.labels.length).map((field) => field.name)"""
        assert page.evaluate(nameless) == []
        twice = """() => { const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
            return ids.filter((id, at) => ids.indexOf(id) !== at) }"""
        assert page.evaluate(twice) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert errors == []


CONTRAST = """([text, ground]) => {
    const linear = (part) => part <= .03928 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4;
    const light = (color) => {
        const [r, g, b] = /\\(([^)]*)\\)/.exec(color)[1].split(/[ ,]+/).slice(0, 3).map((one) => linear(one / 255));
        return .2126 * r + .7152 * g + .0722 * b;
    };
    const fill = (what) => light(getComputedStyle(document.querySelector(what)).fill);
    const [high, low] = [fill(text), fill(ground)].sort().reverse();
    return (high + .05) / (low + .05);
}"""
"""How far two colours are apart, as WCAG 2.2 counts it."""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_in_the_drawing_stand_out_from_their_ground(browser: Browser, house: FaultHouse, scheme: str) -> None:
    run_id = started(house)
    with viewing(browser, house, f"/runs/{run_id}", color_scheme=scheme, viewport={"width": 390, "height": 844}) as (
        page,
        errors,
    ):
        for text in ("#canvas [data-node] text.quiet", "#canvas [data-node] text:not(.quiet)"):
            assert page.evaluate(CONTRAST, [text, "#canvas .shape"]) >= 4.5
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert errors == []


def test_texts_of_a_run_are_texts_wherever_they_stand(browser: Browser, house: FaultHouse) -> None:
    run_id = started(house, "hostile", 1, amount=1, supplier=TRAP)
    house.call("control_run", run_id=run_id, action="set_context", values={"supplier": f"{TRAP}!"}, reason=TRAP)
    with viewing(browser, house, f"/runs/{run_id}") as (page, errors):
        expect(page.locator("h1")).to_have_text(TRAP)
        expect(page.locator("#audit .because", has_text=TRAP).first).to_be_attached()
        page.locator("#keys > summary").click()
        expect(page.locator("#keys")).to_contain_text(f"{TRAP}!")
        # The same texts once more, as the page's module puts them in.
        house.call("control_run", run_id=run_id, action="set_context", values={"supplier": f"{TRAP}?"}, reason=TRAP)
        expect(page.locator("#keys")).to_contain_text(f"{TRAP}?")
        expect(page.locator("main img, main script, #canvas img, #canvas script")).to_have_count(0)
        assert page.title() != "trapped"
        assert errors == []


def test_the_page_of_an_agent_shows_its_events_and_what_it_said(browser: Browser, house: FaultHouse) -> None:
    run_id = str(house.call("start_agent", task="Say who you are.")["run_id"])
    with viewing(browser, house, f"/runs/{run_id}") as (page, errors):
        expect(page.locator("#status .badge")).to_have_text("completed")
        expect(page.locator("#outcome")).to_contain_text("scripted model of the invoice example")
        expect(page.locator("#events li").last).to_be_visible()
        expect(page.locator("#canvas")).to_have_count(0)
        expect(page.locator("#audit")).to_contain_text("Audit")
        assert errors == []
