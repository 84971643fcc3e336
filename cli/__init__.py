"""The command line: `snapsku`."""
