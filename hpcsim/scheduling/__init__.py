"""Decisions of the resource manager as pure functions: a view in, decisions out."""
