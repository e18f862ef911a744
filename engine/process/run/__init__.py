"""How a definition is carried out: one module per node type, over the frame and the flow that they share."""
