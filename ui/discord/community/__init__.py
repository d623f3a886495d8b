"""The community bot at work: what happens on servers meets what was set for them."""
