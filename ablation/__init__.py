"""Studies: grids of training runs, carried out as one command and judged together."""
