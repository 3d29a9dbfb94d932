"""Readers of job logs: Slurm accounting, simulator events, GPU clusters' tables, pods, and any table by a map of its columns."""
