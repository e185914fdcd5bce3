"""The library: returns values and raises :class:`~cfcli.core.errors.CfcliError`; never prints,
never exits."""
