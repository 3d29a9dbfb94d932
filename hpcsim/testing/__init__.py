"""For those who extend hpcsim: the generated reference pages, and conformance checks and strategies for plug-ins."""
