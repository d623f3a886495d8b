"""The ledger of GPU memory: who may use how much of which card, until when, in PostgreSQL."""
