"""Templates and prompt files: Handlebars by an engine of ours, Dotprompt on top of it.

`parse` reads a template, which renders text and tells which paths it reads; `parse_prompt` reads a `.prompt` file,
which renders messages. Neither runs code, reads attributes of Python objects, or exceeds its `Limits`.
"""

from content.templates.analysis import Finding, Reference
from content.templates.helpers import Invocation
from content.templates.limits import Limits
from content.templates.messages import Message
from content.templates.nodes import Span
from content.templates.picoschema import to_json_schema
from content.templates.pieces import Fragment
from content.templates.prompt import (
    EXTENSION_KEY,
    Extension,
    PromptFile,
    Rendered,
    dump_prompt,
    parse_prompt,
    prompt_from_mapping,
)
from content.templates.template import Template, parse

__all__ = [
    "EXTENSION_KEY",
    "Extension",
    "Finding",
    "Fragment",
    "Invocation",
    "Limits",
    "Message",
    "PromptFile",
    "Reference",
    "Rendered",
    "Span",
    "Template",
    "dump_prompt",
    "parse",
    "parse_prompt",
    "prompt_from_mapping",
    "to_json_schema",
]
