"""Studies on top of single runs: sweeps, replays, verification."""
