"""Which steps the operations of a traced module become, by kind of operation."""
