"""Autonomous agents: purposes that run by themselves, on a schedule or when something happens."""
