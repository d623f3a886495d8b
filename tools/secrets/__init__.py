"""Secrets: passwords, API keys and tokens, stored encrypted; compare, rotate, and see who used them.

No tool gives a value back. Arguments of other tools name a secret as `secret://name`, and the
executor puts the value in just before the tool runs.
"""
