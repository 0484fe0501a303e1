"""Other toolkits' models of the same shape, imported only where they are measured."""
