"""The service map: which nodes, services and budgets exist, and how they are."""
