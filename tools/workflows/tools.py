"""Make workflows, run them, and see what they did."""
