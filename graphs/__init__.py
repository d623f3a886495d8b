"""LangGraph: the supervisor, the tool adapter and the workflows."""
