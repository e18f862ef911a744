"""Playing a process without models, network or real time: the real engine on a stage of its own."""

from engine.process.simulate.coverage import Coverage
from engine.process.simulate.play import Played, Report, StepSeen, play, play_all

__all__ = ["Coverage", "Played", "Report", "StepSeen", "play", "play_all"]
