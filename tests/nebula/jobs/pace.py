"""A quick pace for workers in tests, with room for a busy machine."""

from nebula.jobs.pace import Pace

QUICK = Pace(beat=0.2, stalled=2.0, frozen=3.0, rowless=0.3, retry=0.05, last_word=0.5)
