"""What the cluster has to do: batch jobs from logs and generators, models, training runs, decomposed tasks."""
