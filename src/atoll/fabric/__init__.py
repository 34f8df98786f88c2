"""All that carries traffic: ports, links, edges with conditions, routing."""
