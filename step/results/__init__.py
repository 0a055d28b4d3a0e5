"""How a result leaves: JSON, GitHub's files and commands, Cloud Build's output, and text."""
