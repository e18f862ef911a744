"""Extractors that fail in the ways real ones do; `data` is what the test hands to them as the file."""

import ctypes
import os
import signal

from content.intake.detect import Limits
from content.structure import Block, Structure
from engine.errors import Invalid


def crash(data: bytes, mime: str, limits: Limits) -> Structure:
    ctypes.string_at(0)
    raise AssertionError("reading address 0 kills the process")


def give_up(data: bytes, mime: str, limits: Limits) -> Structure:
    os._exit(7)


def hang(data: bytes, mime: str, limits: Limits) -> Structure:
    signal.pause()
    raise AssertionError("nobody sends a signal that returns")


def hold_pipe_and_hang(data: bytes, mime: str, limits: Limits) -> Structure:
    """Open the named pipe whose path is the file, in this process and in a child of it, and never let go."""
    with open(data.decode(), "wb", buffering=0) as pipe:
        if os.fork():
            pipe.write(b"x")
        signal.pause()
    raise AssertionError("nobody sends a signal that returns")


def hold_pipe_and_die_alone(data: bytes, mime: str, limits: Limits) -> Structure:
    """Open the named pipe whose path is the file and never let go."""
    with open(data.decode(), "wb", buffering=0) as pipe:
        pipe.write(b"x")
        signal.pause()
    raise AssertionError("nobody sends a signal that returns")


def devour_memory(data: bytes, mime: str, limits: Limits) -> Structure:
    return Structure.build([Block(kind="paragraph", text=str(len(bytearray(64 * 2**30))))])


def fail(data: bytes, mime: str, limits: Limits) -> Structure:
    raise ZeroDivisionError("no lines on the page")


def refuse(data: bytes, mime: str, limits: Limits) -> Structure:
    raise Invalid("The file is upside down.", reason="orientation", page=3)


def tell_environment(data: bytes, mime: str, limits: Limits) -> Structure:
    return Structure.build([Block(kind="paragraph", text="\n".join(sorted(os.environ)))])


def tell_limits(data: bytes, mime: str, limits: Limits) -> Structure:
    return Structure.build([Block(kind="paragraph", text=f"{mime} {limits.max_pages}")])


def lie(data: bytes, mime: str, limits: Limits) -> Structure:
    """Return a structure whose offsets do not hold."""
    return Structure.model_construct(
        blocks=(Block(kind="paragraph", text="abc", start=5, end=8),), pages=(), title=None, language=None, reasons=()
    )
