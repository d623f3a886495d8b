"""What a person has vouched for and what that has been used for: steps of plans, single values."""
