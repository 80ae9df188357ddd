"""IAM-OnDB: lines of English written on a whiteboard."""
