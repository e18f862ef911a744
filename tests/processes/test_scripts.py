"""Scripts: code that nobody vouches for computes in a cage, gives the same result every time, and ends."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime

import anyio
import pytest
from pydantic import JsonValue

from engine.errors import Exhausted, Invalid, Problem
from engine.process.definition import parse_definition
from engine.process.verify import verify
from engine.values import Principal
from skills.sandbox import Sandbox, ScriptFailed, open_sandbox
from tests.server.engine_house import EngineHouse

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)

TOTAL = """
format: 1
process: total
input: {type: object, properties: {lines: {type: array}}, required: [lines]}
context:
  schema:
    type: object
    additionalProperties: false
    properties: {lines: {type: array}, total: {type: number}, when: {type: string}, draw: {type: number}}
start: add
nodes:
  add:
    type: script
    input: {lines: {var: lines}}
    code: |
      import random
      from datetime import datetime
      print("adding", len(lines))
      total = sum(line["price"] * line["count"] for line in lines)
      {"total": total, "when": str(datetime.now()), "draw": random.random()}
    writes: [total, when, draw]
    next: [{to: done}]
    on_error: [{match: [script_error], to: caught}]
  caught: {type: end, outcome: caught}
  done: {type: end, outcome: done, output: {var: total}}
"""


@pytest.fixture(scope="module")
async def sandbox() -> AsyncGenerator[Sandbox]:
    async with open_sandbox() as opened:
        yield opened


async def run(sandbox: Sandbox, code: str, seconds: float = 2.0, **values: int) -> object:
    with anyio.fail_after(30):
        return (await sandbox.run(code, values, name="test", seconds=seconds, seed="s", at=NOW)).value


async def test_a_script_computes_its_writes_from_its_input(house: EngineHouse, alice: Principal) -> None:
    lines: JsonValue = [{"price": 2.5, "count": 2}, {"price": 1, "count": 3}]
    ended = await house.finished(alice, await house.start(alice, TOTAL, {"lines": lines}))
    assert ended.result == {"outcome": "done", "output": 8.0}, ended.error
    (record,) = [one for one in await house.store.audit(alice, ended.run_id) if one.node == "add"]
    assert record.data["printed"] == "adding 2\n"


async def test_what_a_script_raises_is_a_kind_that_the_process_handles(house: EngineHouse, alice: Principal) -> None:
    ended = await house.finished(alice, await house.start(alice, TOTAL, {"lines": [{"price": 1}]}))
    assert isinstance(ended.result, dict)
    assert ended.result["outcome"] == "caught"


async def test_clock_and_chance_are_given_so_the_same_script_gives_the_same(sandbox: Sandbox) -> None:
    code = (
        "import random, time\nfrom datetime import datetime\n"
        "[str(datetime.now()), random.random(), time.time(), random.Random().random()]"
    )
    first = await run(sandbox, code)
    assert first == await run(sandbox, code)
    assert isinstance(first, list)
    assert first[0] == "2026-05-04 09:30:00"


@pytest.mark.parametrize(
    ("code", "limit"),
    [
        ("while True: pass", "time"),
        ("import time\nwhile True: time.sleep(1)", "time"),
        ("import re\nre.fullmatch('(a|a)*b', 'a' * 40)\nwhile True: pass", "time"),
        ("held = []\nwhile True: held.append('x' * 100000)", "memory"),
        ("'x' * 10**10", "memory"),
        ("9 ** 9 ** 9", "memory"),
        ("def down(n): return down(n + 1)\ndown(0)", "depth"),
        ("'x' * 300000", "output"),
    ],
)
async def test_what_would_not_end_or_not_fit_is_stopped_by_name(sandbox: Sandbox, code: str, limit: str) -> None:
    with pytest.raises(Exhausted) as caught:
        await run(sandbox, code, seconds=0.5)
    assert caught.value.details["limit"] == limit
    assert await run(sandbox, "1 + 1") == 2, "the next script runs"


@pytest.mark.parametrize(
    "code",
    [
        "open('/etc/passwd').read()",
        "from pathlib import Path\nPath('/etc/passwd').read_text()",
        "import os\nos.environ['HOME']",
        "import os\nos.system('id')",
        "import socket",
        "import subprocess",
        "import ctypes",
        "__import__('os')",
        "().__class__.__bases__[0].__subclasses__()",
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1')",
    ],
)
async def test_nothing_outside_can_be_reached(sandbox: Sandbox, code: str) -> None:
    with pytest.raises(Problem) as caught:
        await run(sandbox, code)
    assert caught.type in (ScriptFailed, Invalid, Exhausted)


@pytest.mark.parametrize(
    "code", ["{1, 2}", "(1, 2)", "float('nan')", "{1: 2}", "lambda: 1 and print", "{'a': [set()]}"]
)
async def test_a_value_that_is_no_json_is_refused(sandbox: Sandbox, code: str) -> None:
    if code.startswith("lambda"):
        assert isinstance(await run(sandbox, code), str), "a function has only its name"
        return
    with pytest.raises(Invalid, match=r"no JSON|keys are strings"):
        await run(sandbox, code)


async def test_what_is_printed_is_kept_from_its_beginning_only(sandbox: Sandbox) -> None:
    ran = await sandbox.run("for n in range(100000): print('line', n)\n1", {}, name="t", seconds=5, seed="", at=NOW)
    assert ran.printed.startswith("line 0\nline 1\n")
    assert len(ran.printed) == 4000


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("nope(x)", "nope"),
        ("import socket\nx", "socket"),
        ("from json import dumpz\nx", "dumpz"),
        ("class A(dict): pass\nx", "class inheritance"),
        ("x = = 1", "Expected an expression"),
    ],
)
async def test_code_is_read_before_it_is_published(sandbox: Sandbox, code: str, said: str) -> None:
    (flaw,) = await sandbox.check(code, ["x"], name="test")
    assert said in flaw.message
    assert flaw.line == 1


async def test_checking_carries_nothing_out_and_finds_nothing_in_sound_code(sandbox: Sandbox) -> None:
    assert await sandbox.check("while True: pass\nx", ["x"], name="test") == []


@pytest.mark.parametrize(
    ("code", "found"),
    [("x = = 1", "script_syntax"), ("total = 1", "script_value"), ("{'total': 1}", "")],
)
def test_the_verifier_reads_scripts_without_a_sandbox(code: str, found: str) -> None:
    text = TOTAL[: TOTAL.index("    code: |")] + f'    code: "{code}"\n' + TOTAL[TOTAL.index("    writes:") :]
    codes = {finding.code for finding in verify(parse_definition(text)) if finding.code.startswith("script")}
    assert codes == ({found} if found else set())
