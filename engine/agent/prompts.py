"""The names of the loop's own prompts: interactions that come with the product and that a tenant may replace.

A note to the model travels through the workflow by such a name; its words are fixed when the run starts.
"""

SYSTEM = "upstairs-agent-system"
CHECKPOINT = "upstairs-agent-checkpoint"
CLOSING = "upstairs-agent-closing"
NUDGE = "upstairs-agent-nudge"
CUT_OFF = "upstairs-agent-cut-off"
MALFORMED = "upstairs-agent-malformed"
REVIEW = "upstairs-agent-review"

NAMES = (SYSTEM, CHECKPOINT, CLOSING, NUDGE, CUT_OFF, MALFORMED, REVIEW)
