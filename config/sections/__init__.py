"""Settings by what they are about, for `config.settings`."""
