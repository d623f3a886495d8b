"""Proves the way to an NVIDIA card on a real one: readings, memory held and freed, leases."""
