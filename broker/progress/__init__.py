"""How far work has come, as /readyz and `snapsku doctor` tell it: keys that expire in Redis."""
