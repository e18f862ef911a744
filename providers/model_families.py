"""What is known of families of models without asking anybody: the last resort of `providers.profiles`.

The only place with patterns of model names. They match the last part of a name, without the maker's prefix, in lower
case. Sources: the makers' model pages, November 2026; sizes are the smallest of the family.
"""

import re
from typing import Any

K, M = 1_000, 1_000_000

_SEES = {"images": True}
_READS = {"images": True, "pdf": True}
_BOUND = {"structured": "json_schema"}
_THINKS = {"reasoning": True}
_TOOLS = {"tools": True}

_FAMILIES: list[tuple[str, dict[str, Any]]] = [
    (
        r"claude-[a-z]+-[5-9]",
        {"context_window": M, "max_output": 64 * K, **_READS, **_TOOLS, **_BOUND, **_THINKS},
    ),
    (
        r"claude-[a-z]+-4[-.][5-9]",
        {"context_window": 200 * K, "max_output": 64 * K, **_READS, **_TOOLS, **_BOUND, **_THINKS},
    ),
    (r"claude-[a-z]+-4", {"context_window": 200 * K, "max_output": 32 * K, **_READS, **_TOOLS, **_THINKS}),
    (r"claude-3[-.]7", {"context_window": 200 * K, "max_output": 64 * K, **_READS, **_TOOLS, **_THINKS}),
    (r"claude-3[-.]5", {"context_window": 200 * K, "max_output": 8_192, **_READS, **_TOOLS}),
    (r"claude-3", {"context_window": 200 * K, "max_output": 4_096, **_SEES, **_TOOLS}),
    (r"gpt-oss", {"context_window": 131_072, "max_output": 32_768, **_TOOLS, **_THINKS}),
    (
        r"gpt-[5-9]",
        {"context_window": 400 * K, "max_output": 128 * K, **_READS, **_TOOLS, **_BOUND, **_THINKS},
    ),
    (r"gpt-4\.1", {"context_window": M, "max_output": 32_768, **_READS, **_TOOLS, **_BOUND}),
    (r"gpt-4o", {"context_window": 128 * K, "max_output": 16_384, **_READS, **_TOOLS, **_BOUND}),
    (r"gpt-4-turbo", {"context_window": 128 * K, "max_output": 4_096, **_SEES, **_TOOLS}),
    (r"gpt-(4|3\.5)", {"context_window": 8_192, "max_output": 4_096, **_TOOLS}),
    (r"o[1-4](-|$)", {"context_window": 200 * K, "max_output": 100 * K, **_READS, **_TOOLS, **_BOUND, **_THINKS}),
    (
        r"gemini-(2\.5|[3-9])",
        {"context_window": M, "max_output": 65_536, **_READS, "audio": True, **_TOOLS, **_BOUND, **_THINKS},
    ),
    (r"gemini-", {"context_window": M, "max_output": 8_192, **_READS, "audio": True, **_TOOLS, **_BOUND}),
    (r"gemma-[34]", {"context_window": 128 * K, "max_output": 8_192, **_SEES, **_TOOLS}),
    (r"grok-[4-9]", {"context_window": 200 * K, "max_output": 32_768, **_SEES, **_TOOLS, **_BOUND, **_THINKS}),
    (r"grok-", {"context_window": 131_072, "max_output": 16_384, **_TOOLS, **_BOUND}),
    (r"magistral", {"context_window": 128 * K, "max_output": 32_768, **_SEES, **_TOOLS, **_BOUND, **_THINKS}),
    (r"(codestral|devstral)", {"context_window": 128 * K, "max_output": 16_384, **_TOOLS, **_BOUND}),
    (
        r"(mistral-(large|medium|small)|pixtral|ministral)",
        {"context_window": 128 * K, "max_output": 16_384, **_SEES, **_TOOLS, **_BOUND},
    ),
    (r"deepseek-(v[4-9]|flash|pro)", {"context_window": M, "max_output": 64 * K, **_TOOLS, **_THINKS}),
    (r"deepseek-(r1|reasoner)", {"context_window": 64 * K, "max_output": 32 * K, **_TOOLS, **_THINKS}),
    (r"deepseek", {"context_window": 64 * K, "max_output": 8 * K, **_TOOLS}),
    (r"llama-?4", {"context_window": 128 * K, "max_output": 8_192, **_SEES, **_TOOLS}),
    (r"(meta-)?llama-?3", {"context_window": 128 * K, "max_output": 8_192, **_TOOLS}),
    (r"qwen.*vl", {"context_window": 128 * K, "max_output": 16_384, **_SEES, **_TOOLS}),
    (r"(qwen-?3|qwq)", {"context_window": 32_768, "max_output": 8_192, **_TOOLS, **_THINKS}),
    (r"qwen", {"context_window": 32_768, "max_output": 8_192, **_TOOLS}),
    (r"kimi-k", {"context_window": 128 * K, "max_output": 16_384, **_TOOLS, **_THINKS}),
    (r"glm-[4-9]", {"context_window": 128 * K, "max_output": 32_768, **_TOOLS, **_THINKS}),
    (r"minimax-m", {"context_window": 192 * K, "max_output": 32_768, **_TOOLS, **_THINKS}),
    (r"command-", {"context_window": 128 * K, "max_output": 4_096, **_TOOLS}),
]
"""Pattern → facts, the first that fits; `providers.profiles.Profile` says what they mean."""

FAMILIES = [(re.compile(pattern), facts) for pattern, facts in _FAMILIES]


def family_facts(model: str) -> dict[str, Any]:
    """Return what is known of the model's family, or nothing."""
    name = model.lower().rpartition("/")[2]
    return next((dict(facts) for pattern, facts in FAMILIES if pattern.match(name)), {})
