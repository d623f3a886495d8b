"""Machines: which computers joined, their hardware and health, add another machine, wake one, run allowed commands on them."""
