"""What each wire costs when it is first used, in a fresh interpreter: time, memory, and what of it is paid before."""

import json
import subprocess
import sys

from benchmarks.providers_loop import Json

SDKS = ("anthropic", "openai", "google.genai")
WIRES = {"anthropic": "anthropic", "openai": "openai", "chat": "openai", "gemini": "google.genai"}
"""The wires, and the SDK that carries each."""

TIMES = 5

_MEASURE = """
import json, resource, sys, time
def now():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(open("/proc/self/statm").read().split()[1])
    return usage.ru_utime + usage.ru_stime, pages * resource.getpagesize() / 2**20
start = now()
from providers.base import make_provider
from providers.routing import *
known = now()
early = [name for name in {sdks!r} if name in sys.modules]
make_provider({wire!r}, api_key="k", base_url="http://127.0.0.1:9")
used = now()
late = [name for name in {sdks!r} if name in sys.modules]
print(json.dumps({{"base": known[0] - start[0], "first": used[0] - known[0], "mib": used[1] - known[1],
                  "early": early, "late": late}}))
"""


def measure_imports() -> list[Json]:
    """Return a row for each wire: seconds of CPU and MiB that its first provider takes, above knowing all names.

    Raises:
        SystemExit: an SDK is loaded before a provider is made, or that of another wire with it.
    """
    rows: list[Json] = []
    for wire, sdk in WIRES.items():
        tries = [_try(wire) for _ in range(TIMES)]
        if any(one["early"] or one["late"] != [sdk] for one in tries):
            raise SystemExit(f"{wire} loads {tries[0]['early']} before it is used and {tries[0]['late']} then")
        middle = {name: sorted(one[name] for one in tries)[TIMES // 2] for name in ("base", "first", "mib")}
        row = {"wire": wire, "SDK": sdk, "routing alone, CPU s": round(middle["base"], 2)}
        rows.append({**row, "first use, CPU s": round(middle["first"], 2), "memory, MiB": round(middle["mib"], 1)})
    return rows


def _try(wire: str) -> Json:
    code = _MEASURE.format(wire=wire, sdks=SDKS)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
