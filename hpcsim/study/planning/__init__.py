"""The capacity plan: requirement analysis, planning, construction, optimisation, maintenance."""
