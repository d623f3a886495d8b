"""Say what the rules allow and why, and stop or resume everything that changes something."""
