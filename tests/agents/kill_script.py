"""The script of an agent that calls a tool which kills its worker: loaded by the worker as a module of scripts."""

import os

from engine.transcript import ModelRequest
from providers.scripted import Line, register_script
from tests.server.agent_house import call, calling, results, turn_of
from tests.server.agent_script import PLACE


def killer(request: ModelRequest) -> Line:
    """Learn, call the tool that kills, and tell what its answer was."""
    place = os.environ[PLACE]
    lines: list[Line] = [calling(call("learn_hostile")), calling(call("hostile.kill", {"place": place}))]
    turn = turn_of(request)
    return lines[turn - 1] if turn <= len(lines) else results(request)[-1].text


def register() -> None:
    """Make the model known."""
    register_script("killer", killer)
