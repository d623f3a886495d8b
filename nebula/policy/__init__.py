"""What may happen: one pure decision over a declared call."""
