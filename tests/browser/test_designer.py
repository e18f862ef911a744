"""The designer in Chromium, before the real server: processes made, mended, published and started by people."""

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.designing import (
    COMMENTED,
    add,
    connect,
    designing,
    drawn,
    fill,
    kept,
    node,
    save,
    settled,
    shape,
    tab,
    way,
)
from tests.browser.processes import HOSTILE, TRAP
from tests.browser.test_apps import over, waiting
from tests.faults.house import FaultHouse


def test_a_process_is_made_from_nothing_by_mouse_and_keyboard_published_started_and_decided(
    browser: Browser, house: FaultHouse
) -> None:
    with designing(browser, house, "made", path="/processes") as page:
        page.get_by_label("Name").fill("made")
        page.get_by_role("button", name="Design it").click()
        expect(node(page, "done")).to_be_visible()
        settled(page)

        tab(page, "Context")
        page.get_by_role("button", name="Add a key to input", exact=True).click()
        page.get_by_label("Name of the key key_1", exact=True).fill("amount")
        page.get_by_label("Name of the key key_1", exact=True).press("Tab")
        page.get_by_label("Type of amount", exact=True).select_option("number")
        page.get_by_role("button", name="Add a key to context", exact=True).click()
        page.get_by_label("Name of the key key_1", exact=True).fill("approval")
        page.get_by_label("Name of the key key_1", exact=True).press("Tab")
        page.get_by_label("Type of approval", exact=True).select_option("object")
        page.get_by_role("button", name="Add a key to context", exact=True).click()
        page.get_by_label("Name of the key key_2", exact=True).fill("amount")
        page.get_by_label("Name of the key key_2", exact=True).press("Tab")
        page.get_by_label("Type of amount", exact=True).last.select_option("number")

        add(page, "supervisor")
        settled(page, re.compile(r"[1-9]\d* error"))
        expect(node(page, "supervisor").locator("> .sign.error")).to_be_attached()
        fill(page, "name", "approve")
        page.locator("#panel").get_by_label("name", exact=True).press("Enter")
        fill(page, "roles", "operator")
        fill(page, "title", "Somebody decides")
        page.locator("[data-field='nodes/approve/ask/title']").fill("Pay this?")
        fill(page, "writes", "approval")
        connect(page, "approve", "done")
        expect(page.locator("fieldset.chosen")).to_contain_text("next 1")
        page.get_by_role("button", name="Add a guard").click()
        page.get_by_label("Path of clause 1").fill("approval.decision")
        page.get_by_label("Value of clause 1").fill("approve")

        add(page, "end")
        fill(page, "outcome", "refused")
        node(page, "approve").focus()
        page.keyboard.press("c")
        expect(page.locator("#notice")).to_contain_text("Where does approve lead?")
        node(page, "done_2").focus()
        page.keyboard.press("Enter")
        expect(way(page, "approve", "done_2")).to_be_attached()
        page.get_by_role("button", name="Set on timeout").click()
        page.locator("[data-field='nodes/approve/on_timeout/to']").select_option("done_2")
        expect(way(page, "approve", "done_2", "timeout")).to_be_attached()

        node(page, "approve").focus()
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Start here").click()
        settled(page)
        text = kept(page)
        assert "when: {==: [{var: approval.decision}, approve]}" in text

        page.get_by_role("button", name="Publish…").click()
        page.get_by_label("What changed, and why").fill("the first of its kind")
        page.locator("#dialog").get_by_role("button", name="Publish").click()
        expect(page.locator("#notice")).to_have_text("Published as version 1.")
        tab(page, "Versions")
        expect(page.locator("#panel")).to_contain_text("the first of its kind")
        page.get_by_role("button", name="Move a label to version 1").click()
        page.locator("#dialog").get_by_role("button", name="Move").click()
        expect(page.locator("#panel .badge")).to_have_text("production")

        page.get_by_role("button", name="Start…").click()
        page.locator("#dialog").get_by_label("amount").fill("7")
        page.locator("#dialog").get_by_role("button", name="Start", exact=True).click()
        page.wait_for_url("**/runs/run_*")
        run_id = page.url.rpartition("/")[2]
        waiting(house, run_id)
        page.reload()
        page.get_by_role("button", name="approve", exact=True).click()
        assert over(house, run_id)["status"] == "completed"
    assert house.call("get_run", run_id=run_id)["result"]["outcome"] == "done"


def test_a_change_in_the_drawing_changes_only_its_own_place_in_the_text(browser: Browser, house: FaultHouse) -> None:
    house.publish("processes", "commented", COMMENTED)
    with designing(browser, house, "commented") as page:
        assert kept(page) == COMMENTED
        node(page, "check").focus()
        page.keyboard.press("Enter")
        fill(page, "for", "PT2S")
        page.get_by_label("Value of clause 1").fill("20")
        settled(page)
        assert kept(page) == COMMENTED.replace("PT1S ", "PT2S ").replace("}, 10]", "}, 20]")
        page.get_by_role("button", name="Undo").click()
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_label("Definition", exact=True)).to_have_value(COMMENTED)
        expect(page.locator("#state")).to_have_text("revision 1")
        page.get_by_role("button", name="Redo").click()
        expect(page.get_by_label("Definition", exact=True)).to_have_value(COMMENTED.replace("PT1S ", "PT2S "))

        area = page.get_by_label("Definition", exact=True)
        area.fill(COMMENTED.replace("small}", "smaller}"))
        settled(page, re.compile("[12] error"))
        page.get_by_role("button", name="/nodes/check/next/1").first.click()
        expect(page.locator("#panel .found")).to_contain_text("smaller")
        tab(page, "Text")
        area.fill("nodes: [")
        settled(page, re.compile("1 error,"))
        expect(page.locator("#findings")).to_contain_text("neither YAML nor JSON")
        expect(node(page, "check")).to_be_visible()
        area.fill(COMMENTED)
        settled(page)
        page.get_by_label("shown").select_option("JSON")
        area.fill(area.input_value().replace('"PT1S"', '"PT9S"'))
        page.get_by_label("shown").select_option("as it is kept")
        expect(area).to_have_value(COMMENTED.replace("PT1S ", "PT9S "))


def test_nodes_are_moved_removed_and_brought_back_by_mouse_and_keyboard(browser: Browser, house: FaultHouse) -> None:
    house.publish("processes", "commented", COMMENTED)
    with designing(browser, house, "commented") as page:
        drawn(page)
        before = shape(page, "large").bounding_box()
        assert before is not None
        page.mouse.move(before["x"] + 20, before["y"] + 10)
        page.mouse.down()
        page.mouse.move(before["x"] + 140, before["y"] + 70, steps=4)
        page.mouse.up()
        settled(page)
        expect(page.locator("#state")).to_contain_text("not saved")
        text = kept(page)
        assert text.count("position:") == 3
        node(page, "large").focus()
        page.keyboard.press("Alt+ArrowRight")
        settled(page)
        moved = kept(page)
        assert moved != text
        page.get_by_role("button", name="Arrange").click()
        expect(page.get_by_label("Definition", exact=True)).not_to_have_value(re.compile("position"))

        node(page, "small").focus()
        page.keyboard.press("Delete")
        expect(node(page, "small")).to_have_count(0)
        expect(way(page, "check", "small")).to_have_count(0)
        page.keyboard.press("Control+z")
        expect(way(page, "check", "small")).to_be_attached()
        way(page, "check", "large").focus()
        page.keyboard.press("Delete")
        expect(way(page, "check", "large")).to_have_count(0)


def test_a_node_is_added_into_a_graph_inside_a_node(browser: Browser, house: FaultHouse) -> None:
    with designing(browser, house, "nested") as page:
        add(page, "foreach")
        expect(node(page, "foreach/body/nodes/step")).to_be_visible()
        page.locator("#target select").select_option("nodes/foreach/body")
        add(page, "script")
        expect(node(page, "foreach/body/nodes/script")).to_be_visible()
        connect(page, "foreach/body/nodes/step", "foreach/body/nodes/script")
        fill(page, "name", "first")
        page.locator("#panel").get_by_label("name", exact=True).press("Enter")
        expect(way(page, "foreach/body/nodes/first", "foreach/body/nodes/script")).to_be_attached()
        assert "        first: {type: wait, for: PT1M, next: [{to: script}]}\n" in kept(page)


def test_two_people_who_edit_at_once_are_told_of_each_other_and_lose_nothing(
    browser: Browser, house: FaultHouse
) -> None:
    house.publish("processes", "commented", COMMENTED)
    with designing(browser, house, "commented") as one, designing(browser, house, "commented") as other:
        for page, title in ((one, "mine"), (other, "theirs")):
            fill(page, "title", title)
            settled(page)
        save(one)
        other.get_by_role("button", name="Save", exact=True).click()
        box = other.locator("#dialog")
        expect(box).to_contain_text("The draft was changed by")
        expect(box.get_by_label("Their text")).to_have_value(re.compile("title: mine"))
        box.get_by_role("button", name="Take theirs").click()
        assert "title: mine" in kept(other)
        other.get_by_role("button", name="Undo").click()
        expect(other.get_by_label("Definition", exact=True)).to_have_value(re.compile("title: theirs"))
        save(other)
        tab(one, "Properties")
        fill(one, "title", "mine again")
        one.get_by_role("button", name="Save", exact=True).click()
        one.locator("#dialog").get_by_role("button", name="Save mine over it").click()
        expect(one.locator("#notice")).to_contain_text("Saved as revision")
        one.reload()
        assert "title: mine again" in kept(one)


def test_a_scenario_is_walked_through_in_the_drawing_with_what_its_guards_saw(
    browser: Browser, house: FaultHouse
) -> None:
    house.publish("processes", "commented", COMMENTED)
    with designing(browser, house, "commented") as page:
        tab(page, "Simulation")
        page.get_by_role("button", name="Play it").click()
        expect(page.locator("#step")).to_have_text("step 1 of 2")
        expect(page.locator(".step")).to_contain_text("✓ large")
        expect(page.locator(".step pre").first).to_contain_text("11")
        expect(node(page, "check")).to_have_attribute("data-state", "now")
        page.get_by_role("button", name="Next ›").click()
        expect(node(page, "large")).to_have_attribute("data-state", "now")
        expect(node(page, "check")).to_have_attribute("data-state", "seen")
        expect(node(page, "small")).to_have_attribute("data-state", "missing")
        expect(page.locator("#coverage")).to_contain_text("nodes 66.7 %")
        page.locator("[data-field='scenarios/0/expect/outcome']").fill("small")
        page.get_by_role("button", name="Play it").click()
        expect(page.locator("#panel")).to_contain_text("the outcome should be 'small'")


def test_a_guard_is_tried_on_the_server_and_two_versions_are_compared(browser: Browser, house: FaultHouse) -> None:
    house.publish("processes", "compared", COMMENTED.replace("commented", "compared"))
    house.publish("processes", "compared", COMMENTED.replace("commented", "compared").replace("PT1S", "PT5S"))
    with designing(browser, house, "compared") as page:
        node(page, "check").focus()
        page.keyboard.press("Enter")
        page.get_by_text("Try it").first.click()
        page.get_by_label("with this context").fill('{"total": 11}')
        page.get_by_role("button", name="Evaluate").click()
        expect(page.locator("output").first).to_contain_text("gives true")
        tab(page, "Versions")
        page.get_by_label("from", exact=True).select_option("1")
        page.get_by_label("to", exact=True).select_option("2")
        page.get_by_role("button", name="Compare").click()
        expect(page.locator("#changes")).to_contain_text('~ /nodes/check/for: "PT1S" → "PT5S"')
        picture = page.get_by_role("img")
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("(image) => image.naturalWidth") > 100


def test_names_that_look_like_markup_are_texts(browser: Browser, house: FaultHouse) -> None:
    with designing(browser, house, "hostile") as page:
        expect(node(page, "approve")).to_contain_text(TRAP[:20])
        node(page, "approve").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#panel h3")).to_have_text(TRAP)
        for name in ("Context", "Text", "Simulation", "Versions"):
            tab(page, name)
        assert HOSTILE in kept(page)
        page.get_by_label("Definition", exact=True).fill(HOSTILE.replace("decisions:", "decision<img src=x>:"))
        settled(page, re.compile("[1-9] error"))
        expect(page.locator("#findings")).to_contain_text("<img src=x>")
        assert page.locator("main img, main script").count() == 0
        assert page.title() == "Design hostile · Upstairs"


def test_whoever_may_only_read_sees_the_process_and_can_change_nothing(browser: Browser, house: FaultHouse) -> None:
    house.publish("processes", "commented", COMMENTED)
    with designing(browser, house, "commented", user="fay") as page:
        expect(page.locator("#state")).to_have_text("You can read this, not change it.")
        node(page, "check").focus()
        page.keyboard.press("Delete")
        page.keyboard.press("Enter")
        expect(page.locator("#panel").get_by_label("name", exact=True)).to_be_disabled()
        enabled = page.locator("#panel").locator("input:enabled, select:enabled, textarea:enabled")
        expect(enabled).to_have_count(0)
        expect(page.locator("#palette button:enabled")).to_have_count(0)
        expect(node(page, "check").locator(".handle")).to_have_count(0)


NAMELESS = """() => {
    const controls = "button, input, select, textarea, [role=button], [role=tab]";
    const said = (one) => (one.matches("input, select, textarea") ? "" : one.textContent.trim());
    const named = (one) => one.labels?.length || one.getAttribute("aria-label") || said(one);
    return [...document.querySelector("main").querySelectorAll(controls)]
        .filter((one) => one.checkVisibility() && !named(one))
        .map((one) => one.outerHTML.slice(0, 200));
}"""
"""The controls of the page that say nothing of themselves."""


@pytest.mark.parametrize("kind", ["agent", "branch", "foreach", "supervisor", "wait"])
def test_every_control_has_a_name_and_every_field_of_a_type_has_a_control(
    browser: Browser, house: FaultHouse, kind: str
) -> None:
    with designing(browser, house, f"named-{kind}") as page:
        add(page, kind)
        expect(page.locator("#panel h3")).to_have_text(kind)
        page.evaluate("for (const one of document.querySelectorAll('#panel details')) one.open = true")
        assert page.evaluate(NAMELESS) == []
        shown = page.locator("#panel").inner_text()
        for field in FIELDS[kind]:
            assert field.replace("_", " ") in shown
        for name in ("Context", "Text", "Simulation", "Versions"):
            tab(page, name)
            if name == "Simulation":
                page.get_by_role("button", name="Add a scenario").click()
                page.get_by_role("button", name="Add to fixtures").click()
            assert page.evaluate(NAMELESS) == []


COMMON = (
    "title",
    "about",
    "reads",
    "writes",
    "timeout",
    "retry",
    "next",
    "on_error",
    "on_timeout",
    "max_visits",
    "position",
)
FIELDS = {
    "agent": (
        *COMMON,
        "compensate",
        "instructions",
        "input",
        "skills",
        "tools",
        "exclude_tools",
        "model",
        "budget",
        "policy",
    ),
    "branch": (*COMMON, "arms", "take", "join"),
    "foreach": (*COMMON, "items", "as", "key", "body", "max_concurrency", "on_item_error", "collect"),
    "supervisor": (
        *COMMON,
        *("seat", "users", "roles", "groups", "agent", "ask", "description", "form", "decisions", "quorum", "deadline"),
        *("remind_every", "escalate", "four_eyes", "delegation"),
    ),
    "wait": (*COMMON, "for", "until", "event", "deadline"),
}
