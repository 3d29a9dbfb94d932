"""Published measurements with their sources, and their readers."""
