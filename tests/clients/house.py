"""The house that every client is led through: the product itself as a process, with a little in it to work on."""

import json
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.faults.house import EXAMPLES, FaultHouse

LINES = 4_000
LONG = "\n".join(f"{number:04d} what was agreed stays agreed" for number in range(1, LINES + 1))
"""A prompt whose rendering is far longer than one answer of a tool may be."""

OTHERS_RUN = "run_of_another_tenant"

POLICY = """# Travel policy

## Trains
First class is booked for journeys of more than four hours, and the ticket is kept with the report.

## Hotels
A night costs at most 160 EUR; anything dearer is agreed with the head of the department beforehand.
"""

SIGN_OFF = """
format: 1
process: sign_off
title: Somebody signs
input:
  type: object
  properties: {subject: {type: string}}
  required: [subject]
  additionalProperties: false
context:
  schema:
    type: object
    properties:
      subject: {type: string}
      signature: {type: object}
start: sign
nodes:
  sign:
    type: supervisor
    title: Somebody signs
    reads: [subject]
    seat: {roles: [finance]}
    ask:
      title: "Sign {{subject}}?"
      form:
        type: object
        properties: {reason: {type: string, minLength: 3}}
        required: [reason]
        additionalProperties: false
    decisions: [approve, reject]
    deadline: P2D
    on_timeout: {to: refused, label: nobody signed in time}
    writes: [signature]
    next:
      - {to: signed, when: {"==": [{var: signature.decision}, approve]}}
      - {to: refused}
  signed: {type: end, outcome: signed, output: {var: signature.decision}}
  refused: {type: end, outcome: refused, output: {var: subject}}
"""

GREETING = """---
name: greeting
description: Greets somebody.
model: scripted/echo
input:
  schema:
    type: object
    properties:
      who: {type: string, description: the name}
      tone: {type: string, enum: [formal, friendly, frank]}
      times: {type: integer}
    required: [who]
    additionalProperties: false
---
{{role "user"}}
Greet {{who}}, {{tone}}, {{times}} times.
"""

AGREED = f"""---
name: agreed
description: Everything that was agreed.
model: scripted/echo
---
{LONG}
"""


class ClientsHouse(FaultHouse):
    """A server with a document, a process that waits for a signature, two prompts and a skill with an effect."""

    def __init__(self, root: Path) -> None:
        """Write the settings."""
        super().__init__(root)
        (root / "upstairs.toml").write_text(
            f"port = 0\nskills = {json.dumps([str(EXAMPLES / 'skills')])}\n"
            '[models]\ndefault = "scripted/clerk"\nscripts = ["tests.clients.models"]\n'
            '[local]\nroles = ["finance"]\n'
        )
        self.document = ""

    @property
    def url(self) -> str:
        """Where it is reached over HTTP."""
        return f"http://127.0.0.1:{self.folder.read_server().port}"

    @property
    def bridge(self) -> list[str]:
        """The command that a desktop client starts."""
        upstairs = shutil.which("upstairs", path=str(Path(sys.executable).parent))
        assert upstairs is not None, "the command upstairs is not installed; run make .venv/.dev"
        return [upstairs, "stdio", "--data", str(self.folder.root)]

    def furnish(self) -> None:
        """Put in what the steps work on."""
        policy = self.folder.root / "travel-policy.md"
        policy.write_text(POLICY)
        self.document = self.ingest(policy)
        self.publish("interactions", "greeting", GREETING)
        self.publish("interactions", "agreed", AGREED)
        self.publish("processes", "sign_off", SIGN_OFF)
        self._let_another_tenant_in()

    def _let_another_tenant_in(self) -> None:
        """Leave a run in the database that belongs to somebody else; `FaultHouse.call` starts the one it is made of."""
        run_id = self.call("start_process", process="sign_off", input={"subject": "of others"})["run_id"]
        self.call("control_run", run_id=run_id, action="cancel")
        with closing(sqlite3.connect(self.folder.database, timeout=10)) as connection, connection:
            connection.row_factory = sqlite3.Row
            row: dict[str, Any] = dict(connection.execute("SELECT * FROM runs WHERE run_id = ?", [run_id]).fetchone())
            row |= {"tenant": "other", "run_id": OTHERS_RUN}
            names = ", ".join(row)
            marks = ", ".join("?" for _ in row)
            connection.execute(f"INSERT INTO runs ({names}) VALUES ({marks})", list(row.values()))
