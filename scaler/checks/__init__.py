"""What can be missing or unwise in a cluster, one pure function for each check over facts that were read before."""
