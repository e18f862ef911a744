"""The main job from a clean folder, as a command: what `make run` shows, with the server killed in between."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from server.data_folder import open_data_folder
from server.stdio import connect

SECONDS = 240


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the demonstration told, in order."""
    data = tmp_path_factory.mktemp("demo") / "data"
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("UPSTAIRS_", "ANTHROPIC_", "OPENAI_"))
    }
    command = [sys.executable, "-m", "server.cli", "demo", "--data", str(data), "--json"]
    ended = subprocess.run(command, env=kept, capture_output=True, text=True, timeout=SECONDS)
    server_log = data / "logs" / "server.log"
    log = server_log.read_text()[-4000:] if server_log.exists() else ""
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}\n{log}"
    folder = open_data_folder(data)
    assert connect(folder) is None, "the server outlived the demonstration"
    return [json.loads(line) for line in ended.stdout.splitlines()]


def only(told: list[dict[str, Any]], event: str) -> dict[str, Any]:
    [found] = [one for one in told if one["event"] == event]
    return found


def steps(told: list[dict[str, Any]]) -> list[str]:
    return [one["node"] for one in told if one["event"] == "step" and "/" not in one["step"]]


def test_it_says_first_that_a_scripted_model_answers(told: list[dict[str, Any]]) -> None:
    assert told[0] == {"event": "model", "real": False, "route": "scripted/invoice"}


def test_all_documents_are_read_the_scan_by_ocr(told: list[dict[str, Any]]) -> None:
    documents = {one["name"]: one for one in told if one["event"] == "document"}
    assert set(documents) == {"contract.pdf", "policy.pdf", "invoice-scan.pdf", "faq.md", "notes.html"}
    assert all(one["state"] == "ready" and one["passages"] for one in documents.values())
    assert documents["contract.pdf"]["pages"] == 3


def test_the_process_verifies_and_takes_every_step_once(told: list[dict[str, Any]]) -> None:
    assert only(told, "verified")["findings"] == []
    assert steps(told) == [
        "read_text", "read", "policy", "prices", "check", "gather", "approve", "pay", "paid",
    ]  # fmt: skip
    assert len([one for one in told if one["event"] == "step" and one["node"] == "price"]) == 4


def test_every_judgement_cites_the_words_it_rests_on(told: list[dict[str, Any]]) -> None:
    by_node = {one["node"]: one["citations"] for one in told if one["event"] == "step"}
    assert {"quote": "Total amount EUR 4,820.50", "anchor": by_node["read"][0]["anchor"]} in by_node["read"]
    assert any("NI-900" in one["quote"] and "640.00" in one["quote"] for one in by_node["check"])
    assert any("no more than 2 %" in one["quote"] for one in by_node["check"])
    sources = {one["anchor"] for one in by_node["gather"]}
    assert "HR-7731" in sources
    assert any("@1#" in source for source in sources)


def test_the_run_goes_on_after_the_server_and_temporal_were_killed(told: list[dict[str, Any]]) -> None:
    events = [one["event"] for one in told]
    killed = events.index("killed")
    before, after = told[:killed], told[killed + 1 :]
    first, second = [one for one in told if one["event"] == "server"]
    assert told[killed]["server"] == first["pid"] != second["pid"]
    # It goes on as soon as it can, so that it may be further when it is looked at.
    assert only(after, "resumed")["position"] in ("gather", "approve")
    assert any(one["event"] == "turn" for one in before)
    assert any(one["event"] == "turn" for one in after)


def test_no_turn_of_the_agent_is_made_twice(told: list[dict[str, Any]]) -> None:
    turns = [one for one in told if one["event"] == "turn"]
    assert [one["calls"] for one in turns] == [
        ["learn_accounts_payable", "learn_content"],
        ["search_content"],
        ["content.fetch"],
        ["accounts_payable.find_order"],
        [],
    ]
    assert [one["seq"] for one in turns] == sorted({one["seq"] for one in turns})


def test_who_started_it_may_not_decide_and_a_late_decision_learns_who_was_first(told: list[dict[str, Any]]) -> None:
    own, late = [one for one in told if one["event"] == "refused"]
    assert "four eyes" in own["why"]
    assert only(told, "decided")["by"] == "fay"
    assert late["why"].startswith("already decided by fay (approve)")


def test_it_is_paid_exactly_once(told: list[dict[str, Any]]) -> None:
    ended = only(told, "ended")
    assert (ended["status"], ended["outcome"]) == ("completed", "paid")
    [payment] = only(told, "payments")["payments"]
    assert (payment["invoice"], payment["amount"], payment["currency"]) == ("NI-2026-0417", 4820.5, "EUR")
    assert payment["payment_id"] == ended["output"]["payment_id"]


def test_the_audit_chain_is_whole_and_names_who_decided(told: list[dict[str, Any]]) -> None:
    audit = only(told, "audit")
    assert audit["valid"]
    assert audit["total"] == len(audit["records"])
    actions = [(one["action"], one["node"]) for one in audit["records"]]
    assert actions.count(("node.finished", "pay")) == 1
    assert ("task.decision", "approve") in actions
