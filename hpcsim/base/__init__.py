"""Units, problems, random streams, registries and chunked evaluation: what every other layer stands on."""
