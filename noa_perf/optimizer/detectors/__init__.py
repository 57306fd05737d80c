"""What is wrong with the queries of a scope, each fault in a module of its own."""
