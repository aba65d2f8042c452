"""The sensors: each tick compares what should be with what is done, and asks for the difference.

Nothing is remembered between ticks. A run that was killed leaves its work undone, so the next tick
sees it again; a run that got an answer, pass or refusal, leaves the answer in Dagster's records.
"""
