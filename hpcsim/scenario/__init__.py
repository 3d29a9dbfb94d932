"""Scenarios: frozen data, read from YAML with positions, varied by dotted path."""
