"""What the operator has said: command line, TOML file, rows for single resources.

settings            the table of options
setting_values      what a value may be
limits              the table of limits
resource_settings   the table of a resource's keys
resource_table      which rows hold for which resource
resource_names      the spellings of a name
sample_config       `--print-config`; toml_values how TOML writes a value
"""
