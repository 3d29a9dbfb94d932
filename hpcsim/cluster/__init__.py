"""The machine: resolved node groups, fabric, storage and site; the shape of the fabric; the graph of it all."""
