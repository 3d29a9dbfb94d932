"""The discrete events: the only place where time passes, and the only importer of SimPy."""
