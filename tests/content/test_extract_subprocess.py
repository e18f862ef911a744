import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import pytest

from content.intake import run_extractor
from content.intake.detect import Limits
from engine.errors import Exhausted, Invalid

pytestmark = pytest.mark.anyio

BROKEN = "tests.content.broken_extractors"
TEXT = "text/plain"

extract_in_subprocess = partial(run_extractor.extract_in_subprocess, timeout_s=30)


T = TypeVar("T")


async def bounded(call: Callable[[], T]) -> T:
    """Wait for a blocking call in a thread, at most 20 seconds."""
    with anyio.fail_after(20):
        return await anyio.to_thread.run_sync(call, abandon_on_cancel=True)


async def test_a_file_is_read_in_another_process_from_bytes_or_from_disk(tmp_path: Path):
    (tmp_path / "note").write_bytes(b"One.\n\nTwo.")
    from_bytes = await extract_in_subprocess(b"One.\n\nTwo.", TEXT)
    from_disk = await extract_in_subprocess(tmp_path / "note", TEXT)
    assert from_bytes == from_disk
    assert [block.text for block in from_bytes.blocks] == ["One.", "Two."]


async def test_limits_and_type_reach_the_extractor():
    structure = await extract_in_subprocess(b"x", TEXT, limits=Limits(max_pages=17), extractor=f"{BROKEN}:tell_limits")
    assert structure.text == "text/plain 17"


@pytest.mark.parametrize(("extractor", "how"), [("crash", "SIGSEGV"), ("give_up", "exit code 7")])
async def test_a_crash_is_a_reason_and_the_next_call_works(extractor: str, how: str):
    with pytest.raises(Invalid, match="crashed") as caught:
        await extract_in_subprocess(b"x", TEXT, extractor=f"{BROKEN}:{extractor}")
    assert caught.value.details["reason"] == "crashed"
    assert caught.value.details["how"] == how
    assert (await extract_in_subprocess(b"x", TEXT)).text == "x"


async def test_a_hang_is_stopped_and_named():
    with pytest.raises(Exhausted, match="longer than 1 seconds") as caught:
        await extract_in_subprocess(b"x", TEXT, timeout_s=1, extractor=f"{BROKEN}:hang")
    assert caught.value.details["reason"] == "timeout"


async def test_hunger_for_memory_is_stopped_and_named():
    with pytest.raises(Exhausted, match="more than 512 MiB") as caught:
        await extract_in_subprocess(b"x", TEXT, memory_bytes=512 * 2**20, extractor=f"{BROKEN}:devour_memory")
    assert caught.value.details["reason"] == "memory"


async def test_a_defect_of_an_extractor_is_a_reason_without_a_stack_trace():
    with pytest.raises(Invalid, match="ZeroDivisionError: no lines on the page") as caught:
        await extract_in_subprocess(b"x", TEXT, extractor=f"{BROKEN}:fail")
    assert "Traceback" not in caught.value.message


async def test_a_problem_of_the_extractor_arrives_as_it_was_raised():
    with pytest.raises(Invalid) as caught:
        await extract_in_subprocess(b"x", TEXT, extractor=f"{BROKEN}:refuse")
    assert caught.value.as_json() == {
        "code": "invalid",
        "message": "The file is upside down.",
        "details": {"reason": "orientation", "page": 3},
    }


async def test_an_answer_that_contradicts_itself_is_not_believed():
    with pytest.raises(Invalid, match="crashed"):
        await extract_in_subprocess(b"x", TEXT, extractor=f"{BROKEN}:lie")


async def test_the_child_sees_no_secrets(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOME_API_KEY", "secret")
    structure = await extract_in_subprocess(b"x", TEXT, extractor=f"{BROKEN}:tell_environment")
    assert "PATH" in structure.text.splitlines()
    assert "SOME_API_KEY" not in structure.text


async def test_cancelling_the_call_kills_the_child_and_its_children(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    async with anyio.create_task_group() as tasks:

        async def read() -> None:
            await extract_in_subprocess(str(pipe).encode(), TEXT, extractor=f"{BROKEN}:hold_pipe_and_hang")

        tasks.start_soon(read)
        reader = await bounded(lambda: pipe.open("rb", buffering=0))
        with reader:
            assert await bounded(lambda: reader.read(1)) == b"x"
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                # The pipe ends only when every process that holds it is gone.
                assert await bounded(lambda: reader.read(1)) == b""


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal exists on Linux")
async def test_the_child_dies_with_its_parent(tmp_path: Path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    script = (
        "import anyio\n"
        "from content.intake.run_extractor import extract_in_subprocess\n"
        f"anyio.run(lambda: extract_in_subprocess({str(pipe).encode()!r}, 'text/plain', "
        "extractor='tests.content.broken_extractors:hold_pipe_and_die_alone'))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    async with await anyio.open_process([sys.executable, "-c", script], env=environment, stdout=None) as parent:
        with await bounded(lambda: pipe.open("rb", buffering=0)) as reader:
            assert await bounded(lambda: reader.read(1)) == b"x"
            parent.kill()
            assert await bounded(lambda: reader.read(1)) == b""
