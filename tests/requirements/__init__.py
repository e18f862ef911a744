"""The manifest of promises: what the product holds itself to, where that is said, and the tests that would catch a breach.

`tests/test_requirements.py` fails when a promise names a test that isn't there.
"""

from tests.requirements import agents, people, processes, runs, surface
from tests.requirements.requirement import Requirement

AREAS = (runs, people, processes, agents, surface)

REQUIREMENTS: dict[str, Requirement] = {promise: said for area in AREAS for promise, said in area.REQUIREMENTS.items()}

assert len(REQUIREMENTS) == sum(len(area.REQUIREMENTS) for area in AREAS), "two areas give one name to two promises"
