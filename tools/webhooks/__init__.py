"""Webhooks: addresses at which other systems tell what happened, signed, to start agents and workflows."""
