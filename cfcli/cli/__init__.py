"""The shell: one file per command. Commands parse, call one function of ``cfcli.core`` and
print."""
