"""The last resort for choosing a model: what an installation that names none calls with the key it has.

Model names expire; a setting (`models.default`) always wins over this table, and nothing else in the house names one.
"""

MODELS = {"anthropic": "claude-sonnet-5-5", "openai": "gpt-6.1-sol"}
"""By provider, in the order of preference: a general model of the middle price."""


def default_route(with_key: set[str]) -> str | None:
    """Return `provider/model` for the first provider of the table whose key is configured, or None."""
    for provider, model in MODELS.items():
        if provider in with_key:
            return f"{provider}/{model}"
    return None
