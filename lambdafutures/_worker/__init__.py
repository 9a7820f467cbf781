"""What runs calls: in Lambda's sandboxes and in local processes. Standard library only."""
