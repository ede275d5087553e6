"""Runs the whole fleet as child processes on one machine: `python -m infrastructure.local up`."""
