"""From a scenario to its answer: bind names to objects, simulate or estimate, account for energy, money and carbon."""
