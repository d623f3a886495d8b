"""The audit log: what was done, asked for and refused, by whom; search it and verify it."""
