"""Facts on hardware, models, prices, energy and failures, each with its source, and their look-up."""
