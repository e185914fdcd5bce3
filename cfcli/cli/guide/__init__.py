"""What guides people through the commands: help, manual pages, answers to mistakes, completion."""
