"""Decisions of the resource manager as pure functions: a view in, decisions out.

The modules that hold policies are imported here, so that whoever imports the registry finds every built-in in it.
"""

from hpcsim.scheduling import conservative, data_local, locality, malleable, moldable, preemption, priority, shift

__all__ = ["conservative", "data_local", "locality", "malleable", "moldable", "preemption", "priority", "shift"]
