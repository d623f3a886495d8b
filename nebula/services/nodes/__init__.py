"""The machines that joined: who they are, how they are, and how to speak to their agents."""
